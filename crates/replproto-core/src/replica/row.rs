//! A row with its content, for stores that hold values.

use super::field::Field;
use super::fields::{Content, Fields};
use super::memory::{Memory, Stamp};
use super::{Change, Effect, Entry, RecordError};
use crate::time::WallTime;

/// A record as a replica holds it.
#[derive(Clone, Debug)]
pub struct Row<F> {
    content: Option<Content<F>>,
    /// The content is what the record holds. Otherwise it has been invalidated, and the next patch shows it again.
    is_shown: bool,
    expires_at: Option<WallTime>,
    memory: Memory<F>,
}

impl<F> Default for Row<F> {
    fn default() -> Self {
        Self {
            content: None,
            is_shown: false,
            expires_at: None,
            memory: Memory::default(),
        }
    }
}

impl<F> Row<F> {
    /// A row as it was stored.
    pub const fn new(
        content: Option<Content<F>>,
        is_shown: bool,
        expires_at: Option<WallTime>,
        memory: Memory<F>,
    ) -> Self {
        Self {
            content,
            is_shown,
            expires_at,
            memory,
        }
    }

    /// The content; `None` if it is deleted, invalidated, or was never written.
    pub const fn content(&self) -> Option<&Content<F>> {
        if self.is_shown {
            self.content.as_ref()
        } else {
            None
        }
    }

    /// The fields, if the record holds an object.
    pub const fn fields(&self) -> Option<&Fields<F>> {
        match self.content() {
            Some(Content::Object(fields)) => Some(fields),
            _ => None,
        }
    }

    /// The rest of a record that has been invalidated: a later patch builds on it.
    pub const fn hidden(&self) -> Option<&Content<F>> {
        if self.is_shown {
            None
        } else {
            self.content.as_ref()
        }
    }

    /// The expiry, from the entry that changed it last.
    pub const fn expires_at(&self) -> Option<WallTime> {
        self.expires_at
    }

    /// The memory besides its value.
    pub const fn memory(&self) -> &Memory<F> {
        &self.memory
    }
}

impl<F: Field> Row<F> {
    /// Applies an entry of the log, as [`Memory::apply`], and carries out what becomes of the row.
    ///
    /// # Errors
    /// The entry cannot be carried out. The row is as it was.
    pub fn apply(&mut self, entry: &Entry<Content<F>>) -> Result<Effect, RecordError> {
        let outcome = self.memory.apply(entry, &self.content)?;
        match outcome.change {
            Change::Keep => {}
            Change::Show => self.is_shown = self.content.is_some(),
            Change::Replace => {
                self.content = entry.action.value().cloned();
                self.is_shown = true;
            }
            Change::Hide => {
                self.content = entry.action.value().cloned();
                self.is_shown = false;
            }
            Change::Set(fields) => {
                let mut content = match self.content.take() {
                    Some(Content::Object(content)) => content,
                    None | Some(Content::Other(_)) => Fields::default(),
                };
                for (name, value) in fields {
                    content.set(&name, value);
                }
                self.content = Some(Content::Object(content));
                self.is_shown = true;
            }
            Change::Remove => {
                self.content = None;
                self.is_shown = false;
            }
        }
        if let Some(expires_at) = outcome.expires_at {
            self.expires_at = expires_at;
        }
        Ok(outcome.effect)
    }

    /// Takes a row of a base copy, as [`Memory::apply_copied`].
    pub fn apply_copied(
        &mut self,
        content: Option<Content<F>>,
        expires_at: Option<WallTime>,
        stamp: &Stamp,
    ) -> bool {
        let is_taken = self.memory.apply_copied(stamp);
        if is_taken {
            self.is_shown = content.is_some();
            self.content = content;
            self.expires_at = expires_at;
        }
        is_taken
    }
}

//! The rules, one entry at a time.

use alloc::string::String;
use core::cmp::Ordering;

use super::field::{Field, Request};
use super::fields::{Content, Fields};
use super::memory::Stamp;
use super::{Action, Effect, Entry, RecordError, Row};
use crate::time::WallTime;

impl<F: Field> Row<F> {
    /// Applies an entry of the log.
    ///
    /// Idempotent: the log again, from any earlier place, ends with the same row.
    ///
    /// # Errors
    /// The entry cannot be carried out. The row is as it was.
    pub fn apply(&mut self, entry: &Entry<F>) -> Result<Effect, RecordError> {
        let stamp = Stamp {
            version: entry.version,
            origin: entry.origin.clone(),
        };
        let is_counted = entry.repeats || has_operations(&entry.action);
        if self.is_known(entry, &stamp, is_counted) {
            return Ok(Effect::Dropped);
        }
        let step = match &entry.action {
            Action::Put(None) | Action::Delete => self.delete(&stamp),
            Action::Put(Some(content)) => self.put(content, entry, &stamp)?,
            Action::Patch(content) => self.patch(content, entry, &stamp)?,
            Action::Invalidate(left) => self.invalidate(left.clone(), &stamp),
            Action::Message => self.message(entry.expires_at, &stamp),
            Action::Relocate => self.relocate(&stamp),
        };
        self.remember(entry.digest, &stamp, step, is_counted);
        Ok(match step {
            Step::Superseded => Effect::Dropped,
            Step::Applied => Effect::Changed,
        })
    }

    /// Takes a row of a base copy: the publisher's own state. It wins unless what is here is newer.
    pub fn apply_copied(
        &mut self,
        content: Option<Content<F>>,
        expires_at: Option<WallTime>,
        stamp: &Stamp,
    ) -> Effect {
        if self.memory.is_below_head(stamp) {
            return Effect::Dropped;
        }
        self.is_shown = content.is_some();
        self.content = content;
        self.expires_at = expires_at;
        self.memory.rebase(stamp, true);
        self.memory.head = Some(stamp.clone());
        self.memory.newest = Default::default();
        self.memory.full = Default::default();
        Effect::Changed
    }

    /// Whether the entry was met before.
    fn is_known(&self, entry: &Entry<F>, stamp: &Stamp, is_counted: bool) -> bool {
        let memory = &self.memory;
        // Neither is told by what it left behind: something late may have come after it.
        let is_repeated = match entry.action {
            Action::Invalidate(_) => memory.gone.as_ref().is_some_and(|gone| stamp <= gone),
            Action::Relocate => memory.moved.as_ref().is_some_and(|moved| stamp <= moved),
            _ => false,
        };
        (is_counted && memory.has_counted(stamp, entry.digest))
            || memory.knows(stamp, entry.digest)
            || is_repeated
    }

    fn remember(&mut self, digest: u64, stamp: &Stamp, step: Step, is_counted: bool) {
        let memory = &mut self.memory;
        if is_counted {
            memory.count(stamp, digest);
        }
        if memory
            .newest
            .stamp
            .as_ref()
            .is_none_or(|newest| newest <= stamp)
        {
            memory.newest.set(stamp);
            memory.newest.add(digest);
        }
        if memory.base.as_ref() == Some(stamp) && !matches!(step, Step::Superseded) {
            if memory.full.stamp.as_ref() == Some(stamp) {
                memory.full.add(digest);
            } else if memory.newest.stamp.as_ref() == Some(stamp) {
                memory.full = memory.newest.clone();
            } else {
                memory.full.set(stamp);
                memory.full.add(digest);
            }
        }
        memory.prune();
    }

    /// Whether something newer has made it meaningless.
    fn is_superseded(&self, stamp: &Stamp) -> bool {
        match self.memory.against_base(stamp) {
            Ordering::Less => true,
            Ordering::Equal => self.memory.is_copied,
            Ordering::Greater => false,
        }
    }

    fn put(
        &mut self,
        content: &Content<F>,
        entry: &Entry<F>,
        stamp: &Stamp,
    ) -> Result<Step, RecordError> {
        // The last full write once more, below something newer: a row that only ever had puts does not remember its digest.
        let is_base = self.memory.base.as_ref() == Some(stamp);
        let is_again = is_base && !entry.repeats && self.memory.head.as_ref() != Some(stamp);
        if is_again || self.is_superseded(stamp) {
            return Ok(Step::Superseded);
        }
        let memory = &self.memory;
        let has_newer = memory.bare.as_ref().is_some_and(|bare| bare > stamp)
            || memory
                .fields
                .values()
                .any(|history| history.is_newer_than(stamp));
        if has_newer {
            self.content = self.below_newer(content, stamp)?;
            let memory = &mut self.memory;
            memory.base = Some(stamp.clone());
            memory.is_copied = false;
            memory.fields.retain(|_, history| history.forget(stamp));
        } else {
            self.content = Some(content.clone());
            self.memory.rebase(stamp, false);
        }
        self.is_shown = true;
        self.expires_at = entry.expires_at;
        self.memory.raise(stamp);
        Ok(Step::Applied)
    }

    /// A late put: the fields of newer patches stay, and so do those that only the row has (`conflicts.md` section 2.1).
    fn below_newer(
        &self,
        put: &Content<F>,
        stamp: &Stamp,
    ) -> Result<Option<Content<F>>, RecordError> {
        let Content::Object(put) = put else {
            return Ok(self.content.clone());
        };
        let mut fields = self.object();
        for (name, value) in put.iter() {
            let history = self.memory.fields.get(name);
            let set = history.and_then(|history| history.set.as_ref());
            if set.is_some_and(|set| set > stamp) {
                continue;
            }
            // What a put holds as data is carried out here, as the publisher does it.
            if let Some(amount) = addition(value)? {
                let sum = plus(name, fields.get(name), &amount)?;
                fields.set(name, sum);
                continue;
            }
            let floor = history.and_then(|history| history.floor.as_ref());
            if floor.is_some_and(|floor| floor > stamp) {
                continue;
            }
            let additions = history.map_or(&[][..], |history| history.after(stamp));
            fields.set(name, plus_all(name, value.clone(), additions)?);
        }
        Ok(Some(Content::Object(fields)))
    }

    fn patch(
        &mut self,
        content: &Content<F>,
        entry: &Entry<F>,
        stamp: &Stamp,
    ) -> Result<Step, RecordError> {
        if self.is_superseded(stamp) {
            return Ok(Step::Superseded);
        }
        let none = Fields::default();
        let patch = match content {
            Content::Object(patch) => patch,
            Content::Other(_) => &none,
        };
        // It changes no field by which it could be told that it comes again.
        if patch.is_empty() && self.memory.bare.as_ref().is_some_and(|bare| bare >= stamp) {
            return Ok(Step::Superseded);
        }
        // Everything that can fail comes first.
        let mut fields = self.object();
        let mut steps = alloc::vec::Vec::new();
        for (name, value) in patch.iter() {
            let history = self.memory.fields.get(name);
            let set = history.and_then(|history| history.set.as_ref());
            let amount = addition(value)?;
            if set.is_some_and(|set| set > stamp) {
                continue;
            }
            if let Some(amount) = amount {
                let sum = plus(name, fields.get(name), &amount)?;
                fields.set(name, sum);
                steps.push((name, Some(amount)));
                continue;
            }
            // This very write again; or one that is older than additions of which only the sum is known.
            let is_again = !entry.repeats && set == Some(stamp);
            let floor = history.and_then(|history| history.floor.as_ref());
            if is_again || floor.is_some_and(|floor| floor > stamp) {
                continue;
            }
            let additions = history.map_or(&[][..], |history| history.after(stamp));
            fields.set(name, plus_all(name, value.clone(), additions)?);
            steps.push((name, None));
        }
        let is_late = self.memory.is_below_head(stamp);
        let has_changed = !steps.is_empty();
        for (name, amount) in steps {
            let history = self.memory.fields.entry(name.into()).or_default();
            if let Some(amount) = amount {
                history.add(stamp, amount);
            } else {
                let newer = history.after(stamp).to_vec();
                history.additions = newer;
                history.set = Some(stamp.clone());
                history.floor = None;
            }
        }
        if has_changed || matches!(self.content, Some(Content::Object(_))) {
            self.content = Some(Content::Object(fields));
        }
        self.memory.raise(stamp);
        if patch.is_empty() {
            self.memory.bare = Some(stamp.clone());
            if self.content.is_none() {
                return Ok(Step::Applied);
            }
        } else if is_late && !has_changed {
            return Ok(Step::Applied);
        }
        self.is_shown = true;
        self.expires_at = entry.expires_at;
        Ok(Step::Applied)
    }

    fn delete(&mut self, stamp: &Stamp) -> Step {
        if self.memory.is_below_head(stamp) || self.is_superseded(stamp) {
            return Step::Superseded;
        }
        self.content = None;
        self.is_shown = false;
        self.expires_at = None;
        self.memory.rebase(stamp, false);
        self.memory.raise(stamp);
        Step::Applied
    }

    /// Not a full write: what is older may still come in on top of it.
    fn invalidate(&mut self, left: Option<Content<F>>, stamp: &Stamp) -> Step {
        if self.memory.is_below_head(stamp) || self.is_superseded(stamp) {
            return Step::Superseded;
        }
        self.content = left;
        self.is_shown = false;
        self.expires_at = None;
        self.memory.is_copied = false;
        self.memory.gone = Some(stamp.clone());
        self.memory.raise(stamp);
        Step::Applied
    }

    /// It changes no value, but a publisher forgets that the record was invalidated.
    fn message(&mut self, expires_at: Option<WallTime>, stamp: &Stamp) -> Step {
        let head = self.memory.head.as_ref();
        // It has the row's version: an older one comes from a replay.
        let is_current = head.is_some_and(|head| stamp.version >= head.version);
        if !is_current || self.content.is_none() {
            return Step::Superseded;
        }
        self.is_shown = true;
        self.expires_at = expires_at;
        Step::Applied
    }

    fn relocate(&mut self, stamp: &Stamp) -> Step {
        self.memory.moved = Some(stamp.clone());
        let Some(head) = &self.memory.head else {
            return Step::Applied;
        };
        if stamp <= head {
            return Step::Superseded;
        }
        self.is_shown = self.content.is_some();
        self.expires_at = None;
        self.memory.raise(stamp);
        Step::Applied
    }

    /// The fields that a patch builds on: none, if the row is no object.
    fn object(&self) -> Fields<F> {
        match &self.content {
            Some(Content::Object(fields)) => fields.clone(),
            None | Some(Content::Other(_)) => Fields::default(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Something newer stands above it.
    Superseded,
    Applied,
}

/// Whether replaying it could count twice.
fn has_operations<F: Field>(action: &Action<F>) -> bool {
    match action {
        Action::Put(Some(Content::Object(fields))) | Action::Patch(Content::Object(fields)) => {
            fields
                .iter()
                .any(|(_, value)| !matches!(value.request(), Request::Value))
        }
        _ => false,
    }
}

/// The amount, if the field's value asks for an addition.
fn addition<F: Field>(value: &F) -> Result<Option<F>, RecordError> {
    match value.request() {
        Request::Value => Ok(None),
        Request::Add(amount) => Ok(Some(amount)),
        Request::Unknown(operation) => Err(RecordError::UnknownOperation(operation)),
    }
}

fn plus<F: Field>(name: &str, previous: Option<&F>, amount: &F) -> Result<F, RecordError> {
    F::plus(previous, amount).map_err(|error| RecordError::CannotAdd {
        field: String::from(name),
        error,
    })
}

fn plus_all<F: Field>(name: &str, value: F, additions: &[(Stamp, F)]) -> Result<F, RecordError> {
    additions
        .iter()
        .try_fold(value, |value, (_, amount)| plus(name, Some(&value), amount))
}

//! The rules, one entry at a time.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::field::{Field, Request};
use super::memory::{Memory, Stamp};
use super::{Action, Change, Current, Doubt, Effect, Entry, Outcome, Payload, RecordError};
use crate::time::WallTime;

impl<F: Field> Memory<F> {
    /// Applies an entry of the log: says what becomes of the row, and remembers it.
    ///
    /// Idempotent: the log again, from the beginning of any earlier transaction, ends with the same row and memory.
    ///
    /// # Errors
    /// The entry cannot be carried out. The memory is as it was.
    pub fn apply<P: Payload<Field = F>>(
        &mut self,
        entry: &Entry<P>,
        row: &impl Current<F>,
    ) -> Result<Outcome<F>, RecordError> {
        let stamp = Stamp {
            version: entry.version,
            origin: entry.origin.clone(),
        };
        // A put that is laid below newer patches carries out operations too: it is the last full write then, so it is known.
        let has_operations =
            matches!(&entry.action, Action::Patch(value) if value.may_have_operations());
        let is_counted = entry.repeats || has_operations;
        if self.is_known(entry, &stamp, is_counted) {
            return Ok(Outcome::dropped());
        }
        let mut outcome = match &entry.action {
            Action::Put(None) | Action::Delete => self.delete(&stamp),
            Action::Put(Some(value)) => self.put(value, entry, row, &stamp)?,
            Action::Patch(value) => self.patch(value, entry, row, &stamp)?,
            Action::Invalidate(_) => self.invalidate(&stamp),
            Action::Message => self.message(entry, row, &stamp),
            Action::Relocate => self.relocate(&stamp),
        };
        if is_counted {
            self.count(&stamp, entry.digest);
        }
        self.prune();
        if entry.repeats {
            outcome.effect.doubt.get_or_insert(Doubt::SameTransaction);
        }
        Ok(outcome)
    }

    /// Takes a row of a base copy: the publisher's own state. It wins unless what is here is newer; gives whether it does.
    pub fn apply_copied(&mut self, stamp: &Stamp) -> bool {
        if self.is_below_head(stamp) {
            return false;
        }
        self.rebase(stamp, true);
        self.raise(stamp);
        true
    }

    /// Whether the entry was met before.
    fn is_known<P>(&self, entry: &Entry<P>, stamp: &Stamp, is_counted: bool) -> bool {
        let is_first = !entry.repeats;
        let is_behind = |last: &Option<Stamp>| {
            let order = last.as_ref().map(|last| stamp.cmp(last));
            order == Some(Ordering::Less) || is_first && order == Some(Ordering::Equal)
        };
        let is_past = match entry.action {
            // Neither is told by what it left behind: something late may have come after it.
            Action::Invalidate(_) => is_behind(&self.gone),
            Action::Relocate => is_behind(&self.moved),
            Action::Message => false,
            // The first write of a transaction that made the last full write, and whose others are known one by one; or that
            // full write below something newer.
            Action::Put(_) | Action::Patch(_) | Action::Delete => {
                let is_base = self.base.as_ref() == Some(stamp) && !self.is_copied;
                is_base && !is_counted && !self.is_plain()
            }
        };
        is_past || is_counted && self.has_counted(stamp, entry.digest)
    }

    /// Whether something newer has made it meaningless.
    fn is_superseded(&self, stamp: &Stamp) -> bool {
        match self.against_base(stamp) {
            Ordering::Less => true,
            Ordering::Equal => self.is_copied,
            Ordering::Greater => false,
        }
    }

    /// Of a copied row nobody knows which older writes it contains.
    fn superseded(&self) -> Outcome<F> {
        let mut outcome = Outcome::dropped();
        outcome.effect.doubt = self.is_copied.then_some(Doubt::AcrossCopy);
        outcome
    }

    /// Publishers decide such ties by what they stored last.
    fn is_tie(&self, stamp: &Stamp) -> bool {
        let is_tie = |other: &Stamp| other.version == stamp.version && other.origin != stamp.origin;
        self.head.as_ref().is_some_and(is_tie)
    }

    fn put<P: Payload<Field = F>>(
        &mut self,
        value: &P,
        entry: &Entry<P>,
        row: &impl Current<F>,
        stamp: &Stamp,
    ) -> Result<Outcome<F>, RecordError> {
        if self.is_superseded(stamp) {
            return Ok(self.superseded());
        }
        let has_newer = self.bare.as_ref().is_some_and(|bare| bare > stamp)
            || self
                .fields
                .values()
                .any(|history| history.is_newer_than(stamp));
        let is_after = |other: &Option<Stamp>| other.as_ref().is_some_and(|other| other > stamp);
        let doubt = if has_newer {
            Some(Doubt::LatePut)
        } else if is_after(&self.gone) {
            Some(Doubt::BelowInvalidation)
        } else {
            self.is_tie(stamp).then_some(Doubt::EqualVersions)
        };
        let change = if has_newer {
            let change = self.below_newer(value, row, stamp)?;
            self.base = Some(stamp.clone());
            self.is_copied = false;
            self.fields.retain(|_, history| history.forget(stamp));
            change
        } else {
            self.rebase(stamp, false);
            Change::Replace
        };
        self.raise(stamp);
        Ok(Outcome {
            change,
            expires_at: Some(entry.expires_at),
            effect: Effect {
                is_dropped: false,
                doubt,
            },
        })
    }

    /// A late put: the fields of newer patches stay, and so do those that only the row has (`conflicts.md` section 2.1).
    fn below_newer<P: Payload<Field = F>>(
        &self,
        value: &P,
        row: &impl Current<F>,
        stamp: &Stamp,
    ) -> Result<Change<F>, RecordError> {
        let Some(fields) = value.fields() else {
            return Ok(Change::Show);
        };
        let mut row = Amounts::new(&fields, row)?;
        let mut set = Vec::new();
        for (name, value) in fields {
            let history = self.fields.get(&name);
            if history.is_some_and(|history| history.is_set_after(stamp)) {
                continue;
            }
            // What a put holds as data is carried out here, as the publisher does it.
            let value = match addition(&value)? {
                Some(amount) => plus(&name, row.take(&name), &amount)?,
                None if history.is_some_and(|history| history.is_cut_after(stamp)) => continue,
                None => {
                    let additions = history.map_or(&[][..], |history| history.after(stamp));
                    plus_all(&name, value, additions)?
                }
            };
            set.push((name, value));
        }
        Ok(Change::Set(set))
    }

    fn patch<P: Payload<Field = F>>(
        &mut self,
        value: &P,
        entry: &Entry<P>,
        row: &impl Current<F>,
        stamp: &Stamp,
    ) -> Result<Outcome<F>, RecordError> {
        if self.is_superseded(stamp) {
            return Ok(self.superseded());
        }
        let fields = value.fields().unwrap_or_default();
        let is_empty = fields.is_empty();
        // It changes no field by which it could be told that it comes again.
        if is_empty && self.bare.as_ref().is_some_and(|bare| bare >= stamp) {
            return Ok(Outcome::dropped());
        }
        // Everything that can fail comes first.
        let mut current = Amounts::new(&fields, row)?;
        let mut set = Vec::new();
        let mut amounts = Vec::new();
        for (name, value) in fields {
            let history = self.fields.get(&name);
            let amount = addition(&value)?;
            if history.is_some_and(|history| history.is_set_after(stamp)) {
                continue;
            }
            let value = if let Some(amount) = &amount {
                plus(&name, current.take(&name), amount)?
            } else {
                // This very write again; or one that is older than additions of which only the sum is known.
                let is_again =
                    !entry.repeats && history.is_some_and(|it| it.set.as_ref() == Some(stamp));
                if is_again || history.is_some_and(|history| history.is_cut_after(stamp)) {
                    continue;
                }
                let additions = history.map_or(&[][..], |history| history.after(stamp));
                plus_all(&name, value, additions)?
            };
            set.push((name, value));
            amounts.push(amount);
        }
        let doubt = self.is_tie(stamp).then_some(Doubt::EqualVersions);
        let has_changed = !set.is_empty();
        for ((name, _), amount) in set.iter().zip(amounts) {
            let history = self.fields.entry(name.clone()).or_default();
            match amount {
                Some(amount) => history.add(stamp, amount),
                None => history.set(stamp),
            }
        }
        self.raise(stamp);
        if is_empty {
            self.bare = Some(stamp.clone());
        }
        let is_shown = has_changed || is_empty && row.is_there();
        Ok(Outcome {
            change: if has_changed {
                Change::Set(set)
            } else if is_shown {
                Change::Show
            } else {
                Change::Keep
            },
            expires_at: is_shown.then_some(entry.expires_at),
            effect: Effect {
                is_dropped: false,
                doubt,
            },
        })
    }

    fn delete(&mut self, stamp: &Stamp) -> Outcome<F> {
        if self.is_below_head(stamp) || self.is_superseded(stamp) {
            return Outcome::dropped();
        }
        let doubt = self.is_tie(stamp).then_some(Doubt::EqualVersions);
        self.rebase(stamp, false);
        self.raise(stamp);
        let mut outcome = Outcome::changed(Change::Remove, None);
        outcome.effect.doubt = doubt;
        outcome
    }

    /// Not a full write: what is older may still come in on top of it.
    fn invalidate(&mut self, stamp: &Stamp) -> Outcome<F> {
        if self.is_below_head(stamp) || self.is_superseded(stamp) {
            return Outcome::dropped();
        }
        self.is_copied = false;
        self.gone = Some(stamp.clone());
        self.raise(stamp);
        Outcome::changed(Change::Hide, None)
    }

    /// It changes no value, but a publisher forgets that the record was invalidated. It is known when it comes again: something
    /// late may have come after it.
    fn message<P>(&mut self, entry: &Entry<P>, row: &impl Current<F>, stamp: &Stamp) -> Outcome<F> {
        let head = self.head.as_ref();
        // It has the row's version: another one comes from a replay, or is of a publisher that says nothing of the row by it.
        let is_current = head.is_some_and(|head| stamp.version == head.version);
        let expires_at = entry.expires_at.map_or(0, |WallTime(time)| time.to_bits());
        if !is_current || !self.is_new_message(stamp, [entry.digest, expires_at]) || !row.is_there()
        {
            return Outcome::dropped();
        }
        Outcome::changed(Change::Show, entry.expires_at)
    }

    /// It changes no value, and shows none: a publisher does, but says nothing of the row by it.
    fn relocate(&mut self, stamp: &Stamp) -> Outcome<F> {
        self.moved = Some(stamp.clone());
        if self.head.as_ref().is_none_or(|head| stamp <= head) {
            return Outcome::dropped();
        }
        self.raise(stamp);
        Outcome::changed(Change::Keep, None)
    }
}

impl<F> Outcome<F> {
    const fn dropped() -> Self {
        Self {
            change: Change::Keep,
            expires_at: None,
            effect: Effect {
                is_dropped: true,
                doubt: None,
            },
        }
    }

    const fn changed(change: Change<F>, expires_at: Option<WallTime>) -> Self {
        Self {
            change,
            expires_at: Some(expires_at),
            effect: Effect {
                is_dropped: false,
                doubt: None,
            },
        }
    }
}

/// The fields of the row that are added to.
struct Amounts<F> {
    fields: Vec<(String, Option<F>)>,
}

impl<F: Field> Amounts<F> {
    fn new(fields: &[(String, F)], row: &impl Current<F>) -> Result<Self, RecordError> {
        let mut names = Vec::new();
        for (name, value) in fields {
            if addition(value)?.is_some() {
                names.push(name.as_str());
            }
        }
        let mut fields = Vec::new();
        if !names.is_empty() {
            let values = row.fields(&names);
            fields.extend(names.into_iter().map(String::from).zip(values));
            fields.reverse();
        }
        Ok(Self { fields })
    }

    /// The field with this name: they are taken in the order in which the entry names them.
    fn take(&mut self, name: &str) -> Option<F> {
        while let Some((next, value)) = self.fields.pop() {
            if next == name {
                return value;
            }
        }
        None
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

fn plus<F: Field>(name: &str, previous: Option<F>, amount: &F) -> Result<F, RecordError> {
    F::plus(previous.as_ref(), amount).map_err(|error| RecordError::CannotAdd {
        field: String::from(name),
        error,
    })
}

fn plus_all<F: Field>(name: &str, value: F, additions: &[(Stamp, F)]) -> Result<F, RecordError> {
    additions
        .iter()
        .try_fold(value, |value, (_, amount)| plus(name, Some(value), amount))
}

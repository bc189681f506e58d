//! Where events become durable.

use std::ops::AddAssign;

use replproto_core::replica::Doubt;
use replproto_core::{Cursor, Event, StoredCursor};

/// A store that keeps what one link brings: the boundary between a driver and the application.
///
/// # Calls
///
/// One driver owns the sink, and each call ends before the next begins:
///
/// ```text
/// load                                    before every dial
///   begin  apply*  commit(cursor)         any number of times while the link lives; may_wait in between
///   begin  apply*  rollback               when it ends in between, or when a call failed
/// ```
///
/// A driver may put several of the publisher's transactions between one `begin` and one `commit`, because one durable
/// write for many small transactions is what makes catching up fast. It only commits at the end of a transaction, so a
/// transaction is kept whole or not at all.
///
/// # Rules for the driver
///
/// * [`load`](Self::load) is called anew before each dial, after every commit under way has ended: the cursor of an
///   earlier call is stale.
/// * [`apply`](Self::apply) gets every event of the link in its order, with two exceptions: an [`Event::Checkpoint`] is
///   only an argument of [`commit`](Self::commit), and events may be withheld that come after the last end of a
///   transaction. The [`Event::EndTransaction`] is passed on too, since the position that it tells is what lets a store
///   forget its tombstones.
/// * [`commit`](Self::commit) gets the newest cursor that any of the passed events, or a checkpoint between them, carried;
///   `None` if there was none. It may cover a part only of what was applied; what it does cover has been applied.
/// * An error of any call ends the link: the driver calls [`rollback`](Self::rollback), ends the link, and begins again
///   with `load`. The same holds for a future that is dropped before it is ready: whether its work was done is unknown
///   until `load` tells the cursor.
///
/// # Rules for the store
///
/// * What was applied is durable, with the cursor in the same step, when `commit` returns; nothing of it is when the
///   process dies before. Without a cursor the stored one stays.
/// * What an entry makes of a row is what [`replproto_core::replica`] says: late entries of other writers come in below newer
///   ones, additions count once, and what comes again changes nothing. Publishers repeat what came after the cursor and may send
///   something late for as long as they keep their log, so deletions are remembered until both are over
///   ([`RETENTION`](replproto_core::replica::RETENTION)). Between [`Event::CopyStarted`] and [`Event::CopyCompleted`] a put is a
///   [copied row](replproto_core::replica::Memory::apply_copied).
/// * Between [`Event::CopyStarted`] and [`Event::CopyCompleted`] it marks every record that an entry names, and at the end
///   removes the others of the tables that its cursor [covers](replproto_core::Cursor::covers), unless the copy was `forced`: such a
///   one has not all records. A copy that is `resumed` goes on with the marks that it had; one that is not forgets them, and in
///   the same step the copy in the stored cursor.
/// * A record whose id or value cannot be decoded is passed over and counted.
pub trait Sink: Send {
    /// What can go wrong in the store.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Reads where the link left off.
    ///
    /// # Errors
    /// The store cannot be read. A cursor that is there and damaged is not an error but
    /// [`StoredCursor::Unreadable`].
    fn load(&mut self) -> impl Future<Output = Result<Stored, Self::Error>> + Send;

    /// Opens a storage transaction.
    ///
    /// # Errors
    /// The store cannot be written now.
    fn begin(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Applies a bounded batch of events, in order.
    ///
    /// # Errors
    /// The store could not write all of them; only [`rollback`](Self::rollback) may follow.
    fn apply(
        &mut self,
        events: Vec<Event>,
    ) -> impl Future<Output = Result<Applied, Self::Error>> + Send;

    /// Makes everything since `begin` durable, and the cursor with it.
    ///
    /// # Errors
    /// Nothing of it is kept, or (if the error came from the medium) all of it may be: `load` tells. Only
    /// [`rollback`](Self::rollback) may follow.
    fn commit(
        &mut self,
        cursor: Option<Cursor>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether the open storage transaction may stay open although it waits for the peer. It is asked now and then while one does
    /// ([`RunOptions::transaction_wait`](crate::RunOptions::transaction_wait)). A store that others wait for in the meantime
    /// says no: then the transaction is rolled back, and the link is renewed from the cursor.
    ///
    /// # Errors
    /// The store cannot tell.
    fn may_wait(&mut self) -> impl Future<Output = Result<bool, Self::Error>> + Send {
        async { Ok(true) }
    }

    /// Forgets everything since `begin`. Without a `begin` it does nothing.
    ///
    /// # Errors
    /// The store is not usable until `load` succeeds.
    fn rollback(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Gives the store back, forgetting an open transaction, and waits until that is done: it can be opened again then.
    fn close(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        async { drop(self) }
    }
}

/// What a store knows of a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Where it left off.
    pub cursor: StoredCursor,
    /// The publisher that the cursor belongs to. It means nothing to a publisher of another name.
    pub peer: Option<String>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Records that could not be decoded and were passed over, to be reported with
    /// [`Input::Skipped`](replproto_core::Input::Skipped). [`Event::RecordSkipped`] is not counted here: the link has
    /// done so.
    pub skipped: u64,
    /// Entries after which a row may not be the publisher's.
    pub doubts: Doubts,
}

#[cfg(feature = "sqlite")]
impl Applied {
    /// Counts a record: one that was passed over, or whether its row is in doubt.
    pub(crate) fn add<E>(&mut self, done: &Result<Option<Doubt>, E>) {
        match done {
            Ok(None) => {}
            Ok(Some(doubt)) => self.doubts.add(*doubt),
            Err(_) => self.skipped += 1,
        }
    }
}

impl AddAssign for Applied {
    fn add_assign(&mut self, more: Self) {
        self.skipped += more.skipped;
        self.doubts += more.doubts;
    }
}

/// How many entries of each class of [`Doubt`] there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubts([u64; Doubt::ALL.len()]);

impl AddAssign for Doubts {
    fn add_assign(&mut self, more: Self) {
        for (sum, more) in self.0.iter_mut().zip(more.0) {
            *sum += more;
        }
    }
}

impl Doubts {
    /// One more.
    pub const fn add(&mut self, doubt: Doubt) {
        self.0[doubt as usize] += 1;
    }

    /// How many there were of this class.
    pub const fn of(&self, doubt: Doubt) -> u64 {
        self.0[doubt as usize]
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each class, and how many entries of it there were.
    pub fn iter(&self) -> impl Iterator<Item = (Doubt, u64)> {
        Doubt::ALL.into_iter().zip(self.0)
    }
}

//! Which worker runs which link.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::backoff::Backoff;
use crate::reassignment::ReassignmentSchedule;
use crate::time::Instant;

/// Decides which worker of a process runs which link, and when.
///
/// A link is wanted from [`add`](Self::add) to [`remove`](Self::remove). It is run in sessions, one at a time: it starts on
/// a worker, and it starts elsewhere only after that session is known to be over. A session is over when the worker says so
/// ([`ended`](Self::ended)) or has died ([`died`](Self::died)).
///
/// * A link that is added starts at once. The caller asked for it, and each worker only takes up its links one by one; to
///   space first starts, add the links one after the other.
/// * A link whose worker died starts again in its turn of one [`ReassignmentSchedule`] (`protocol.md` section 12.1), unless
///   it is removed before. Starts of this kind are at least the interval apart even when the roster is asked late. A
///   link that is removed and added while it waits for its turn is a new one.
/// * A link goes to the worker that has the fewest, and is not [dismissed](Self::dismiss). While there is none, all links wait.
/// * A worker that died is replaced after a delay that grows while workers die soon after their start.
///
/// Its owner carries out what [`poll`](Self::poll) gives, tells what becomes of it, and asks again at
/// [`poll_timeout`](Self::poll_timeout).
///
/// ```
/// use replproto_core::{Assignment, Backoff, Instant, ReassignmentSchedule, Roster};
///
/// let mut roster = Roster::new(1, ReassignmentSchedule::default(), Backoff::default());
/// let start = Instant::ZERO;
/// let Some(Assignment::StartWorker { worker }) = roster.poll(start) else { panic!() };
/// roster.add("data from node-a");
/// assert!(matches!(roster.poll(start), Some(Assignment::StartLink { .. })));
/// assert_eq!(roster.poll(start), None);
///
/// // The worker dies: it is replaced, and then the link starts again.
/// roster.died(start, worker);
/// let later = roster.poll_timeout().unwrap();
/// assert!(matches!(roster.poll(later), Some(Assignment::StartWorker { .. })));
/// assert!(matches!(roster.poll(later), Some(Assignment::StartLink { is_reassigned: true, .. })));
/// ```
#[derive(Clone, Debug)]
pub struct Roster<K> {
    schedule: ReassignmentSchedule,
    replacements: Backoff,
    workers: Vec<Slot>,
    links: BTreeMap<K, State>,
    /// The links that wait for a worker.
    waiting: BTreeMap<Turn, K>,
    /// Sessions to be told that they are over.
    stops: VecDeque<(K, Session)>,
    /// Of workers, sessions and turns: none is ever used twice.
    last_number: u64,
    /// When a link was reassigned last.
    reassigned_at: Option<Instant>,
    reassigned: u64,
}

/// One life of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId {
    index: usize,
    number: u64,
}

impl WorkerId {
    /// Which of the workers, from 0 on. Its replacement has the same.
    pub const fn index(self) -> usize {
        self.index
    }
}

/// One stay of a link on a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment<K> {
    /// Start a worker. It may be given links at once. Answered with [`Roster::died`] when it is no more.
    StartWorker {
        /// The worker.
        worker: WorkerId,
    },
    /// Start a link on a worker. Answered with [`Roster::ended`] when it is over for good.
    StartLink {
        /// The link.
        link: K,
        /// The session that starts.
        session: SessionId,
        /// The worker.
        worker: WorkerId,
        /// Its last worker died.
        is_reassigned: bool,
    },
    /// End a session, and answer with [`Roster::ended`] when nothing of it is left.
    StopLink {
        /// The link.
        link: K,
        /// The session that ends.
        session: SessionId,
        /// Where it runs.
        worker: WorkerId,
    },
}

/// The place of a worker.
#[derive(Clone, Debug)]
enum Slot {
    /// A worker starts here then.
    Vacant { at: Instant },
    Staffed {
        worker: WorkerId,
        since: Instant,
        /// The sessions that it has.
        load: usize,
        /// It gets no more of them.
        is_dismissed: bool,
    },
}

/// When a waiting link starts: those without a time first, and at one time in the order in which they came.
type Turn = (Option<Instant>, u64);

#[derive(Clone, Copy, Debug)]
struct Session {
    id: SessionId,
    worker: WorkerId,
}

/// What is known of a link.
#[derive(Clone, Copy, Debug)]
enum State {
    /// It is wanted, and no worker has it.
    Waiting(Turn),
    /// It is wanted, and a worker has it.
    Running(Session),
    /// It was removed and a worker still has it. It may have been added again.
    Stopping { session: Session, is_wanted: bool },
}

impl State {
    const fn session(self) -> Option<Session> {
        match self {
            Self::Waiting(_) => None,
            Self::Running(session) | Self::Stopping { session, .. } => Some(session),
        }
    }
}

impl<K: Ord + Clone> Roster<K> {
    /// A roster of this many workers, of at least one. The delays before a worker is replaced are those of `replacements`;
    /// they begin anew after a worker that lived for [`Backoff::HEALTHY_AFTER`].
    pub fn new(workers: usize, schedule: ReassignmentSchedule, replacements: Backoff) -> Self {
        let vacant = Slot::Vacant { at: Instant::ZERO };
        Self {
            schedule,
            replacements,
            workers: alloc::vec![vacant; workers.max(1)],
            links: BTreeMap::new(),
            waiting: BTreeMap::new(),
            stops: VecDeque::new(),
            last_number: 0,
            reassigned_at: None,
            reassigned: 0,
        }
    }

    /// A link is wanted from now on. `false`: it is already.
    pub fn add(&mut self, link: K) -> bool {
        match self.links.get_mut(&link) {
            None => self.wait(link, None),
            Some(State::Stopping { is_wanted, .. }) if !*is_wanted => *is_wanted = true,
            Some(_) => return false,
        }
        true
    }

    /// A link is not wanted any more. Gives the session that has yet to end, if there is one.
    pub fn remove(&mut self, link: &K) -> Option<SessionId> {
        let state = self.links.get_mut(link)?;
        match *state {
            State::Waiting(turn) => {
                self.waiting.remove(&turn);
                self.links.remove(link);
                None
            }
            State::Running(session) => {
                *state = State::Stopping {
                    session,
                    is_wanted: false,
                };
                self.stops.push_back((link.clone(), session));
                Some(session.id)
            }
            State::Stopping { session, .. } => {
                *state = State::Stopping {
                    session,
                    is_wanted: false,
                };
                Some(session.id)
            }
        }
    }

    /// Nothing is left of a session. If nobody asked for that, the link starts again in its turn, as if its worker had died.
    /// A session that is not known, or over already, changes nothing.
    pub fn ended(&mut self, now: Instant, link: &K, session: SessionId) {
        let Some(state) = self.links.get(link).copied() else {
            return;
        };
        let Some(known) = state.session().filter(|known| known.id == session) else {
            return;
        };
        if let Some(Slot::Staffed { load, .. }) = self.workers.get_mut(known.worker.index) {
            *load = load.saturating_sub(1);
        }
        match state {
            State::Stopping {
                is_wanted: false, ..
            } => drop(self.links.remove(link)),
            State::Stopping { .. } => self.wait(link.clone(), None),
            _ => {
                let at = self.schedule.next_at(now);
                self.wait(link.clone(), Some(at));
            }
        }
    }

    /// A worker gets no more links: it is about to die. `false`: that was known, or it is not.
    pub fn dismiss(&mut self, worker: WorkerId) -> bool {
        match self.workers.get_mut(worker.index) {
            Some(Slot::Staffed {
                worker: known,
                is_dismissed,
                ..
            }) if *known == worker => !core::mem::replace(is_dismissed, true),
            _ => false,
        }
    }

    /// Nothing is left of a worker. Gives its sessions, which are over with it. Its links wait for their turns now. A worker
    /// that is not known, or dead already, changes nothing.
    pub fn died(&mut self, now: Instant, worker: WorkerId) -> Vec<SessionId> {
        let Some(slot) = self.workers.get_mut(worker.index) else {
            return Vec::new();
        };
        match *slot {
            Slot::Staffed {
                worker: known,
                since,
                ..
            } if known == worker => {
                self.replacements.was_healthy_for(now.since(since));
                let at = now.after(self.replacements.next_delay());
                *slot = Slot::Vacant { at };
            }
            _ => return Vec::new(),
        }
        self.stops.retain(|(_, session)| session.worker != worker);
        let orphans: Vec<(K, Session, bool)> = self
            .links
            .iter()
            .filter_map(|(link, state)| {
                let session = state.session().filter(|session| session.worker == worker)?;
                let is_removed = matches!(
                    state,
                    State::Stopping {
                        is_wanted: false,
                        ..
                    }
                );
                Some((link.clone(), session, !is_removed))
            })
            .collect();
        let mut sessions = Vec::with_capacity(orphans.len());
        for (link, session, is_wanted) in orphans {
            sessions.push(session.id);
            if is_wanted {
                let at = self.schedule.next_at(now);
                self.wait(link, Some(at));
            } else {
                self.links.remove(&link);
            }
        }
        sessions
    }

    /// What is to be done now.
    pub fn poll(&mut self, now: Instant) -> Option<Assignment<K>> {
        if let Some((link, session)) = self.stops.pop_front() {
            return Some(Assignment::StopLink {
                link,
                session: session.id,
                worker: session.worker,
            });
        }
        self.start_worker(now).or_else(|| self.start_link(now))
    }

    /// When to poll next, if nothing happens before. While [`poll`](Self::poll) would give something, a moment that has
    /// come.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.stops.is_empty() {
            return Some(Instant::ZERO);
        }
        let vacancies = self.workers.iter().filter_map(|slot| match slot {
            Slot::Vacant { at } => Some(*at),
            Slot::Staffed { .. } => None,
        });
        let next_link = match self.waiting.first_key_value() {
            Some((turn, _)) if self.least_loaded().is_some() => Some(self.due(*turn)),
            _ => None,
        };
        vacancies.chain(next_link).min()
    }

    /// All links that are wanted, and those that are not and whose session has yet to end.
    pub fn links(&self) -> impl Iterator<Item = &K> {
        self.links.keys()
    }

    /// The worker that has a link.
    pub fn worker_of(&self, link: &K) -> Option<WorkerId> {
        self.links
            .get(link)?
            .session()
            .map(|session| session.worker)
    }

    /// The worker of this index, if it lives.
    pub fn worker(&self, index: usize) -> Option<WorkerId> {
        match self.workers.get(index)? {
            Slot::Staffed { worker, .. } => Some(*worker),
            Slot::Vacant { .. } => None,
        }
    }

    /// How often a link has started again after the death of its worker.
    pub const fn reassigned(&self) -> u64 {
        self.reassigned
    }

    fn wait(&mut self, link: K, at: Option<Instant>) {
        let turn = (at, self.number());
        self.waiting.insert(turn, link.clone());
        self.links.insert(link, State::Waiting(turn));
    }

    const fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn start_worker(&mut self, now: Instant) -> Option<Assignment<K>> {
        let index = self
            .workers
            .iter()
            .position(|slot| matches!(slot, Slot::Vacant { at } if *at <= now))?;
        let number = self.number();
        let worker = WorkerId { index, number };
        self.workers[index] = Slot::Staffed {
            worker,
            since: now,
            load: 0,
            is_dismissed: false,
        };
        Some(Assignment::StartWorker { worker })
    }

    fn start_link(&mut self, now: Instant) -> Option<Assignment<K>> {
        let (&turn, _) = self.waiting.first_key_value()?;
        let worker = self.least_loaded()?;
        if self.due(turn) > now {
            return None;
        }
        let link = self.waiting.remove(&turn)?;
        let session = SessionId(self.number());
        if let Slot::Staffed { load, .. } = &mut self.workers[worker.index] {
            *load += 1;
        }
        let is_reassigned = turn.0.is_some();
        if is_reassigned {
            self.reassigned_at = Some(now);
            self.reassigned += 1;
        }
        let running = Session {
            id: session,
            worker,
        };
        self.links.insert(link.clone(), State::Running(running));
        Some(Assignment::StartLink {
            link,
            session,
            worker,
            is_reassigned,
        })
    }

    /// Not before its time, and not too soon after another one that came late.
    fn due(&self, (at, _): Turn) -> Instant {
        let Some(at) = at else {
            return Instant::ZERO;
        };
        match self.reassigned_at {
            Some(last) => at.max(last.after(self.schedule.interval())),
            None => at,
        }
    }

    fn least_loaded(&self) -> Option<WorkerId> {
        let living = self.workers.iter().filter_map(|slot| match slot {
            Slot::Staffed {
                worker,
                load,
                is_dismissed: false,
                ..
            } => Some((*load, *worker)),
            _ => None,
        });
        let (_, worker) = living.min()?;
        Some(worker)
    }
}

#[cfg(test)]
mod tests;

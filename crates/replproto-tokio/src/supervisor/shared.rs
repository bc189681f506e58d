//! What the supervisor, its control task and its workers share.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use replproto_core::{Assignment, Instant, ReassignmentSchedule, Roster, SessionId, WorkerId};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::link::{LinkKey, LinkResult, LinkStatus};
use super::{SupervisorCounters, SupervisorOptions};
use crate::driver::Clock;
use crate::progress::Snapshot;
use crate::run::Stop;

/// The roster, and who carries out what it says. All that happens is told to it under one lock, so that it is told in order.
pub(super) struct Shared {
    state: Mutex<State>,
    clock: Clock,
    /// There may be something to do for the control task.
    changed: Notify,
    /// All links end, and none starts again.
    is_ending: watch::Sender<bool>,
}

struct State {
    roster: Roster<LinkKey>,
    /// What can be seen of the links that are wanted.
    links: BTreeMap<LinkKey, Seen>,
    sessions: BTreeMap<SessionId, Session>,
    workers: BTreeMap<WorkerId, Worker>,
    /// Of workers that are gone, but for the last steps of their threads.
    exited: Vec<thread::JoinHandle<()>>,
    worker_exits: u64,
    failures: u64,
    is_closed: bool,
}

struct Seen {
    /// Only this one may change the rest.
    session: Option<SessionId>,
    failures: u64,
    last_failure: Option<Arc<str>>,
    progress: watch::Receiver<Snapshot>,
}

struct Session {
    stop: Stop,
    /// Who waits for its end.
    waiters: Vec<oneshot::Sender<LinkResult>>,
}

/// Starts a worker.
pub(super) type Spawn = dyn Fn(WorkerId) -> io::Result<Worker> + Send;

/// A worker that lives.
pub(super) struct Worker {
    /// `None`: it is to end.
    pub(super) orders: Option<mpsc::UnboundedSender<Start>>,
    pub(super) thread: thread::JoinHandle<()>,
}

/// A session that a worker is to start.
pub(super) struct Start {
    pub(super) link: LinkKey,
    pub(super) session: SessionId,
    pub(super) stop: Stop,
}

/// A link that was removed.
pub(super) struct Removed {
    pub(super) link: LinkKey,
    /// Its session has yet to end.
    over: Option<oneshot::Receiver<LinkResult>>,
}

impl Removed {
    /// Waits until nothing of its session is left.
    pub(super) async fn over(self) -> LinkResult {
        match self.over {
            // Whoever knows is gone only when the session is.
            Some(over) => over.await.unwrap_or(Ok(None)),
            None => Ok(None),
        }
    }
}

impl Shared {
    pub(super) fn new(options: &SupervisorOptions) -> Self {
        let schedule = ReassignmentSchedule::new(options.reassignment_interval);
        let replacement = options.replacement.clone();
        Self {
            state: Mutex::new(State {
                roster: Roster::new(options.workers, schedule, replacement),
                links: BTreeMap::new(),
                sessions: BTreeMap::new(),
                workers: BTreeMap::new(),
                exited: Vec::new(),
                worker_exits: 0,
                failures: 0,
                is_closed: false,
            }),
            clock: Clock::start(),
            changed: Notify::new(),
            is_ending: watch::Sender::new(false),
        }
    }

    pub(super) fn add(&self, link: LinkKey) -> bool {
        let is_new = {
            let mut state = self.state();
            let is_new = !state.is_closed && state.roster.add(link.clone());
            if is_new {
                state.links.insert(link, Seen::new());
            }
            is_new
        };
        self.changed.notify_one();
        is_new
    }

    /// Removes some links, and makes their sessions end. Also gives those whose sessions are ending already.
    pub(super) fn remove(
        &self,
        which: impl Fn(&LinkKey) -> bool,
        halt: impl Fn(&Stop),
    ) -> Vec<Removed> {
        let removed = {
            let mut state = self.state();
            let links: Vec<LinkKey> = state
                .roster
                .links()
                .filter(|key| which(key))
                .cloned()
                .collect();
            let remove = |link| state.remove(link, &halt);
            links.into_iter().map(remove).collect()
        };
        self.changed.notify_one();
        removed
    }

    pub(super) fn links(&self) -> Vec<LinkStatus> {
        let state = self.state();
        let status = |(key, seen): (&LinkKey, &Seen)| LinkStatus {
            key: key.clone(),
            worker: state.roster.worker_of(key).map(WorkerId::index),
            failures: seen.failures,
            last_failure: seen.last_failure.clone(),
            progress: seen.progress.clone(),
        };
        state.links.iter().map(status).collect()
    }

    pub(super) fn counters(&self) -> SupervisorCounters {
        let state = self.state();
        SupervisorCounters {
            worker_exits: state.worker_exits,
            reassignments: state.roster.reassigned(),
            failures: state.failures,
        }
    }

    pub(super) fn kill_worker(&self, index: usize) -> bool {
        let mut state = self.state();
        let Some(worker) = state.roster.worker(index) else {
            return false;
        };
        if let Some(known) = state.workers.get_mut(&worker) {
            known.orders = None;
        }
        state.roster.dismiss(worker)
    }

    /// From now on no store is waited for beyond the patience of its run.
    pub(super) fn end(&self) {
        self.is_ending.send_replace(true);
    }

    /// Waits for that.
    pub(super) async fn ending(&self) {
        // There is a sender as long as this is.
        let _ = self.is_ending.subscribe().wait_for(|ending| *ending).await;
    }

    /// All workers end, and no other starts.
    pub(super) fn close(&self) {
        {
            let mut state = self.state();
            state.is_closed = true;
            for worker in state.workers.values_mut() {
                worker.orders = None;
            }
        }
        self.changed.notify_one();
    }

    /// A run of this session begins.
    pub(super) fn runs(
        &self,
        link: &LinkKey,
        session: SessionId,
        progress: watch::Receiver<Snapshot>,
    ) {
        if let Some(seen) = self.state().seen(link, session) {
            seen.progress = progress;
        }
    }

    /// A run of this session has ended, or there was none, although nobody asked for that.
    pub(super) fn failed(&self, link: &LinkKey, session: SessionId, why: Arc<str>) {
        let mut state = self.state();
        state.failures += 1;
        if let Some(seen) = state.seen(link, session) {
            seen.failures += 1;
            seen.last_failure = Some(why);
        }
    }

    /// Nothing is left of a session.
    pub(super) fn ended(&self, link: &LinkKey, session: SessionId, end: &LinkResult) {
        {
            let mut state = self.state();
            state.roster.ended(self.clock.now(), link, session);
            state.over(session, end);
        }
        self.changed.notify_one();
    }

    /// Nothing is left of a worker.
    pub(super) fn exited(&self, worker: WorkerId) {
        {
            let mut state = self.state();
            state.worker_exits += u64::from(!state.is_closed);
            state.died(self.clock.now(), worker);
            if let Some(worker) = state.workers.remove(&worker) {
                state.exited.push(worker.thread);
            }
        }
        self.changed.notify_one();
    }

    /// Waits until there may be something to do.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The threads that are about to end.
    pub(super) fn take_exited(&self) -> Vec<thread::JoinHandle<()>> {
        std::mem::take(&mut self.state().exited)
    }

    /// Whether no worker is left, nor will be.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state();
        state.is_closed && state.workers.is_empty() && state.exited.is_empty()
    }

    /// Does what is due, and says when something else is.
    pub(super) fn carry_out(&self, spawn: &Spawn) -> Option<tokio::time::Instant> {
        loop {
            let done = {
                let mut state = self.state();
                if state.is_closed {
                    return None;
                }
                // Read for each: the roster keeps starts apart by when they are, not by when they were due.
                let now = self.clock.now();
                match state.roster.poll(now) {
                    Some(assignment) => state.carry_out(now, assignment, spawn),
                    None => {
                        let next = state.roster.poll_timeout()?;
                        return Some(self.clock.moment(next));
                    }
                }
            };
            done.log();
        }
    }

    #[cfg(test)]
    pub(super) fn waiters(&self, session: SessionId) -> usize {
        self.state().sessions[&session].waiters.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has been carried out, to be logged when the lock is free: whoever hears of it may ask for the links.
enum Done {
    NoWorker(WorkerId, io::Error),
    Started {
        link: LinkKey,
        worker: WorkerId,
        is_reassigned: bool,
    },
    Quietly,
}

impl Done {
    fn log(self) {
        match self {
            Self::NoWorker(worker, error) => {
                let worker = worker.index();
                tracing::error!(%error, worker, "a worker cannot be started");
            }
            Self::Started {
                link,
                worker,
                is_reassigned,
            } => {
                let worker = worker.index();
                tracing::debug!(%link, worker, is_reassigned, "a link starts");
            }
            Self::Quietly => {}
        }
    }
}

impl State {
    fn remove(&mut self, link: LinkKey, halt: &impl Fn(&Stop)) -> Removed {
        self.links.remove(&link);
        let session = self.roster.remove(&link);
        let session = session.and_then(|session| self.sessions.get_mut(&session));
        let over = session.map(|session| {
            halt(&session.stop);
            let (over, waiter) = oneshot::channel();
            session.waiters.retain(|waiter| !waiter.is_closed());
            session.waiters.push(over);
            waiter
        });
        Removed { link, over }
    }

    fn carry_out(&mut self, now: Instant, assignment: Assignment<LinkKey>, spawn: &Spawn) -> Done {
        match assignment {
            Assignment::StartWorker { worker } => match spawn(worker) {
                Ok(started) => {
                    self.workers.insert(worker, started);
                }
                Err(error) => {
                    self.died(now, worker);
                    return Done::NoWorker(worker, error);
                }
            },
            Assignment::StartLink {
                link,
                session,
                worker,
                is_reassigned,
            } => {
                self.start_link(link.clone(), session, worker);
                return Done::Started {
                    link,
                    worker,
                    is_reassigned,
                };
            }
            Assignment::StopLink { session, .. } => self.stop(session),
        }
        Done::Quietly
    }

    fn start_link(&mut self, link: LinkKey, id: SessionId, worker: WorkerId) {
        let stop = Stop::new();
        let session = Session {
            stop: stop.clone(),
            waiters: Vec::new(),
        };
        self.sessions.insert(id, session);
        if let Some(seen) = self.links.get_mut(&link) {
            seen.session = Some(id);
            // What the last worker was doing would look as if this one did it.
            seen.progress = nothing_yet();
        }
        let start = Start {
            link,
            session: id,
            stop,
        };
        if let Some(Worker {
            orders: Some(orders),
            ..
        }) = self.workers.get(&worker)
        {
            // One that has just died takes it to its grave: the session is over then, and the link starts elsewhere.
            let _ = orders.send(start);
        }
    }

    fn stop(&self, session: SessionId) {
        if let Some(session) = self.sessions.get(&session)
            && session.stop.requested().is_none()
        {
            session.stop.shutdown();
        }
    }

    fn died(&mut self, now: Instant, worker: WorkerId) {
        for session in self.roster.died(now, worker) {
            self.over(session, &Ok(None));
        }
    }

    fn over(&mut self, session: SessionId, end: &LinkResult) {
        if let Some(session) = self.sessions.remove(&session) {
            for waiter in session.waiters {
                let _ = waiter.send(end.clone());
            }
        }
    }

    fn seen(&mut self, link: &LinkKey, session: SessionId) -> Option<&mut Seen> {
        let seen = self.links.get_mut(link)?;
        (seen.session == Some(session)).then_some(seen)
    }
}

impl Seen {
    fn new() -> Self {
        Self {
            session: None,
            failures: 0,
            last_failure: None,
            progress: nothing_yet(),
        }
    }
}

/// Of a link that has not been run.
fn nothing_yet() -> watch::Receiver<Snapshot> {
    watch::Sender::default().subscribe()
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Shared")
            .field("links", &state.links.len())
            .field("sessions", &state.sessions.len())
            .field("workers", &state.workers.len())
            .field("is_closed", &state.is_closed)
            .finish_non_exhaustive()
    }
}

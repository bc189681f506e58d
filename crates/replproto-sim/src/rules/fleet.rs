//! Many links on workers that die, and that come and go meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use replproto_core::{
    Assignment, Backoff, Instant, ReassignmentSchedule, Roster, SessionId, WorkerId,
};

use crate::oracles::{Result, hold};
use crate::rng::Rng;

const STEPS: u64 = 200;
/// Long enough for every link to start.
const REST: Duration = Duration::from_secs(3600);

/// A roster, and what its owner sees of it.
struct Fleet {
    roster: Roster<u64>,
    interval: Duration,
    now: Instant,
    workers: BTreeSet<WorkerId>,
    /// Those of them that are about to die.
    dismissed: BTreeSet<WorkerId>,
    sessions: BTreeMap<u64, Session>,
    /// The links that are to run, and when the last worker's death lets each start that lost its worker by it.
    wanted: BTreeMap<u64, Option<Instant>>,
    /// When the link before starts that lost its worker (`protocol.md` section 12.1).
    next_at: Instant,
    reassigned_at: Option<Instant>,
}

struct Session {
    id: SessionId,
    worker: WorkerId,
    /// It was asked for that it ends.
    is_unwanted: bool,
    is_told: bool,
}

/// Lets workers die in any pattern. Rule 8: starts are at least the interval apart, no link is lost, and none runs that is
/// not wanted, or twice.
pub(super) fn check(seed: u64) -> Result {
    let mut rng = Rng::named(seed, "fleet");
    let interval = Duration::from_millis(rng.range(1, 200));
    let workers = rng.range(1, 5);
    let schedule = ReassignmentSchedule::new(interval);
    let replacements = Backoff::new(Duration::from_millis(50), Duration::from_millis(400));
    let mut fleet = Fleet {
        roster: Roster::new(workers as usize, schedule, replacements),
        interval,
        now: Instant::ZERO,
        workers: BTreeSet::new(),
        dismissed: BTreeSet::new(),
        sessions: BTreeMap::new(),
        wanted: BTreeMap::new(),
        next_at: Instant::ZERO,
        reassigned_at: None,
    };
    let links = rng.range(1, 50);
    for link in 0..links {
        fleet.add(link);
    }
    for _ in 0..STEPS {
        match rng.below(20) {
            0 => fleet.kill_one(&mut rng),
            1 => fleet.dismiss(&mut rng)?,
            2..4 => fleet.add(rng.below(links)),
            4..6 => fleet.remove(rng.below(links)),
            6..12 => fleet.end_one(&mut rng),
            _ => {
                let step = Duration::from_micros(rng.below(300_000));
                fleet.pass(step, rng.chance(200))?;
            }
        }
        fleet.carry_out()?;
    }
    while !fleet.ending().is_empty() {
        fleet.end_one(&mut rng);
        fleet.carry_out()?;
    }
    while let Some(&dismissed) = fleet.dismissed.first() {
        fleet.kill(dismissed);
    }
    fleet.pass(REST, false)?;
    fleet.carry_out()?;
    let is_idle = fleet.roster.poll_timeout().is_none();
    hold("stagger", is_idle, || "the roster never rests".into())?;
    let is_complete = fleet.sessions.keys().eq(fleet.wanted.keys());
    hold("stagger", is_complete, || {
        let running = fleet.sessions.len();
        format!("{running} links run of the {} wanted", fleet.wanted.len())
    })
}

impl Fleet {
    fn add(&mut self, link: u64) {
        self.roster.add(link);
        self.wanted.entry(link).or_default();
    }

    fn remove(&mut self, link: u64) {
        self.roster.remove(&link);
        self.wanted.remove(&link);
        if let Some(session) = self.sessions.get_mut(&link) {
            session.is_unwanted = true;
        }
    }

    /// The sessions that were told to end.
    fn ending(&self) -> Vec<u64> {
        let is_ending = |(_, session): &(&u64, &Session)| session.is_told;
        let ending = self.sessions.iter().filter(is_ending);
        ending.map(|(link, _)| *link).collect()
    }

    /// Sessions take their time to end.
    fn end_one(&mut self, rng: &mut Rng) {
        let ending = self.ending();
        let Some(link) = ending.get(rng.below(ending.len() as u64) as usize) else {
            return;
        };
        if let Some(session) = self.sessions.remove(link) {
            self.roster.ended(self.now, link, session.id);
        }
    }

    fn one_worker(&self, rng: &mut Rng) -> Option<WorkerId> {
        let living: Vec<WorkerId> = self.workers.iter().copied().collect();
        let index = rng.below(living.len() as u64) as usize;
        living.get(index).copied()
    }

    /// A worker that was told to die takes its time for it.
    fn dismiss(&mut self, rng: &mut Rng) -> Result {
        let Some(worker) = self.one_worker(rng) else {
            return Ok(());
        };
        let is_new = self.dismissed.insert(worker);
        let is_told = self.roster.dismiss(worker) == is_new;
        hold("workers", is_told, || {
            format!("worker {} is dismissed twice", worker.index())
        })
    }

    fn kill_one(&mut self, rng: &mut Rng) {
        if let Some(worker) = self.one_worker(rng) {
            self.kill(worker);
        }
    }

    fn kill(&mut self, dead: WorkerId) {
        self.workers.remove(&dead);
        self.dismissed.remove(&dead);
        let wanted = &mut self.wanted;
        self.sessions.retain(|link, session| {
            if session.worker != dead {
                return true;
            }
            if let Some(starts_at) = wanted.get_mut(link) {
                self.next_at = self.now.max(self.next_at).after(self.interval);
                *starts_at = Some(self.next_at);
            }
            false
        });
        self.roster.died(self.now, dead);
    }

    /// Lets time pass. A process that is held up does not ask in between.
    fn pass(&mut self, step: Duration, is_held_up: bool) -> Result {
        let end = self.now.after(step);
        while !is_held_up
            && let Some(next) = self.roster.poll_timeout()
            && next <= end
        {
            self.now = self.now.max(next);
            self.carry_out()?;
        }
        self.now = end;
        Ok(())
    }

    fn carry_out(&mut self) -> Result {
        while let Some(assignment) = self.roster.poll(self.now) {
            match assignment {
                Assignment::StartWorker { worker } => {
                    let index = worker.index();
                    let is_free = self.workers.iter().all(|other| other.index() != index);
                    hold("workers", is_free, || format!("two workers {index}"))?;
                    self.workers.insert(worker);
                }
                Assignment::StartLink {
                    link,
                    session,
                    worker,
                    is_reassigned,
                } => self.start(link, session, worker, is_reassigned)?,
                Assignment::StopLink { link, session, .. } => {
                    let told = self
                        .sessions
                        .get_mut(&link)
                        .filter(|known| known.id == session && known.is_unwanted && !known.is_told);
                    hold("sessions", told.is_some(), || {
                        format!("link {link} is told to end out of turn")
                    })?;
                    told.into_iter().for_each(|session| session.is_told = true);
                }
            }
        }
        let next = self.roster.poll_timeout();
        hold("stagger", next.is_none_or(|next| next > self.now), || {
            "the roster wants to be asked at once, and has nothing to say".into()
        })
    }

    fn start(&mut self, link: u64, id: SessionId, worker: WorkerId, is_reassigned: bool) -> Result {
        hold("sessions", self.workers.contains(&worker), || {
            format!("link {link} starts on a dead worker")
        })?;
        hold("workers", !self.dismissed.contains(&worker), || {
            format!("link {link} starts on a worker that is about to die")
        })?;
        let Some(starts_at) = self.wanted.get_mut(&link).map(Option::take) else {
            return hold("sessions", false, || {
                format!("link {link} starts, and is not wanted")
            });
        };
        hold("stagger", starts_at.is_some() == is_reassigned, || {
            format!("link {link} starts for another reason than is told")
        })?;
        if let Some(starts_at) = starts_at {
            hold("stagger", self.now >= starts_at, || {
                format!("link {link} starts before its turn")
            })?;
            let gap = self.reassigned_at.map(|last| self.now.since(last));
            hold(
                "stagger",
                gap.is_none_or(|gap| gap >= self.interval),
                || format!("link {link} starts {gap:?} after another one"),
            )?;
            self.reassigned_at = Some(self.now);
        }
        let session = Session {
            id,
            worker,
            is_unwanted: false,
            is_told: false,
        };
        let other = self.sessions.insert(link, session);
        hold("sessions", other.is_none(), || {
            format!("link {link} has two sessions")
        })
    }
}

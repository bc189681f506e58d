use alloc::format;
use alloc::vec;
use core::time::Duration;

use proptest::prelude::*;

use super::*;

const INTERVAL: Duration = Duration::from_millis(100);

/// A roster with all its workers started, and a book of what it did.
struct Fleet {
    roster: Roster<u32>,
    now: Instant,
    /// When each link was reassigned.
    reassigned: Vec<(Instant, u32)>,
    /// The sessions that are not over.
    running: BTreeMap<u32, (SessionId, WorkerId)>,
    stopping: Vec<(u32, SessionId)>,
}

impl Fleet {
    fn new(workers: usize, links: u32) -> Self {
        let schedule = ReassignmentSchedule::new(INTERVAL);
        let mut fleet = Self {
            roster: Roster::new(workers, schedule, Backoff::default()),
            now: Instant::ZERO,
            reassigned: Vec::new(),
            running: BTreeMap::new(),
            stopping: Vec::new(),
        };
        for link in 0..links {
            assert!(fleet.roster.add(link));
        }
        fleet.settle();
        fleet
    }

    /// Carries out what is due.
    fn settle(&mut self) {
        while let Some(assignment) = self.roster.poll(self.now) {
            match assignment {
                Assignment::StartWorker { .. } => {}
                Assignment::StartLink {
                    link,
                    session,
                    worker,
                    is_reassigned,
                } => {
                    let two = self.running.insert(link, (session, worker));
                    assert_eq!(two, None, "link {link} has two sessions");
                    if is_reassigned {
                        self.reassigned.push((self.now, link));
                    }
                }
                Assignment::StopLink { link, session, .. } => self.stopping.push((link, session)),
            }
        }
        let next = self.roster.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "{next:?}");
    }

    /// Lets time pass until nothing is left to be done.
    fn run_out(&mut self) {
        while let Some(next) = self.roster.poll_timeout() {
            self.now = next;
            self.settle();
        }
    }

    fn kill(&mut self, index: usize) -> usize {
        let worker = self.roster.worker(index).unwrap();
        self.running.retain(|_, (_, on)| *on != worker);
        self.stopping
            .retain(|(link, _)| self.running.contains_key(link));
        self.roster.died(self.now, worker).len()
    }

    fn end(&mut self, link: u32) {
        let (session, _) = self.running.remove(&link).unwrap();
        self.stopping.retain(|(stopping, _)| *stopping != link);
        self.roster.ended(self.now, &link, session);
    }

    fn on(&self, index: usize) -> usize {
        let on = |(_, worker): &&(SessionId, WorkerId)| worker.index() == index;
        self.running.values().filter(on).count()
    }

    fn assert_gaps(&self) {
        for pair in self.reassigned.windows(2) {
            assert!(pair[1].0.since(pair[0].0) >= INTERVAL, "{pair:?}");
        }
    }
}

#[test]
fn l51_the_links_of_a_dead_worker_start_one_after_the_other() {
    let mut fleet = Fleet::new(4, 200);
    assert_eq!([0, 1, 2, 3].map(|index| fleet.on(index)), [50; 4]);
    assert_eq!(fleet.kill(1), 50);
    fleet.run_out();
    assert_eq!(fleet.reassigned.len(), 50);
    assert_eq!(
        fleet.reassigned[0].0,
        Instant::ZERO.after(INTERVAL),
        "the first waits too"
    );
    fleet.assert_gaps();
    assert_eq!(fleet.running.len(), 200);
    assert_eq!(fleet.roster.reassigned(), 50);
}

#[test]
fn l51_links_that_are_removed_meanwhile_do_not_start() {
    let mut fleet = Fleet::new(4, 200);
    let orphans: Vec<u32> = (0..200)
        .filter(|link| {
            fleet
                .roster
                .worker_of(link)
                .is_some_and(|on| on.index() == 2)
        })
        .collect();
    fleet.kill(2);
    fleet.now = fleet.roster.poll_timeout().unwrap();
    for link in &orphans[20..30] {
        assert_eq!(fleet.roster.remove(link), None);
    }
    fleet.run_out();
    assert_eq!(fleet.reassigned.len(), 40);
    fleet.assert_gaps();
    assert_eq!(fleet.running.len(), 190);
}

#[test]
fn starts_are_an_interval_apart_even_if_the_roster_is_asked_late() {
    let mut fleet = Fleet::new(2, 20);
    fleet.kill(0);
    fleet.now = Instant::from_micros(60_000_000);
    fleet.settle();
    assert_eq!(fleet.reassigned.len(), 1);
    fleet.run_out();
    assert_eq!(fleet.reassigned.len(), 10);
    fleet.assert_gaps();
}

#[test]
fn without_a_worker_links_wait_for_one() {
    let mut fleet = Fleet::new(1, 3);
    fleet.kill(0);
    assert!(fleet.roster.add(9));
    fleet.settle();
    assert!(fleet.running.is_empty());
    // Neither the turn of a link that cannot start nor a new link is due before there is a worker.
    let replaced = fleet.roster.poll_timeout().unwrap();
    assert_eq!(replaced, Instant::from_micros(500_000));
    fleet.run_out();
    assert_eq!(fleet.running.len(), 4);
    fleet.assert_gaps();
}

#[test]
fn a_worker_that_dies_again_and_again_is_replaced_ever_later() {
    let mut fleet = Fleet::new(1, 1);
    let mut delays = Vec::new();
    for _ in 0..8 {
        let died = fleet.now;
        fleet.kill(0);
        fleet.now = fleet.roster.poll_timeout().unwrap();
        fleet.settle();
        delays.push(fleet.now.since(died).as_millis());
    }
    assert_eq!(
        delays,
        [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
    );
    fleet.now = fleet.now.after(Backoff::HEALTHY_AFTER);
    fleet.kill(0);
    let next = fleet.roster.poll_timeout().unwrap();
    assert_eq!(next.since(fleet.now).as_millis(), 500);
}

#[test]
fn a_link_that_is_added_again_starts_when_its_old_session_is_over() {
    let mut fleet = Fleet::new(2, 2);
    let old = fleet.running[&0].0;
    assert_eq!(fleet.roster.remove(&0), Some(old));
    assert_eq!(fleet.roster.remove(&0), Some(old), "it has yet to end");
    assert!(fleet.roster.add(0));
    assert!(!fleet.roster.add(0), "it is wanted already");
    fleet.settle();
    assert_eq!(fleet.stopping, [(0, old)], "told once");
    fleet.end(0);
    fleet.settle();
    assert_ne!(fleet.running[&0].0, old);
    // What comes late of the old one changes nothing.
    fleet.roster.ended(fleet.now, &0, old);
    fleet.settle();
    assert_eq!(fleet.running.len(), 2);
    assert!(fleet.reassigned.is_empty());
}

#[test]
fn a_link_that_is_added_again_while_it_waits_is_a_new_one() {
    let mut fleet = Fleet::new(2, 4);
    fleet.kill(0);
    assert_eq!(fleet.roster.remove(&0), None);
    assert!(fleet.roster.add(0));
    fleet.settle();
    assert!(fleet.running.contains_key(&0), "it starts at once");
    fleet.run_out();
    assert_eq!(fleet.reassigned.len(), 1, "and not again in its old turn");
}

#[test]
fn a_removal_that_a_crash_overtakes_is_kept() {
    let mut fleet = Fleet::new(2, 4);
    fleet.roster.remove(&0);
    fleet.roster.remove(&2);
    assert!(fleet.roster.add(2));
    assert_eq!(fleet.kill(0), 2);
    fleet.run_out();
    assert!(fleet.stopping.is_empty(), "there is nobody to tell");
    assert_eq!(
        fleet.running.keys().copied().collect::<Vec<_>>(),
        vec![1, 2, 3]
    );
}

#[test]
fn a_session_that_ends_by_itself_starts_again_in_its_turn() {
    let mut fleet = Fleet::new(2, 2);
    fleet.end(1);
    fleet.settle();
    assert!(!fleet.running.contains_key(&1));
    fleet.run_out();
    assert_eq!(fleet.reassigned, [(Instant::ZERO.after(INTERVAL), 1)]);
}

#[test]
fn a_worker_that_is_about_to_die_gets_no_links() {
    let mut fleet = Fleet::new(2, 2);
    let worker = fleet.roster.worker(0).unwrap();
    assert!(fleet.roster.dismiss(worker));
    assert!(!fleet.roster.dismiss(worker), "it was told");
    for link in 2..6 {
        fleet.roster.add(link);
    }
    fleet.settle();
    assert_eq!((fleet.on(0), fleet.on(1)), (1, 5));
    fleet.kill(0);
    assert!(!fleet.roster.dismiss(worker), "it is dead");
    fleet.run_out();
    assert_eq!(fleet.reassigned.len(), 1);
    assert_eq!(fleet.running.len(), 6);
}

#[test]
fn the_dead_die_once() {
    let mut fleet = Fleet::new(2, 2);
    let worker = fleet.roster.worker(0).unwrap();
    assert_eq!(fleet.kill(0), 1);
    assert_eq!(fleet.roster.died(fleet.now, worker), []);
    fleet.run_out();
    assert_eq!(fleet.roster.died(fleet.now, worker), []);
    assert_eq!(fleet.running.len(), 2);
}

/// A session, its worker, and whether it is to end.
type NaiveSession = (SessionId, WorkerId, bool);

/// The same by lists and plain search.
#[derive(Default)]
struct Naive {
    /// `None` as long as nobody has it.
    links: Vec<(u32, Option<NaiveSession>)>,
    wanted: Vec<u32>,
    /// In the order in which they came.
    queue: Vec<(Option<Instant>, u32)>,
    workers: Vec<WorkerId>,
    next_at: Instant,
    reassigned_at: Option<Instant>,
}

impl Naive {
    fn orphan(&mut self, now: Instant, link: u32) {
        self.next_at = now.max(self.next_at).after(INTERVAL);
        self.queue.push((Some(self.next_at), link));
    }

    fn session(&mut self, link: u32) -> &mut Option<NaiveSession> {
        if !self.links.iter().any(|(known, _)| *known == link) {
            self.links.push((link, None));
        }
        let entry = self.links.iter_mut().find(|(known, _)| *known == link);
        &mut entry.unwrap().1
    }

    fn add(&mut self, link: u32) {
        if !self.wanted.contains(&link) {
            self.wanted.push(link);
            if self.session(link).is_none() {
                self.queue.push((None, link));
            }
        }
    }

    fn remove(&mut self, link: u32) {
        self.wanted.retain(|wanted| *wanted != link);
        self.queue.retain(|(_, waiting)| *waiting != link);
        if let Some((_, _, is_ending)) = self.session(link) {
            *is_ending = true;
        }
    }

    fn ended(&mut self, now: Instant, link: u32) {
        if let Some((_, _, is_ending)) = self.session(link).take()
            && self.wanted.contains(&link)
        {
            if is_ending {
                self.queue.push((None, link));
            } else {
                self.orphan(now, link);
            }
        }
    }

    fn died(&mut self, now: Instant, worker: WorkerId) {
        self.workers.retain(|living| *living != worker);
        let mut links: Vec<u32> = self.links.iter().map(|(link, _)| *link).collect();
        links.sort_unstable();
        for link in links {
            let on = |session: &mut NaiveSession| session.1 == worker;
            if self.session(link).take_if(on).is_some() && self.wanted.contains(&link) {
                self.orphan(now, link);
            }
        }
    }

    /// The link that starts now, whether it is reassigned, and where.
    fn next(&mut self, now: Instant) -> Option<(u32, bool, WorkerId)> {
        let load = |worker: &WorkerId| {
            let on = |(_, session): &&(u32, Option<NaiveSession>)| {
                session.is_some_and(|(_, on, _)| on == *worker)
            };
            (self.links.iter().filter(on).count(), *worker)
        };
        let worker = *self.workers.iter().min_by_key(|worker| load(worker))?;
        let first = self.queue.iter().position(|(at, _)| at.is_none());
        let at = match first {
            Some(at) => at,
            None => (0..self.queue.len()).min_by_key(|index| self.queue[*index].0)?,
        };
        let (due, link) = self.queue[at];
        if let Some(due) = due {
            let is_soon = |last: Instant| now < last.after(INTERVAL);
            if now < due || self.reassigned_at.is_some_and(is_soon) {
                return None;
            }
            self.reassigned_at = Some(now);
        }
        self.queue.remove(at);
        Some((link, due.is_some(), worker))
    }
}

#[derive(Clone, Debug)]
enum Act {
    Add(u32),
    Remove(u32),
    Kill(usize),
    Dismiss(usize),
    /// Also of links that nobody asked to end.
    End(u32),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..12_u32).prop_map(Act::Add),
        2 => (0..12_u32).prop_map(Act::Remove),
        1 => (0..3_usize).prop_map(Act::Kill),
        1 => (0..3_usize).prop_map(Act::Dismiss),
        3 => (0..12_u32).prop_map(Act::End),
        4 => (0..400_000_u64).prop_map(Act::Pass),
    ]
}

proptest! {
    #[test]
    fn does_what_plain_lists_do(acts in prop::collection::vec(act(), 1..120)) {
        let schedule = ReassignmentSchedule::new(INTERVAL);
        let mut roster = Roster::new(3, schedule, Backoff::default());
        let mut naive = Naive::default();
        let mut now = Instant::ZERO;
        let deaths = (0..3).map(Act::Kill);
        let rest = (0..40).map(|_| Act::Pass(60_000_000));
        for act in acts.into_iter().chain(deaths).chain(rest) {
            match act {
                Act::Add(link) => {
                    roster.add(link);
                    naive.add(link);
                }
                Act::Remove(link) => {
                    let session = roster.remove(&link);
                    naive.remove(link);
                    prop_assert_eq!(session, naive.session(link).map(|(id, _, _)| id));
                }
                Act::Kill(index) => {
                    if let Some(worker) = roster.worker(index) {
                        roster.died(now, worker);
                        naive.died(now, worker);
                    }
                }
                Act::Dismiss(index) => {
                    if let Some(worker) = roster.worker(index) {
                        roster.dismiss(worker);
                        naive.workers.retain(|living| *living != worker);
                    }
                }
                Act::End(link) => {
                    if let Some((session, _, _)) = *naive.session(link) {
                        roster.ended(now, &link, session);
                        naive.ended(now, link);
                    }
                }
                Act::Pass(micros) => now = now.after(Duration::from_micros(micros)),
            }
            while let Some(assignment) = roster.poll(now) {
                match assignment {
                    Assignment::StartWorker { worker } => naive.workers.push(worker),
                    Assignment::StopLink { link, session, worker } => {
                        prop_assert_eq!(*naive.session(link), Some((session, worker, true)));
                    }
                    Assignment::StartLink { link, session, worker, is_reassigned } => {
                        let next = naive.next(now);
                        prop_assert_eq!(next, Some((link, is_reassigned, worker)));
                        *naive.session(link) = Some((session, worker, false));
                    }
                }
            }
            prop_assert_eq!(naive.next(now), None);
            let timeout = roster.poll_timeout();
            prop_assert!(timeout.is_none_or(|timeout| timeout > now), "{:?}", timeout);
        }
        prop_assert!(naive.queue.is_empty());
        prop_assert_eq!(roster.poll_timeout(), None);
        for link in &naive.wanted {
            prop_assert!(roster.worker_of(link).is_some(), "{}", format!("{link} is lost"));
        }
    }
}

//! Many links on workers that die: their links start again on the others, one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use replproto_core::{Instant, ReassignmentSchedule};

use crate::oracles::{Result, hold};
use crate::rng::Rng;

const WORKERS: u64 = 4;
const CRASHES: u64 = 20;

/// Lets workers die in any pattern. Rule 8: starts are at least the interval apart, and no link is lost.
pub(super) fn check(seed: u64) -> Result {
    let mut rng = Rng::named(seed, "fleet");
    let interval = Duration::from_millis(rng.range(1, 200));
    let mut schedule = ReassignmentSchedule::new(interval);
    // The worker of each link that runs, and when each other one starts.
    let mut running: BTreeMap<u64, u64> = (0..rng.range(1, 50))
        .map(|link| (link, rng.below(WORKERS)))
        .collect();
    let links = running.len();
    let mut waiting: BTreeMap<(Instant, u64), u64> = BTreeMap::new();
    let mut last: Option<Instant> = None;
    let mut now = Instant::ZERO;
    for crash in 0..=CRASHES {
        let next = now.after(Duration::from_micros(rng.below(3_000_000)));
        // After the last crash all that wait must start.
        while let Some((&(at, link), &worker)) = waiting.first_key_value()
            && (at <= next || crash == CRASHES)
        {
            waiting.remove(&(at, link));
            hold("stagger", at >= now, || {
                format!("link {link} starts in the past")
            })?;
            let gap = last.map(|last| at.since(last));
            hold("stagger", gap.is_none_or(|gap| gap >= interval), || {
                format!("link {link} starts {gap:?} after another, not {interval:?}")
            })?;
            last = Some(at);
            running.insert(link, worker);
        }
        now = next;
        if crash == CRASHES {
            break;
        }
        let dead = rng.below(WORKERS);
        let heir = (dead + rng.range(1, WORKERS - 1)) % WORKERS;
        let orphans: Vec<u64> = running
            .iter()
            .filter(|(_, worker)| **worker == dead)
            .map(|(link, _)| *link)
            .collect();
        for link in orphans {
            running.remove(&link);
            let at = schedule.next_at(now);
            hold("stagger", at >= now.after(interval), || {
                format!("link {link} starts at once")
            })?;
            waiting.insert((at, link), heir);
        }
        for worker in waiting.values_mut().filter(|worker| **worker == dead) {
            *worker = heir;
        }
    }
    hold("stagger", running.len() == links, || {
        format!("{} of {links} links run", running.len())
    })
}

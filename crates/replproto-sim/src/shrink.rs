//! A broken world made smaller, as long as it breaks the same rule.

use crate::faults::Faults;
use crate::options::Options;
use crate::world::{Report, World};

/// Worlds that are tried at most.
const TRIES: u32 = 400;

/// The smallest world that is found to break the same rule as this one: first whole kinds of faults are dropped, then the
/// range of steps in which faults strike becomes shorter, at both ends, then sizes and times become smaller, until nothing
/// of it helps any more or a few hundred worlds were tried. `None`: this one breaks no rule.
pub fn shrink(options: Options) -> Option<Report> {
    shrink_by(options, World::run)
}

fn shrink_by(options: Options, mut run: impl FnMut(Options) -> Report) -> Option<Report> {
    let mut best = run(options);
    let mut tries = 0;
    let oracle = best.violation.as_ref()?.oracle;
    loop {
        let before = best.options;
        let mut accept = |options: Options, best: &mut Report| {
            tries += 1;
            if tries > TRIES {
                return false;
            }
            let report = run(options);
            let is_same = report
                .violation
                .as_ref()
                .is_some_and(|violation| violation.oracle == oracle);
            if is_same {
                *best = report;
            }
            is_same
        };
        let faults = best.options.faults.unwrap_or(Faults::NONE);
        for fault in faults.iter() {
            let options = best.options;
            let faults = options.faults.map(|faults| faults.without(fault));
            accept(Options { faults, ..options }, &mut best);
        }
        // Nothing after the step that broke it can matter.
        best.options.steps = best.options.steps.min(best.steps);
        let numbers: [fn(&mut Options) -> &mut u64; 4] = [
            |options| &mut options.steps,
            |options| &mut options.transactions,
            |options| &mut options.blob_bytes,
            |options| &mut options.disk_micros,
        ];
        for number in numbers {
            // Ever smaller cuts: half of it, a quarter, and so on down to one.
            let mut cut = *number(&mut best.options) / 2;
            while cut > 0 {
                let mut options = best.options;
                let value = number(&mut options);
                *value = value.saturating_sub(cut);
                if *value == 0 || !accept(options, &mut best) {
                    cut /= 2;
                }
            }
        }
        // The faults begin as late as they can.
        let mut delay = best.options.steps.saturating_sub(best.options.calm) / 2;
        while delay > 0 {
            let mut options = best.options;
            options.calm += delay;
            if options.calm >= options.steps || !accept(options, &mut best) {
                delay /= 2;
            }
        }
        if best.options == before {
            return Some(best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;
    use crate::oracles::Violation;

    /// Breaks with cuts that strike at step 40, if there are at least 5 transactions.
    fn run(options: Options) -> Report {
        let is_broken = options.faults.is_some_and(|faults| faults.has(Fault::Cut))
            && (options.calm..options.steps).contains(&39)
            && options.transactions >= 5;
        Report {
            options,
            violation: is_broken.then(|| Violation::new("test", "broken")),
            steps: 100,
            links: 1,
            hash: 0,
            coverage: Default::default(),
            last: Vec::new(),
            recording: None,
        }
    }

    #[test]
    fn only_what_breaks_it_is_left() {
        let options = Options {
            faults: Some(Fault::ALL.into_iter().collect()),
            ..Options::default()
        };
        let smallest = shrink_by(options, run).expect("it breaks").options;
        assert_eq!(smallest.faults, Some([Fault::Cut].into_iter().collect()));
        assert_eq!((smallest.steps, smallest.calm), (40, 39));
        assert_eq!(smallest.transactions, 5);
        assert_eq!((smallest.blob_bytes, smallest.disk_micros), (1, 1));
    }

    #[test]
    fn what_holds_is_not_shrunk() {
        assert!(shrink_by(Options::default(), run).is_none());
    }
}

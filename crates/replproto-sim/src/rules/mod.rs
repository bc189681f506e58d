//! The parts of the core beside the receiver, each against its definition. They have no state that a world could grow
//! into, so each world looks at them once.

mod fleet;
mod link;
mod parts;

use crate::oracles::Result;

/// Checks all of them with what this seed draws.
pub(crate) fn check(seed: u64) -> Result {
    fleet::check(seed)?;
    parts::check_backoff(seed)?;
    parts::check_cursor(seed)?;
    parts::check_close_reason(seed)?;
    parts::check_config(seed)?;
    link::check(seed)
}

#[cfg(test)]
mod tests {
    #[test]
    fn hundreds_of_seeds_keep_the_rules() {
        for seed in 0..500 {
            assert_eq!(super::check(seed), Ok(()), "seed {seed}");
        }
    }
}

//! The memory that the link shares with others of its process.

use replproto_core::{Input, MemberId, SharedBudget};

use super::World;
use crate::faults::Fault;
use crate::oracles::{Result, hold};
use crate::rng::Rng;

/// What the budget takes a part to be. Some are larger, most are smaller.
const PART: u64 = 1500;

/// The budget, and another member of it that stands for all other links.
#[derive(Debug)]
pub(super) struct Memory {
    budget: SharedBudget,
    neighbour: MemberId,
    us: Option<MemberId>,
    /// How much the link was told that it may hold.
    allowance: u64,
}

impl Memory {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let total = [PART, 6 * PART, 40 * PART, 1 << 20][rng.below(4) as usize];
        let mut budget = SharedBudget::new(total, PART);
        Self {
            neighbour: budget.join(),
            budget,
            us: None,
            allowance: u64::MAX,
        }
    }

    /// The link is over.
    pub(super) fn leave(&mut self) {
        if let Some(us) = self.us.take() {
            self.budget.leave(us);
        }
        self.allowance = u64::MAX;
    }

    /// What the link knows already.
    pub(super) const fn again(&self) -> Input {
        Input::Allowance {
            bytes: self.allowance,
        }
    }

    /// From now on there is no other link.
    pub(super) fn be_alone(&mut self) {
        self.budget.leave(self.neighbour);
    }
}

impl World {
    /// The other links take much, or give all back.
    pub(super) fn crowd(&mut self) {
        let memory = &mut self.memory;
        let most = memory.budget.total() * 2;
        let held = self.dice.trouble.below(most) * self.dice.trouble.below(2);
        memory.budget.ask(memory.neighbour, held, false);
    }

    /// Asks for what the link needs, and tells it what it may hold. Gives whether that has changed.
    pub(super) fn share_memory(&mut self) -> Result<bool> {
        let Some(host) = &self.host else {
            return Ok(false);
        };
        if !self.faults.has(Fault::Scarce) && self.memory.us.is_none() {
            return Ok(false);
        }
        let (held, is_starved) = (host.receiver.held_bytes(), host.receiver.is_starved());
        let Memory {
            budget,
            us,
            allowance,
            ..
        } = &mut self.memory;
        let us = *us.get_or_insert_with(|| budget.join());
        let lease = budget.ask(us, held, is_starved);
        while budget.poll_grant().is_some() {}
        let (leased, total) = (budget.leased(), budget.total());
        let most = total.max(2 * PART) + held + PART + budget.quantum();
        hold("bounds", leased <= most, || {
            format!("{leased} bytes are leased of {total}")
        })?;
        // No other member is starved, so the link need not take turns.
        hold("liveness", !is_starved || lease >= held + PART, || {
            format!("half a record is held, and {lease} bytes are all there is for it")
        })?;
        let bytes = lease - PART;
        if bytes == *allowance {
            return Ok(false);
        }
        *allowance = bytes;
        self.input(Input::Allowance { bytes })?;
        Ok(true)
    }
}

//! Memory that many links share.

use alloc::collections::{BTreeMap, VecDeque};

/// A link that shares a [`SharedBudget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u64);

/// Divides one amount of memory among the links of a process: each holds a *lease*, in bytes, and reads only while what it
/// holds is within it.
///
/// Every member may always hold one part of a message, so none is shut out by others. What goes beyond is lent while there is
/// any, and then in the order in which it was asked for: no later member is served before an earlier one. Members give back
/// as what they hold is consumed.
///
/// One case needs more than waiting. A member that holds the beginning of a record can give back nothing before the rest has
/// come; if many of them had all the memory together, none could go on. So one such member at a time may go beyond the
/// total until it has its record and has given it away. All leases together are therefore never more than the total (or one
/// part for each member, if that is more) and what one link needs for the largest record.
///
/// ```
/// use replproto_core::SharedBudget;
///
/// let mut budget = SharedBudget::new(1000, 100);
/// let [one, other] = [budget.join(), budget.join()];
/// // It holds 800 bytes, and there is room for another part.
/// assert_eq!(budget.ask(one, 800, false), 900);
/// // The other one may hold a part, and has to wait for more.
/// assert_eq!(budget.ask(other, 100, false), 100);
/// assert_eq!(budget.poll_grant(), None);
/// // What the first one held is consumed.
/// assert_eq!(budget.ask(one, 0, false), 100);
/// assert_eq!(budget.poll_grant(), Some((other, 400)));
/// ```
#[derive(Clone, Debug)]
pub struct SharedBudget {
    total: u64,
    part: u64,
    /// The sum of all leases.
    leased: u64,
    members: BTreeMap<MemberId, Member>,
    next: u64,
    /// Those that wait for more, in the order in which they came.
    queue: VecDeque<MemberId>,
    /// It may go beyond the total.
    overdrawn: Option<MemberId>,
    /// Leases that have grown by what others gave back, to be told.
    grants: VecDeque<MemberId>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    lease: u64,
    /// What it holds, and a part.
    needed: u64,
    /// The same in steps.
    wanted: u64,
    is_starved: bool,
}

impl SharedBudget {
    /// A budget of `total` bytes, for members that receive messages in parts of at most `part` bytes.
    ///
    /// # Panics
    /// `part` is zero.
    pub const fn new(total: u64, part: u64) -> Self {
        assert!(part > 0, "a part has bytes");
        Self {
            total,
            part,
            leased: 0,
            members: BTreeMap::new(),
            next: 0,
            queue: VecDeque::new(),
            overdrawn: None,
            grants: VecDeque::new(),
        }
    }

    /// A link joins. It has a lease of one part.
    pub fn join(&mut self) -> MemberId {
        let id = MemberId(self.next);
        self.next += 1;
        self.leased += self.part;
        let member = Member {
            lease: self.part,
            needed: self.part,
            wanted: self.part,
            is_starved: false,
        };
        self.members.insert(id, member);
        id
    }

    /// A link leaves, and holds nothing any more.
    pub fn leave(&mut self, id: MemberId) {
        if let Some(member) = self.members.remove(&id) {
            self.leased -= member.lease;
            self.unqueue(id);
            self.grants.retain(|granted| *granted != id);
            self.serve();
        }
    }

    /// The member holds so many bytes, and wants to read another part. `is_starved`: it can give nothing back before it gets
    /// more. Gives the lease that it has now; more may follow by [`poll_grant`](Self::poll_grant). A member that has left has
    /// none.
    pub fn ask(&mut self, id: MemberId, held: u64, is_starved: bool) -> u64 {
        let quantum = self.quantum();
        let is_overdrawn = self.is_overdrawn(id);
        let Some(member) = self.members.get_mut(&id) else {
            return 0;
        };
        let needed = held.saturating_add(self.part);
        // What is beyond the total is given back byte by byte; else leases change in steps.
        let wanted = if held == 0 || is_overdrawn {
            needed
        } else {
            needed.checked_next_multiple_of(quantum).unwrap_or(needed)
        };
        member.is_starved = is_starved;
        member.needed = needed;
        if needed <= member.lease {
            let is_much =
                held == 0 || is_overdrawn || wanted.saturating_add(quantum) <= member.lease;
            member.wanted = if is_much { wanted } else { member.lease };
            self.leased -= member.lease - member.wanted;
            member.lease = member.wanted;
            self.unqueue(id);
        } else if !self.queue.contains(&id) {
            member.wanted = wanted;
            self.queue.push_back(id);
        } else {
            member.wanted = wanted;
        }
        self.serve();
        // What it is told here is not told again.
        self.grants.retain(|granted| *granted != id);
        self.lease(id)
    }

    /// The next member whose lease has grown, and its lease.
    pub fn poll_grant(&mut self) -> Option<(MemberId, u64)> {
        let id = self.grants.pop_front()?;
        Some((id, self.lease(id)))
    }

    /// How much the member may hold.
    pub fn lease(&self, id: MemberId) -> u64 {
        self.members.get(&id).map_or(0, |member| member.lease)
    }

    /// The sum of all leases.
    pub const fn leased(&self) -> u64 {
        self.leased
    }

    /// Whether the member is the one that may go beyond the total.
    pub fn is_overdrawn(&self, id: MemberId) -> bool {
        self.overdrawn == Some(id)
    }

    /// In which steps leases change, so that a member need not ask for each part.
    pub const fn quantum(&self) -> u64 {
        self.part.saturating_mul(4)
    }

    /// The budget.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// How many members wait for more.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn serve(&mut self) {
        while let Some(id) = self.queue.front().copied()
            && self.fit(id)
        {
            self.grant(id);
        }
        if self.overdrawn.is_some_and(|id| !self.is_beyond(id)) {
            self.overdrawn = None;
        }
        let starved = |id: &MemberId| self.members.get(id).is_some_and(|it| it.is_starved);
        let next = match self.overdrawn {
            Some(id) => self.queue.contains(&id).then_some(id).filter(starved),
            None => self.queue.iter().copied().find(starved),
        };
        if let Some(id) = next {
            self.overdrawn = Some(id);
            self.grant(id);
        }
    }

    /// Whether a lease may be one that goes beyond the total.
    fn is_beyond(&self, id: MemberId) -> bool {
        self.leased > self.total && self.lease(id) > self.part
    }

    /// Whether there is room for what the member wants, or at least for what it needs: then it wants no more.
    fn fit(&mut self, id: MemberId) -> bool {
        let room = self.total.saturating_sub(self.leased);
        let Some(member) = self.members.get_mut(&id) else {
            return true;
        };
        if member.needed - member.lease > room {
            return false;
        }
        member.wanted = member.wanted.min(member.lease + room);
        true
    }

    fn missing(&self, id: MemberId) -> u64 {
        self.members
            .get(&id)
            .map_or(0, |member| member.wanted - member.lease)
    }

    fn grant(&mut self, id: MemberId) {
        self.leased += self.missing(id);
        if let Some(member) = self.members.get_mut(&id) {
            member.lease = member.wanted;
        }
        self.unqueue(id);
        self.grants.push_back(id);
    }

    fn unqueue(&mut self, id: MemberId) {
        self.queue.retain(|waiting| *waiting != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const PART: u64 = 10;

    fn budget<const N: usize>(total: u64) -> (SharedBudget, [MemberId; N]) {
        let mut budget = SharedBudget::new(total, PART);
        let members = core::array::from_fn(|_| budget.join());
        (budget, members)
    }

    #[test]
    fn those_who_wait_are_served_in_turn() {
        let (mut budget, [a, b, c]) = budget(1000);
        assert_eq!(budget.ask(a, 870, false), 880);
        assert_eq!(budget.ask(b, 500, false), PART);
        // It would fit, but another was first.
        assert_eq!(budget.ask(c, 11, false), PART);
        assert_eq!(budget.poll_grant(), None);
        assert_eq!(budget.ask(a, 390, false), 400);
        assert_eq!(budget.poll_grant(), Some((b, 520)));
        assert_eq!(budget.poll_grant(), Some((c, 40)));
        budget.leave(a);
        assert_eq!(budget.poll_grant(), None);
        assert_eq!((budget.leased(), budget.waiting()), (560, 0));
    }

    #[test]
    fn who_leaves_makes_room_for_those_who_wait() {
        // With what it held, with the first place in the queue, and with the turn to go beyond the total.
        let (mut budget, [a, b]) = budget(1000);
        budget.ask(a, 900, false);
        assert_eq!(budget.ask(b, 500, false), PART);
        budget.leave(a);
        assert_eq!(budget.poll_grant(), Some((b, 520)));

        let (mut budget, [a, b, c]) = self::budget(1000);
        budget.ask(a, 800, false);
        assert_eq!(budget.ask(b, 900, false), PART);
        assert_eq!(budget.ask(c, 100, false), PART);
        budget.leave(b);
        assert_eq!(budget.poll_grant(), Some((c, 120)));

        let (mut budget, [a, b]) = self::budget(100);
        assert_eq!(budget.ask(a, 500, true), 520);
        assert_eq!(budget.ask(b, 500, true), PART);
        budget.leave(a);
        assert_eq!(budget.poll_grant(), Some((b, 520)));
        assert_eq!(budget.waiting(), 0);
    }

    #[test]
    fn leases_change_in_steps() {
        let (mut budget, [a]) = budget(1000);
        assert_eq!(budget.ask(a, 0, false), 10);
        assert_eq!(budget.ask(a, 1, false), 40);
        assert_eq!(budget.ask(a, 30, false), 40);
        assert_eq!(budget.ask(a, 31, false), 80);
        assert_eq!(budget.ask(a, 30, false), 40);
        assert_eq!(budget.ask(a, 0, false), 10);
    }

    #[test]
    fn who_wants_less_waits_no_longer() {
        let (mut budget, [a, b, c]) = budget(1000);
        budget.ask(a, 800, false);
        assert_eq!(budget.ask(b, 900, false), PART);
        assert_eq!(budget.ask(c, 100, false), PART);
        assert_eq!(budget.ask(b, 0, false), PART);
        assert_eq!(budget.poll_grant(), Some((c, 120)));
    }

    #[test]
    fn one_starved_member_at_a_time_goes_beyond_the_total() {
        let (mut budget, [a, b, c]) = budget(300);
        assert_eq!(budget.ask(a, 110, true), 120);
        assert_eq!(budget.ask(b, 190, true), 200, "beyond");
        assert_eq!(budget.ask(a, 115, true), 120, "another is beyond");
        assert_eq!(budget.ask(b, 600, true), 610, "it goes on");
        assert_eq!(budget.ask(c, 50, true), PART);
        // It has its record, and may keep no more than that.
        assert_eq!(budget.ask(b, 595, false), 605);
        assert_eq!(budget.ask(b, 605, false), 605);
        assert_eq!(budget.poll_grant(), None);
        assert_eq!(budget.ask(b, 0, false), PART);
        assert_eq!(budget.poll_grant(), Some((a, 160)));
        assert_eq!(budget.poll_grant(), Some((c, 80)));
    }

    #[test]
    fn members_without_a_part_each_still_take_turns() {
        let (mut budget, [a, b, c]) = budget(20);
        assert_eq!(budget.leased(), 3 * PART);
        assert_eq!(budget.ask(a, 990, true), 1000);
        assert_eq!(budget.ask(b, 990, true), PART);
        assert_eq!(budget.ask(c, 990, true), PART);
        budget.ask(a, 0, false);
        assert_eq!(budget.poll_grant(), Some((b, 1000)));
        assert_eq!(budget.poll_grant(), None);
        budget.ask(b, 0, false);
        assert_eq!(budget.poll_grant(), Some((c, 1000)));
    }

    /// A link that receives records of this size, one after the other.
    #[derive(Clone, Debug)]
    struct Load {
        record: u64,
        records: u64,
        held: u64,
        /// What it was told that it may hold.
        lease: u64,
    }

    impl Load {
        /// Holds an unfinished record, which nothing but more bytes can finish.
        const fn is_starved(&self) -> bool {
            self.held > 0 && self.held < self.record
        }
    }

    proptest! {
        /// Whatever members come, ask and leave: what they are told is what they have, and nobody waits for what there is.
        #[test]
        fn nobody_waits_for_what_there_is(
            total in 1..700_u64,
            steps in prop::collection::vec((0..3_u8, any::<prop::sample::Index>(), 0..600_u64, any::<bool>()), 1..80),
        ) {
            let mut budget = SharedBudget::new(total, PART);
            let mut told: Vec<(MemberId, u64, u64)> = Vec::new();
            for (what, member, held, is_starved) in steps {
                let at = (!told.is_empty()).then(|| member.index(told.len().max(1)));
                match (what, at) {
                    (0, _) | (_, None) => told.push((budget.join(), PART, 0)),
                    (1, Some(at)) => {
                        // Nobody holds more than it was told, and a part.
                        let (id, lease, needed) = &mut told[at];
                        let held = held.min(*lease);
                        *needed = held + PART;
                        *lease = budget.ask(*id, held, is_starved && held > 0);
                    }
                    (_, Some(at)) => budget.leave(told.remove(at).0),
                }
                while let Some((id, lease)) = budget.poll_grant() {
                    let (_, told, _) = told.iter_mut().find(|(member, ..)| *member == id).unwrap();
                    *told = lease;
                }
                for (id, lease, _) in &told {
                    prop_assert_eq!(budget.lease(*id), *lease);
                }
                prop_assert_eq!(budget.leased(), told.iter().map(|(_, lease, _)| lease).sum::<u64>());
                if let Some(first) = budget.queue.front() {
                    let (_, lease, needed) = told.iter().find(|(id, ..)| id == first).unwrap();
                    let room = total.saturating_sub(budget.leased());
                    prop_assert!(needed - lease > room, "{} of {} waits beside {}", needed, lease, room);
                }
                // One that can give nothing back is beyond the total, unless another is.
                let is_stuck = budget.queue.iter().any(|id| budget.members[id].is_starved);
                prop_assert!(!is_stuck || budget.overdrawn.is_some());
            }
        }

        /// Links with records of any size, which read and consume in any order, all receive everything, and never hold more
        /// together than the total and the largest record.
        #[test]
        fn nobody_starves_and_the_sum_is_bounded(
            total in 1..700_u64,
            loads in prop::collection::vec((1..1000_u64, 0..5_u64), 1..12),
            turns in prop::collection::vec(any::<prop::sample::Index>(), 1..100),
        ) {
            let mut budget = SharedBudget::new(total, PART);
            let mut links: Vec<(MemberId, Load)> = loads
                .iter()
                .map(|(record, records)| {
                    let load = Load { record: *record, records: *records, held: 0, lease: PART };
                    (budget.join(), load)
                })
                .collect();
            let largest = loads.iter().map(|(record, _)| record).max().copied().unwrap_or_default();
            let most = total.max(PART * links.len() as u64) + largest + 5 * PART;
            // First in any order, then in turn.
            for turn in 0..200_000 {
                if links.iter().all(|(_, load)| load.records == 0) {
                    break;
                }
                let at = match turns.get(turn) {
                    Some(at) => at.index(links.len()),
                    None => turn % links.len(),
                };
                if links[at].1.records == 0 {
                    continue;
                }
                let (id, load) = &mut links[at];
                if load.held + PART <= load.lease {
                    load.held = (load.held + PART).min(load.record);
                }
                if load.held == load.record {
                    load.held = 0;
                    load.records -= 1;
                }
                load.lease = budget.ask(*id, load.held, load.is_starved());
                prop_assert!(load.lease >= PART && load.lease >= load.held);
                while let Some((id, lease)) = budget.poll_grant() {
                    let (_, load) = links.iter_mut().find(|(member, _)| *member == id).unwrap();
                    load.lease = lease;
                }
                let sum: u64 = links.iter().map(|(_, load)| load.lease).sum();
                prop_assert_eq!(sum, budget.leased());
                prop_assert!(sum <= most, "{} of {}", sum, most);
            }
            let left: u64 = links.iter().map(|(_, load)| load.records).sum();
            prop_assert_eq!(left, 0, "{:?}", links);
            for (id, _) in links {
                budget.leave(id);
            }
            prop_assert_eq!((budget.leased(), budget.waiting()), (0, 0));
            prop_assert_eq!(vec![budget.poll_grant()], vec![None]);
        }
    }
}

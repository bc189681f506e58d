//! Memory that all links of a process share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use replproto_core::{MemberId, SharedBudget};

use crate::web_socket::MAX_PART;

/// Bounds the bytes of messages that all links of a process hold together. Clones are the same budget; give one to each
/// [`LinkConfig`](crate::LinkConfig).
///
/// Every link may always hold one part of a message (64 KiB); what goes beyond is lent in turn, and a link that has to wait
/// for its turn is paused for
/// [`PauseReason::SharedBudget`](replproto_core::PauseReason::SharedBudget). See [`SharedBudget`] for how it is divided.
///
/// A link whose application keeps deliveries holds what they point into. When all is lent out, and every link waits for an
/// application that waits for another link, none of them goes on before its
/// [`Timeouts::pause_stall`](replproto_core::config::Timeouts::pause_stall): an application that follows several links has
/// to take what each of them brings without waiting for the others.
///
/// Besides that, each link has a read buffer (4 KiB when idle, which is what most are), the tables that it has to remember
/// ([`Limits::context`](replproto_core::config::Limits::context)), and its store.
///
/// ```
/// use replproto_tokio::{LinkConfig, MemoryBudget};
///
/// let budget = MemoryBudget::new(64 << 20);
/// let mut config = LinkConfig::new("ws://node-a".parse()?, "us", "data");
/// config.budget = Some(budget.clone());
/// assert_eq!(budget.leased(), 0);
/// # Ok::<(), replproto_tokio::EndpointError>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    budget: SharedBudget,
    members: BTreeMap<MemberId, Arc<Member>>,
}

/// What a link is told by the others.
#[derive(Debug, Default)]
struct Member {
    lease: AtomicU64,
    driver: AtomicWaker,
}

impl MemoryBudget {
    /// A budget of so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            budget: SharedBudget::new(bytes, MAX_PART),
            members: BTreeMap::new(),
        })))
    }

    /// How many bytes are lent to links.
    pub fn leased(&self) -> u64 {
        self.state().budget.leased()
    }

    /// How many links wait for their turn.
    pub fn waiting(&self) -> usize {
        self.state().budget.waiting()
    }

    /// A link takes part from now on, until the lease is dropped.
    pub(crate) fn join(&self) -> Lease {
        let mut state = self.state();
        let id = state.budget.join();
        let member = Arc::new(Member::default());
        let lease = state.budget.lease(id);
        member.lease.store(lease, Ordering::Release);
        state.members.insert(id, member.clone());
        Lease {
            budget: self.clone(),
            id,
            quantum: state.budget.quantum(),
            member,
            seen: lease,
            is_overdrawn: false,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked, short of memory running out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells those whose lease has grown.
    fn tell(&mut self) {
        while let Some((id, lease)) = self.budget.poll_grant() {
            if let Some(member) = self.members.get(&id) {
                member.lease.store(lease, Ordering::Release);
                member.driver.wake();
            }
        }
    }
}

/// The part of a budget that one link has.
#[derive(Debug)]
pub(crate) struct Lease {
    budget: MemoryBudget,
    id: MemberId,
    quantum: u64,
    member: Arc<Member>,
    /// What it was when the link looked last.
    seen: u64,
    /// It is beyond what there is, and changes with each byte.
    is_overdrawn: bool,
}

impl Lease {
    /// The link holds so many bytes. Gives how many it may hold before it has to wait.
    pub(crate) fn allowance(&mut self, held: u64, is_starved: bool) -> u64 {
        let lease = self.member.lease.load(Ordering::Acquire);
        let is_grown = lease != self.seen;
        self.seen = lease;
        if is_grown || self.is_overdrawn || !self.suffices(held) {
            let mut state = self.budget.state();
            self.seen = state.budget.ask(self.id, held, is_starved);
            self.is_overdrawn = state.budget.is_overdrawn(self.id);
            self.member.lease.store(self.seen, Ordering::Release);
            state.tell();
        }
        self.seen - MAX_PART
    }

    /// Another part fits, and little is left over. Nothing has to be asked then.
    const fn suffices(&self, held: u64) -> bool {
        let needed = held + MAX_PART;
        let most = if held == 0 {
            MAX_PART
        } else {
            needed + self.quantum
        };
        needed <= self.seen && self.seen <= most
    }

    /// Waits for the lease to grow.
    pub(crate) fn poll_grown(&self, context: &mut Context<'_>) -> Poll<()> {
        self.member.driver.register(context.waker());
        if self.member.lease.load(Ordering::Acquire) == self.seen {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.budget.leave(self.id);
        state.members.remove(&self.id);
        state.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    const PART: u64 = MAX_PART;

    #[test]
    fn a_lease_grows_when_others_give_back() {
        let budget = MemoryBudget::new(9 * PART);
        let (mut one, mut other) = (budget.join(), budget.join());
        assert_eq!(one.allowance(7 * PART, false), 7 * PART);
        assert_eq!(other.allowance(PART, false), 0);
        let mut context = Context::from_waker(Waker::noop());
        assert!(other.poll_grown(&mut context).is_pending());
        assert_eq!((budget.leased(), budget.waiting()), (9 * PART, 1));
        drop(one);
        assert!(other.poll_grown(&mut context).is_ready());
        assert_eq!(other.allowance(PART, false), 3 * PART);
        assert!(other.poll_grown(&mut context).is_pending());
        assert_eq!(other.allowance(0, false), 0);
        assert_eq!(budget.leased(), PART);
        drop(other);
        assert_eq!((budget.leased(), budget.waiting()), (0, 0));
    }

    #[test]
    fn little_is_not_asked_for() {
        let budget = MemoryBudget::new(100 * PART);
        let mut lease = budget.join();
        assert_eq!(lease.allowance(PART, false), 3 * PART);
        for held in [1, PART, 2 * PART, 3 * PART] {
            assert!(lease.suffices(held), "{held} would take the lock");
            assert_eq!(lease.allowance(held, false), 3 * PART, "{held}");
        }
        assert_eq!(lease.allowance(3 * PART + 1, false), 7 * PART);
    }
}

//! What a link makes that has to be unmade when it is over.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

/// Owns registrations and tasks: closing it unmakes all of them, the newest first, and what is made after the close is unmade
/// on the spot (`protocol.md` section 13).
///
/// Clones are handles of one scope; when the last one is dropped, the scope closes without waiting for its tasks, nor for
/// an undo that another thread is running. What several steps make is taken back as a whole if they share a
/// [`child`](Self::child).
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use replproto_tokio::Scope;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let watchers = Arc::new(Mutex::new(vec!["schema"]));
/// let scope = Scope::new();
///
/// let all = watchers.clone();
/// scope.register(move || all.lock().unwrap().clear());
/// scope.spawn(std::future::pending::<()>());
/// assert_eq!(scope.live(), 2);
///
/// scope.close().await;
/// assert_eq!(scope.live(), 0);
/// assert!(watchers.lock().unwrap().is_empty());
/// # }
/// ```
#[derive(Clone)]
pub struct Scope {
    handle: Arc<Handle>,
}

/// What all clones of a scope share. What a scope owns can outlive it for the moment that its tasks take to end.
struct Handle(Arc<Inner>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

struct Inner {
    state: Mutex<State>,
    /// Something has ended.
    changed: Notify,
    /// The scope that this one belongs to, and as what.
    parent: Option<(Weak<Self>, u64)>,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    last_number: u64,
    /// In the order in which they were made.
    members: BTreeMap<u64, Member>,
    /// Undos that are running.
    undoing: usize,
}

type Undo = Box<dyn FnOnce() + Send>;

enum Member {
    Undo(Undo),
    /// Removes itself when it ends. `None` while it is being spawned.
    Task(Option<AbortHandle>),
    /// Removes itself when nothing is left of it.
    Child(Arc<Inner>),
}

/// How far an attempt to unmake the newest member came.
enum Step {
    Undone,
    /// A task, or an undo that runs elsewhere, has to end first.
    Wait,
    /// Nothing is left.
    Done,
}

impl Scope {
    /// An open scope that owns nothing.
    pub fn new() -> Self {
        Self::below(None)
    }

    /// A scope that is closed with this one, at the latest.
    pub fn child(&self) -> Self {
        let parent = self.inner();
        let mut state = parent.state();
        let number = state.number();
        let child = Self::below(Some((Arc::downgrade(parent), number)));
        if state.is_closed {
            child.inner().state().is_closed = true;
        } else {
            let member = Member::Child(child.inner().clone());
            state.members.insert(number, member);
        }
        child
    }

    /// Something has been registered that `undo` removes. It is called once: at the close, or now if that has been.
    ///
    /// A panic of it is logged, and keeps nothing else from being unmade. It should own no handle of this scope: with one,
    /// dropping the other handles undoes nothing, and only [`close`](Self::close) does.
    pub fn register(&self, undo: impl FnOnce() + Send + 'static) {
        let mut state = self.inner().state();
        if state.is_closed {
            drop(state);
            run(undo);
        } else {
            let number = state.number();
            state.members.insert(number, Member::Undo(Box::new(undo)));
        }
    }

    /// Waits for something that is registered in several steps, and gives it. `undo` removes it at the close; if that has
    /// been meanwhile, it does so at once, and there is nothing to give.
    ///
    /// # Cancel safety
    /// That of `acquisition`, which is dropped with this future: it has to undo what it has begun.
    pub async fn acquire<T: Clone + Send + 'static>(
        &self,
        acquisition: impl Future<Output = T>,
        undo: impl FnOnce(T) + Send + 'static,
    ) -> Option<T> {
        let acquired = acquisition.await;
        let owned = acquired.clone();
        self.register(move || undo(owned));
        (!self.is_closed()).then_some(acquired)
    }

    /// Spawns a task that the close aborts and waits for. After the close the future is dropped at once, and the handle says
    /// that it was cancelled.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let inner = self.inner();
        let number = {
            let mut state = inner.state();
            let number = state.number();
            if !state.is_closed {
                state.members.insert(number, Member::Task(None));
            }
            number
        };
        let membership = Membership {
            inner: inner.clone(),
            number,
        };
        // Not under the lock: a runtime that is shutting down drops the future, and with it the membership, at once.
        let task = tokio::spawn(belong(future, membership));
        let abort = task.abort_handle();
        let mut state = inner.state();
        if state.is_closed {
            abort.abort();
        }
        if let Some(Member::Task(handle)) = state.members.get_mut(&number) {
            *handle = Some(abort);
        }
        task
    }

    /// Unmakes everything and waits until that is done. All tasks are aborted at once; registrations are undone the newest
    /// first, and each only when the tasks and the undos that are newer have ended, whoever runs them. Once that is done this
    /// does nothing.
    ///
    /// A task of the scope cannot wait for its own end; it drops its handle instead.
    ///
    /// # Cancel safety
    /// The scope is closed once this is polled, and its tasks end. What has not been undone when the future is dropped is
    /// undone by the next call, or with the last handle.
    pub async fn close(&self) {
        let inner = self.inner();
        inner.abort();
        loop {
            let changed = inner.changed.notified();
            match inner.undo_newest() {
                Step::Undone => {}
                Step::Wait => changed.await,
                Step::Done => return,
            }
        }
    }

    /// Closes as dropping the last handle does, whoever has others.
    pub(crate) fn abandon(&self) {
        self.inner().abandon();
    }

    /// Whether the scope is closed, or being closed.
    pub fn is_closed(&self) -> bool {
        self.inner().state().is_closed
    }

    /// How many registrations and tasks there are, with those of its children.
    pub fn live(&self) -> usize {
        self.inner().count(|member| match member {
            Member::Undo(_) | Member::Task(_) => 1,
            Member::Child(_) => 0,
        })
    }

    /// Waits until no task is left, without aborting any.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn settled(&self) {
        let inner = self.inner();
        let is_task = |member: &Member| usize::from(matches!(member, Member::Task(_)));
        loop {
            let changed = inner.changed.notified();
            if inner.count(is_task) == 0 {
                return;
            }
            changed.await;
        }
    }

    fn below(parent: Option<(Weak<Inner>, u64)>) -> Self {
        Self {
            handle: Arc::new(Handle(Arc::new(Inner {
                state: Mutex::default(),
                changed: Notify::new(),
                parent,
            }))),
        }
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.handle.0
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("is_closed", &self.is_closed())
            .field("live", &self.live())
            .finish()
    }
}

impl State {
    const fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic is done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the scope, and waits for nothing.
    fn abandon(&self) {
        self.abort();
        self.undo_all();
        self.on_change();
    }

    /// Closes the scope, and makes its tasks end.
    fn abort(&self) {
        let mut children = Vec::new();
        {
            let mut state = self.state();
            state.is_closed = true;
            for member in state.members.values() {
                match member {
                    Member::Undo(_) | Member::Task(None) => {}
                    Member::Task(Some(task)) => task.abort(),
                    Member::Child(child) => children.push(child.clone()),
                }
            }
        }
        children.iter().for_each(|child| child.abort());
    }

    /// Unmakes the newest member, unless it has to be waited for.
    fn undo_newest(&self) -> Step {
        let state = self.state();
        if state.undoing > 0 {
            return Step::Wait;
        }
        match state.members.last_key_value() {
            None => Step::Done,
            Some((_, Member::Task(_))) => Step::Wait,
            Some((&number, Member::Child(child))) => {
                let child = child.clone();
                drop(state);
                match child.undo_newest() {
                    Step::Done => {
                        self.state().members.remove(&number);
                        Step::Undone
                    }
                    step => step,
                }
            }
            Some((&number, Member::Undo(_))) => {
                drop(state);
                self.undo(number);
                Step::Undone
            }
        }
    }

    /// The same for all, when nobody can wait for tasks.
    fn undo_all(&self) {
        let mut above = u64::MAX;
        loop {
            let state = self.state();
            if state.undoing > 0 {
                // A close runs it, here or above, and goes on with the rest.
                return;
            }
            let Some((&number, member)) = state.members.range(..above).next_back() else {
                return;
            };
            let child = match member {
                Member::Child(child) => Some(child.clone()),
                _ => None,
            };
            drop(state);
            match child {
                Some(child) => child.undo_all(),
                None => self.undo(number),
            }
            above = number;
        }
    }

    /// Takes a registration out and undoes it. Does nothing to a task, and nothing twice.
    fn undo(&self, number: u64) {
        let undo = {
            let mut state = self.state();
            match state.members.remove(&number) {
                Some(Member::Undo(undo)) => {
                    state.undoing += 1;
                    undo
                }
                Some(other) => {
                    state.members.insert(number, other);
                    return;
                }
                None => return,
            }
        };
        run(undo);
        self.state().undoing -= 1;
        self.on_change();
    }

    fn count(&self, count: impl Fn(&Member) -> usize + Copy) -> usize {
        let mut children = Vec::new();
        let mut sum = 0;
        for member in self.state().members.values() {
            sum += count(member);
            if let Member::Child(child) = member {
                children.push(child.clone());
            }
        }
        sum + children
            .iter()
            .map(|child| child.count(count))
            .sum::<usize>()
    }

    /// Wakes those who wait for the end of something, here and above.
    fn on_change(&self) {
        self.changed.notify_waiters();
        let Some((parent, number)) = &self.parent else {
            return;
        };
        let Some(parent) = parent.upgrade() else {
            return;
        };
        let is_over = {
            let state = self.state();
            state.is_closed && state.members.is_empty() && state.undoing == 0
        };
        if is_over {
            parent.state().members.remove(number);
        }
        parent.on_change();
    }
}

/// Of a task in its scope.
struct Membership {
    inner: Arc<Inner>,
    number: u64,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.inner.state().members.remove(&self.number);
        self.inner.on_change();
    }
}

/// Leaves the scope when the future is over, whether it ends, panics or is dropped: in this order.
async fn belong<F: Future>(future: F, _membership: Membership) -> F::Output {
    future.await
}

fn run(undo: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(undo)).is_err() {
        tracing::error!("a registration could not be undone: it panicked");
    }
}

#[cfg(test)]
mod tests;

use std::future::{pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::Poll;
use std::thread;

use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::*;

/// What was unmade, in order.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Vec<&'static str>>>);

impl Book {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn undo(&self, what: &'static str) -> impl FnOnce() + Send + 'static {
        let book = self.clone();
        move || book.note(what)
    }

    /// A task that never ends by itself, and takes note of its end.
    fn task(&self, what: &'static str) -> impl Future<Output = ()> + Send + 'static {
        let end = OnDrop(Some(self.undo(what)));
        async move {
            let _end = end;
            pending().await
        }
    }

    fn read(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(note) = self.0.take() {
            note();
        }
    }
}

fn tasks() -> usize {
    let runtime = tokio::runtime::Handle::current();
    runtime.metrics().num_alive_tasks()
}

#[tokio::test]
async fn closing_unmakes_everything_the_newest_first() {
    let (scope, book) = (Scope::new(), Book::default());
    scope.register(book.undo("first"));
    scope.spawn(book.task("task"));
    scope.register(book.undo("second"));
    scope.spawn(book.task("never polled"));
    assert_eq!(scope.live(), 4);
    scope.close().await;
    let order = book.read();
    let at = |what| order.iter().position(|other| *other == what).unwrap();
    assert!(at("never polled") < at("second"), "{order:?}");
    assert!(at("task") < at("first"), "{order:?}");
    assert!(at("second") < at("first"), "{order:?}");
    assert_eq!((scope.live(), tasks()), (0, 0));
    scope.close().await;
    drop(scope);
    assert_eq!(book.read().len(), 4, "once");
}

#[tokio::test]
async fn what_comes_after_the_close_is_unmade_on_the_spot() {
    let (scope, book) = (Scope::new(), Book::default());
    scope.close().await;
    scope.register(book.undo("registered"));
    let task = scope.spawn(book.task("spawned"));
    assert_eq!(book.read(), ["registered"]);
    assert!(task.await.unwrap_err().is_cancelled());
    let child = scope.child();
    child.register(book.undo("in a child"));
    let undo = book.undo("acquired");
    assert_eq!(child.acquire(ready(1), |_| undo()).await, None);
    assert_eq!(
        book.read(),
        ["registered", "spawned", "in a child", "acquired"]
    );
    assert_eq!((scope.live(), child.live(), tasks()), (0, 0, 0));
}

#[tokio::test]
async fn an_acquisition_that_the_close_overtakes_is_undone() {
    let (scope, book) = (Scope::new(), Book::default());
    let (answer, asked) = oneshot::channel();
    let undo = book.undo("undone");
    let acquiring = scope.clone();
    let acquisition = tokio::spawn(async move {
        let asked = async { asked.await.unwrap() };
        acquiring.acquire(asked, |_| undo()).await
    });
    yield_now().await;
    scope.close().await;
    assert_eq!(book.read(), [""; 0]);
    answer.send(7).unwrap();
    assert_eq!(acquisition.await.unwrap(), None);
    assert_eq!(book.read(), ["undone"]);
}

#[tokio::test]
async fn an_acquisition_is_given_and_undone_at_the_close() {
    let (scope, book) = (Scope::new(), Book::default());
    let undo = book.undo("undone");
    let acquired = scope.acquire(ready("it"), |_| undo()).await;
    assert_eq!((acquired, scope.live()), (Some("it"), 1));
    drop(scope);
    assert_eq!(book.read(), ["undone"]);
}

#[tokio::test]
async fn a_panic_keeps_nothing_else_from_being_unmade() {
    let (scope, book) = (Scope::new(), Book::default());
    scope.register(book.undo("first"));
    scope.register(|| panic!("on purpose"));
    scope.register(book.undo("last"));
    scope.spawn(async { panic!("on purpose") });
    yield_now().await;
    scope.close().await;
    assert_eq!(book.read(), ["last", "first"]);
    let dropped = Scope::new();
    dropped.register(book.undo("also when it is dropped"));
    dropped.register(|| panic!("on purpose"));
    drop(dropped);
    assert_eq!(book.read().len(), 3);
}

#[tokio::test]
async fn the_last_handle_closes() {
    let (scope, book) = (Scope::new(), Book::default());
    scope.register(book.undo("first"));
    scope.spawn(book.task("task"));
    let child = scope.child();
    child.register(book.undo("in a child"));
    let other = scope.clone();
    drop(scope);
    assert_eq!(book.read(), [""; 0]);
    drop(other);
    assert_eq!(book.read(), ["in a child", "first"]);
    assert!(child.is_closed());
    yield_now().await;
    assert_eq!(tasks(), 0);
}

#[tokio::test]
async fn a_task_that_ends_by_itself_is_no_member_any_more() {
    let scope = Scope::new();
    for number in 0..100 {
        assert_eq!(scope.spawn(ready(number)).await.unwrap(), number);
    }
    let panics = scope.spawn(async { panic!("on purpose") });
    assert!(panics.await.unwrap_err().is_panic());
    assert_eq!(scope.live(), 0);
}

#[tokio::test]
async fn a_child_is_taken_back_as_a_whole() {
    let (scope, book) = (Scope::new(), Book::default());
    let both = scope.child();
    both.register(book.undo("changed"));
    both.register(book.undo("removed"));
    assert_eq!(scope.live(), 2);
    drop(both);
    assert_eq!(book.read(), ["removed", "changed"]);
    assert_eq!(scope.live(), 0);
    assert!(
        scope.inner().state().members.is_empty(),
        "nothing is left of it"
    );
}

#[tokio::test]
async fn a_close_waits_for_the_tasks_of_a_child_that_was_dropped() {
    let (scope, book) = (Scope::new(), Book::default());
    scope.register(book.undo("below"));
    let child = scope.child();
    child.spawn(book.task("task"));
    let grandchild = child.child();
    grandchild.spawn(book.task("far task"));
    drop((child, grandchild));
    assert_eq!(book.read(), [""; 0], "it is aborted, and has not ended");
    scope.close().await;
    assert_eq!(book.read().len(), 3);
    assert_eq!(book.read()[2], "below");
    assert!(scope.inner().state().members.is_empty());
}

#[tokio::test]
async fn settled_waits_for_tasks_and_aborts_none() {
    let (scope, book) = (Scope::new(), Book::default());
    let child = scope.child();
    for (turns, what) in [(20, "second"), (10, "first")] {
        let note = book.undo(what);
        child.spawn(async move {
            for _ in 0..turns {
                yield_now().await;
            }
            note();
        });
    }
    scope.register(book.undo("not a task"));
    scope.settled().await;
    assert_eq!(book.read(), ["first", "second"]);
}

#[tokio::test]
async fn a_close_that_is_dropped_is_finished_by_the_next() {
    let (scope, book) = (Scope::new(), Book::default());
    scope.register(book.undo("first"));
    scope.spawn(book.task("task"));
    {
        let mut close = pin!(scope.close());
        assert!(!is_ready(close.as_mut()).await);
    }
    assert!(scope.is_closed());
    scope.close().await;
    assert_eq!(book.read(), ["task", "first"]);
}

/// Polls a future once: whether it is ready.
async fn is_ready(future: Pin<&mut impl Future<Output = ()>>) -> bool {
    let mut future = future;
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
}

#[tokio::test]
async fn an_undo_waits_for_a_newer_one_that_another_close_runs() {
    for is_below in [false, true] {
        let (scope, book) = (Scope::new(), Book::default());
        scope.register(book.undo("first"));
        let child = scope.child();
        let owner = if is_below { &child } else { &scope };
        owner.register(book.undo("second"));
        let (began, has_begun) = mpsc::channel();
        let (finish, may_finish) = mpsc::channel();
        let newest = book.undo("third");
        owner.register(move || {
            began.send(()).unwrap();
            may_finish.recv().unwrap();
            newest();
        });
        let other = scope.clone();
        let elsewhere = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().block_on(other.close());
        });
        has_begun.recv().unwrap();
        let mut close = pin!(scope.close());
        assert!(!is_ready(close.as_mut()).await);
        drop(child);
        assert_eq!(book.read(), [""; 0], "the newest is still being undone");
        finish.send(()).unwrap();
        close.await;
        elsewhere.join().unwrap();
        assert_eq!(book.read(), ["third", "second", "first"]);
    }
}

#[tokio::test]
async fn what_is_abandoned_is_undone_whoever_has_handles() {
    let (scope, book) = (Scope::new(), Book::default());
    let (own, undo) = (scope.clone(), book.undo("undone"));
    scope.register(move || {
        // One that came too late would be undone on the spot.
        own.register(undo);
    });
    scope.abandon();
    assert_eq!(book.read(), ["undone"]);
    assert!(scope.is_closed());
    assert_eq!(Arc::strong_count(&scope.handle), 1, "the cycle is broken");
}

#[test]
fn a_runtime_that_ends_takes_tasks_out() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (scope, book) = (Scope::new(), Book::default());
    runtime.block_on(async { drop(scope.spawn(book.task("task"))) });
    drop(runtime);
    assert_eq!(book.read(), ["task"]);
    assert_eq!(scope.live(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closes_of_two_and_registrations_meanwhile_leave_nothing() {
    for _ in 0..300 {
        let (scope, book) = (Scope::new(), Book::default());
        let other = scope.clone();
        let notes = book.clone();
        let registering = tokio::spawn(async move {
            for _ in 0..20 {
                other.register(notes.undo("undone"));
                other.spawn(notes.task("ended"));
                let child = other.child();
                child.spawn(notes.task("ended"));
            }
            other.close().await;
            assert_eq!(other.live(), 0);
        });
        scope.close().await;
        registering.await.unwrap();
        assert_eq!(scope.live(), 0);
        scope.settled().await;
        while book.read().len() < 60 {
            yield_now().await;
        }
    }
}

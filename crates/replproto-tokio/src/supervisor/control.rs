//! The task that carries out what the roster says.

use std::future::pending;
use std::sync::Arc;

use tokio::time::sleep_until;

use super::shared::{Shared, Spawn};

/// Without this task nothing would start any more, so nothing may go on.
struct Closes(Arc<Shared>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Runs until the supervisor is closed and its workers are gone.
pub(super) fn run(shared: Arc<Shared>, spawn: Box<Spawn>) -> impl Future<Output = ()> + Send {
    // At once: a future that is dropped before it is polled closes too.
    let shared = Closes(shared);
    async move {
        let shared = &shared.0;
        loop {
            for thread in shared.take_exited() {
                // It has said that it is gone, so this takes no time worth mentioning.
                if thread.join().is_err() {
                    tracing::error!("a worker panicked");
                }
            }
            if shared.is_over() {
                return;
            }
            let next = shared.carry_out(&*spawn);
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = shared.changed() => {}
                () = due => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::thread;
    use std::time::Duration;

    use replproto_core::WorkerId;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::run::Stop;
    use crate::supervisor::SupervisorOptions;
    use crate::supervisor::link::LinkKey;
    use crate::supervisor::shared::{Start, Worker};
    use crate::supervisor::worker::Exit;

    const LINKS: usize = 40;

    /// Which worker each session was started on.
    type Started = Arc<Mutex<BTreeMap<LinkKey, Vec<WorkerId>>>>;

    /// Workers that do nothing with a link, of which the first panics once it has a quarter of all.
    fn spawner(shared: Arc<Shared>, started: Started) -> Box<Spawn> {
        let first = Mutex::new(None);
        Box::new(move |worker| {
            let is_first = *first.lock().unwrap().get_or_insert(worker) == worker;
            let (orders, mut inbox) = mpsc::unbounded_channel::<Start>();
            let (shared, started) = (shared.clone(), started.clone());
            let thread = thread::spawn(move || {
                let _exit = Exit { shared, worker };
                let mut count = 0;
                while let Some(start) = inbox.blocking_recv() {
                    let mut started = started.lock().unwrap();
                    started.entry(start.link).or_default().push(worker);
                    drop(started);
                    count += 1;
                    assert!(!is_first || count < LINKS / 4, "a worker panics");
                }
            });
            let orders = Some(orders);
            Ok(Worker { orders, thread })
        })
    }

    #[tokio::test(start_paused = true)]
    async fn links_that_lost_their_worker_start_an_interval_apart_unless_they_are_removed() {
        let interval = Duration::from_millis(70);
        let options = SupervisorOptions {
            workers: 2,
            reassignment_interval: interval,
            ..SupervisorOptions::default()
        };
        let shared = Arc::new(Shared::new(&options));
        for number in 0..LINKS {
            assert!(shared.add(LinkKey::new("data", &number.to_string())));
        }
        // Workers that tell what they are given, and when.
        let (given, mut starts) = mpsc::unbounded_channel();
        let spawn = Box::new(move |worker| {
            let (orders, mut inbox) = mpsc::unbounded_channel::<Start>();
            let given = given.clone();
            tokio::spawn(async move {
                while let Some(start) = inbox.recv().await {
                    let _ = given.send((worker, start, Instant::now()));
                }
            });
            let (orders, thread) = (Some(orders), thread::spawn(|| {}));
            Ok(Worker { orders, thread })
        });
        let control = tokio::spawn(run(shared.clone(), spawn));
        let mut lost = Vec::new();
        let mut dead = None;
        for _ in 0..LINKS {
            let (worker, start, _) = starts.recv().await.expect("a link starts");
            if *dead.get_or_insert(worker) == worker {
                lost.push(start.link);
            }
        }
        lost.sort();
        assert_eq!(lost.len(), LINKS / 2);
        shared.exited(dead.expect("a worker"));
        let mut last = Instant::now();
        for link in &lost[LINKS / 4..] {
            let removed = shared.remove(|key| key == link, Stop::shutdown);
            assert_eq!(removed.len(), 1);
        }
        for link in &lost[..LINKS / 4] {
            let (_, start, at) = starts.recv().await.expect("it starts again");
            assert_eq!(start.link, *link);
            assert!(at - last >= interval);
            last = at;
        }
        assert_eq!(shared.counters().reassignments, LINKS as u64 / 4);
        assert!(shared.links().iter().all(|link| link.worker.is_some()));
        shared.close();
        control.abort();
    }

    #[tokio::test]
    async fn the_links_of_a_worker_that_panics_start_on_the_others() {
        let options = SupervisorOptions {
            workers: 4,
            reassignment_interval: Duration::from_micros(100),
            ..SupervisorOptions::default()
        };
        let shared = Arc::new(Shared::new(&options));
        for number in 0..LINKS {
            assert!(shared.add(LinkKey::new("data", format!("node-{number}").as_str())));
        }
        let started = Started::default();
        let spawn = spawner(shared.clone(), started.clone());
        let control = tokio::spawn(run(shared.clone(), spawn));
        let sessions = || -> usize { started.lock().unwrap().values().map(Vec::len).sum() };
        let all = async {
            while sessions() < LINKS + LINKS / 4 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(60), all)
            .await
            .expect("all start");
        shared.close();
        timeout(Duration::from_secs(60), control)
            .await
            .expect("it ends")
            .expect("in order");
        let started = started.lock().unwrap();
        assert_eq!(started.len(), LINKS, "none is lost");
        let moved: Vec<_> = started.values().filter(|on| on.len() == 2).collect();
        assert_eq!(moved.len(), LINKS / 4, "each of them once");
        assert!(
            moved
                .iter()
                .all(|on| on[0] == moved[0][0] && on[1] != on[0])
        );
        assert!(started.values().all(|on| on.len() <= 2));
        assert_eq!(shared.counters().worker_exits, 1);
        assert_eq!(shared.counters().reassignments, LINKS as u64 / 4);
    }
}

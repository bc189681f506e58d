//! Nothing is left of links that are over. Alone in its process, since it counts what the process has open.

mod support;

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use replproto_core::{Backoff, Sequence, Start};
use replproto_tokio::{
    ConnectError, Link, LinkConfig, LinkKey, LinkSetup, LinkStatus, MemoryBlobStore, MemorySink,
    RunOptions, Supervisor, SupervisorOptions, run,
};
use support::{Peer, Publisher, soon, until};
use tokio::io::{AsyncRead, AsyncWrite, duplex};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinSet, yield_now};

const CYCLES: usize = 1000;

/// Runs one test at a time, with its runtime, as all of them count the same things.
fn alone(test: impl Future<Output = ()>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// How many files and sockets are open, where that can be told.
fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Opens a link and ends it, in one way or another.
async fn one_link(publisher: &Publisher, store: &MemoryBlobStore, way: u32) {
    let config = publisher.config();
    let start = Start::At(Sequence(1.0));
    let connect = Link::connect(&config, start, store.clone());
    let (link, (mut peer, _)) = tokio::join!(connect, publisher.link());
    let link = link.unwrap();
    peer.chunk("1", b"half", false).await;
    match way {
        0 => {
            link.shutdown();
            let closed = async move { peer.closed().await };
            tokio::join!(soon(link.end()), closed);
        }
        1 => {
            drop(peer);
            soon(link.end()).await;
        }
        2 => {
            peer.close(1000, "").await;
            soon(link.end()).await;
        }
        _ => drop(link),
    }
}

#[test]
fn a_hundred_links_leave_no_task_and_no_socket() {
    alone(async {
        let publisher = Publisher::bind().await;
        let store = MemoryBlobStore::new();
        one_link(&publisher, &store, 0).await;
        until(|| tasks() == 0).await;
        let before = files();
        for number in 0..100 {
            one_link(&publisher, &store, number % 4).await;
        }
        until(|| tasks() == 0 && files() == before).await;
        assert_eq!(store.open_writers(), 0);
    });
}

/// A publisher on a thread of its own, which serves whoever comes and hangs up when it has said everything.
struct Server {
    runtime: Option<Runtime>,
    config: LinkConfig,
}

impl Server {
    async fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let publisher = runtime.spawn(Publisher::bind()).await.unwrap();
        let config = publisher.config();
        runtime.spawn(async move {
            let mut peers = JoinSet::new();
            loop {
                let stream = publisher.accept_raw_at_leisure().await;
                peers.spawn(serve(stream));
                while peers.try_join_next().is_some() {}
            }
        });
        Self {
            runtime: Some(runtime),
            config,
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.as_ref().unwrap().spawn(work);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not on this thread, which has a runtime that must not be blocked by another.
            thread::spawn(move || drop(runtime)).join().unwrap();
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Some(mut peer) = Peer::try_accept(stream, Duration::from_secs(60)).await else {
        return;
    };
    if let Some(request) = peer.greet(None).await {
        peer.answer(&request).await;
        peer.put(&["a"], 2.0).await;
        peer.put_blob("b", "1", 3.0).await;
        peer.chunk("1", b"half", false).await;
    }
}

/// Polls a future so often, and then no more. `None`: it is not ready.
async fn polled<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Gives up each of many links after one more poll than the one before, and begins again when one has come to be.
async fn give_up<F: Future<Output = Result<Link, ConnectError>>>(
    connect: impl Fn() -> F,
    store: &MemoryBlobStore,
) {
    let before = files();
    let (mut polls, mut most_polls, mut links) = (0, 0, 0);
    for cycle in 0..CYCLES {
        match soon(polled(connect(), polls)).await {
            None => polls += 1,
            Some(link) => {
                let link = link.unwrap();
                if cycle % 2 == 0 {
                    link.shutdown();
                    soon(link.end()).await;
                }
                links += 1;
                most_polls = polls.max(most_polls);
                polls = 0;
            }
        }
    }
    assert!(links > 1 && most_polls > 1, "{links} {most_polls}");
    until(|| tasks() == 0 && files() == before).await;
    assert_eq!(store.open_writers(), 0);
}

#[test]
fn a_connect_that_is_given_up_at_any_point_leaves_nothing() {
    alone(async {
        let server = Server::start().await;
        let store = MemoryBlobStore::new();
        let start = Start::At(Sequence(1.0));
        let connect = || Link::connect(&server.config, start.clone(), store.clone());
        give_up(connect, &store).await;
        // A few bytes at a time, for many points.
        let over = || {
            let (ours, theirs) = duplex(16);
            server.spawn(serve(theirs));
            Link::over(ours, &server.config, start.clone(), store.clone())
        };
        give_up(over, &store).await;
    });
}

#[test]
fn a_run_that_is_given_up_at_any_point_leaves_nothing() {
    alone(async {
        let server = Server::start().await;
        let store = MemoryBlobStore::new();
        let before = files();
        let mut most_links = 0;
        for cycle in 0..CYCLES {
            let mut sink = MemorySink::new();
            let mut options = RunOptions::default();
            options.start = Start::At(Sequence(1.0));
            options.first_delay = Duration::ZERO;
            options.longest_delay = Duration::ZERO;
            let progress = options.progress.subscribe();
            let config = server.config.clone();
            let following = run(config, &mut sink, store.clone(), options);
            assert!(soon(polled(following, cycle % 25)).await.is_none());
            most_links = most_links.max(progress.borrow().links);
        }
        assert!(most_links > 1, "some came past their first link");
        until(|| tasks() == 0 && files() == before).await;
        assert_eq!(store.open_writers(), 0);
    });
}

#[test]
fn links_that_are_added_and_removed_at_any_point_leave_nothing() {
    alone(async {
        let server = Server::start().await;
        let store = MemoryBlobStore::new();
        let before = files();
        let registrations = Arc::new(AtomicU64::new(0));
        let mut options = SupervisorOptions::default();
        options.workers = 2;
        options.replacement = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
        let supervisor = {
            let (config, store) = (server.config.clone(), store.clone());
            let registrations = registrations.clone();
            Supervisor::start(options, move |_, scope| {
                let (config, store) = (config.clone(), store.clone());
                let registrations = registrations.clone();
                async move {
                    for _ in 0..3 {
                        let (made, unmade) = (registrations.clone(), registrations.clone());
                        let registration = async move {
                            yield_now().await;
                            made.fetch_add(1, Ordering::Relaxed);
                        };
                        let undo = move |()| {
                            unmade.fetch_sub(1, Ordering::Relaxed);
                        };
                        scope.acquire(registration, undo).await;
                        scope.spawn(pending::<()>());
                    }
                    Ok::<_, std::io::Error>(LinkSetup::new(config, MemorySink::new(), store))
                }
            })
        };
        for cycle in 0..CYCLES {
            let key = LinkKey::new("data", "node-a");
            supervisor.add(key.clone());
            for _ in 0..cycle % 100 {
                yield_now().await;
            }
            if cycle % 10 == 0 {
                supervisor.kill_worker(cycle / 10 % 2);
            }
            // Some come as far as a link, however slow the machine is.
            let has_run = cycle % 50 == 49;
            if has_run {
                let has_link = |link: &LinkStatus| link.progress.borrow().links > 0;
                until(|| supervisor.links().iter().all(has_link)).await;
            }
            let removed = supervisor.remove(&key);
            if has_run {
                assert!(soon(removed).await.unwrap().is_some());
            } else if cycle % 3 > 0 {
                soon(removed).await.unwrap();
            }
        }
        soon(supervisor.shutdown()).await;
        until(|| tasks() == 0 && files() == before).await;
        assert_eq!(registrations.load(Ordering::Relaxed), 0);
        assert_eq!(store.open_writers(), 0);
    });
}

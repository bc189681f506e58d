//! Nothing is left of links that are over. Alone in its process, since it counts what the process has open.

mod support;

use replproto_core::{Sequence, Start};
use replproto_tokio::{Link, MemoryBlobStore};
use support::{Publisher, soon, until};

fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
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

#[tokio::test]
async fn a_hundred_links_leave_no_task_and_no_socket() {
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
}

//! What links cost that have nothing to do: memory and threads of a process with a supervisor of many.
//!
//! ```text
//! cargo bench -p replproto-tokio --bench idle_links
//! ```
//!
//! Each link has stored one record in memory, and waits for more. The publisher is a process of its own, and not counted. Each
//! link is a socket in both processes, so `ulimit -n` has to be above 1,100. What is told comes from `/proc`: this is for Linux.
#![allow(missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use replproto_core::{Sequence, Start};
use replproto_tokio::{
    Endpoint, LinkConfig, LinkKey, LinkSetup, LinkStatus, MemorySink, NoBlobs, Phase, Supervisor,
    SupervisorOptions,
};
use support::{Peer, Publisher, until};
use tokio::task::JoinSet;

const PUBLISHER: &str = "publisher";
const WORKERS: usize = 4;
const LINKS: [usize; 4] = [0, 1, 100, 1000];

/// Where the log of each link ends.
const LAST: f64 = 2.0;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if env::args().any(|argument| argument == PUBLISHER) {
        publish().await;
    }
    let mut publisher = Command::new(env::current_exe().unwrap())
        .arg(PUBLISHER)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let mut output = BufReader::new(publisher.stdout.take().unwrap());
    output.read_line(&mut address).unwrap();
    measure(address.trim().parse().unwrap()).await;
    publisher.kill().unwrap();
    publisher.wait().unwrap();
}

async fn measure(publisher: Endpoint) {
    let mut options = SupervisorOptions::default();
    options.workers = WORKERS;
    let supervisor = Supervisor::start(options, move |_, _| {
        let config = LinkConfig::new(publisher.clone(), "us", "data");
        async {
            let mut setup = LinkSetup::new(config, MemorySink::new(), NoBlobs);
            setup.options.start = Start::At(Sequence(1.0));
            Ok::<_, std::io::Error>(setup)
        }
    });
    for links in LINKS {
        for number in supervisor.links().len()..links {
            supervisor.add(LinkKey::new("data", &format!("node-{number}")));
        }
        until(|| supervisor.links().iter().all(is_idle)).await;
        println!(
            "{links:5} links: {:>10} resident, {} threads",
            status("VmRSS"),
            status("Threads")
        );
    }
    supervisor.shutdown().await;
}

fn is_idle(link: &LinkStatus) -> bool {
    let snapshot = link.progress.borrow();
    let cursor = snapshot.cursor.as_ref();
    snapshot.phase == Phase::Following && cursor.is_some_and(|cursor| cursor.sequence.0 >= LAST)
}

/// A line of what the system knows of this process.
fn status(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.strip_prefix(':'));
    value.unwrap_or("unknown").trim().to_owned()
}

/// Sends everyone the same record, and no more.
async fn publish() -> ! {
    let publisher = Publisher::bind().await;
    println!("{}", publisher.endpoint());
    let mut peers = JoinSet::new();
    loop {
        let stream = publisher.accept_raw_at_leisure().await;
        peers.spawn(async move {
            let Some(mut peer) = Peer::try_accept(stream, Duration::from_secs(60)).await else {
                return;
            };
            if let Some(request) = peer.greet(None).await {
                peer.answer(&request).await;
                peer.put(&["a"], LAST).await;
            }
            peer.gone().await;
        });
    }
}

//! `replproto receive`, killed again and again while it catches up, by SIGKILL at moments of every kind, from a publisher
//! that cuts its connections: in the end it has exactly what the source has, and on the way nothing went back or got lost.
//!
//! The seed decides what the source does, where connections are cut and what is waited for before a kill. It is printed, and
//! REPLPROTO_CRASH_SEED sets another one; REPLPROTO_CRASH_KILLS sets how often the program is killed.

mod compare;
mod deaths;
mod publisher;
mod random;
mod reader;
mod source;
mod trigger;
mod world;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use compare::compare;
use deaths::{Death, Deaths, is_torn};
use publisher::{DATABASE, NODE};
use random::Random;
use reader::Reader;
use trigger::Trigger;
use world::{Happening, Shared, World};

/// How often it is killed, unless something else is asked for: often enough for every kind of death.
const KILLS: u64 = 400;

/// After so many lives that were to end in a certain way, and did not, the test has failed.
const AIMED_LIVES: u64 = 20;

fn receive(shared: &Shared, port: u16, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replproto"));
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_file(shared));
    command
        .args([
            "receive",
            &format!("ws://127.0.0.1:{port}"),
            "--database",
            DATABASE,
            "--into",
        ])
        .arg(&shared.file)
        .args([
            "--peer",
            NODE,
            "--reconnect-delay",
            "5ms",
            "--blob-gap-reconnect",
            "1s",
        ])
        .args(more)
        .env("RUST_LOG", "replproto_tokio=debug")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.expect("a log"));
    command
}

fn log_file(shared: &Shared) -> PathBuf {
    shared.file.with_extension("log")
}

/// What the program said last.
fn last_words(shared: &Shared) -> String {
    let log = fs::read_to_string(log_file(shared)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// SIGKILL: nothing of the program runs any more.
fn kill(mut child: Child) {
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
}

/// Ends the program in order once the end of the log is confirmed.
fn end(mut child: Child, shared: &Shared) {
    let is_complete = |world: &mut World| {
        // The life before may have confirmed everything.
        world.count(Happening::Subscribed) > 0
            && world.confirmed >= source::position(world.source.log.len() - 1)
    };
    // One that ends by itself tells why with its exit code.
    while child.try_wait().expect("a child").is_none() {
        if shared.with(is_complete) {
            let pid = child.id().to_string();
            let stopped = Command::new("kill").args(["-TERM", &pid]).status();
            assert!(stopped.expect("kill is there").success());
            break;
        }
        sleep(Duration::from_millis(5));
    }
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", last_words(shared));
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// The lives of the program.
struct Test {
    shared: Arc<Shared>,
    reader: Arc<Mutex<Reader>>,
    port: u16,
    random: Random,
    deaths: Deaths,
}

impl Test {
    /// One life, and its end at any moment.
    fn live(&mut self) {
        self.shared.with(World::new_life);
        let trigger = Trigger::draw(&mut self.random);
        let child = self.start();
        trigger.wait(&self.shared, &self.reader, &mut self.random);
        self.end(child);
    }

    /// Lives until one has ended like this, if none has yet.
    fn aim(&mut self, death: Death) {
        let (trigger, stops_at) = Trigger::aimed_at(death);
        for _ in 0..AIMED_LIVES {
            if self.deaths.has_seen(death) {
                return;
            }
            self.shared.with(|world| world.new_aimed_life(stops_at));
            let child = self.start();
            if death != Death::BeforeTheDial {
                trigger.wait_long(&self.shared, &self.reader, &mut self.random);
            }
            self.end(child);
        }
    }

    fn start(&mut self) -> Life {
        // Without a reader the log of SQLite is read anew at the start.
        let is_alone = self.random.one_in(2);
        reader::lock(&self.reader).set_away(is_alone);
        let child = receive(&self.shared, self.port, &[]).spawn();
        Life {
            child: child.expect("the program starts"),
            is_alone,
        }
    }

    /// Kills it, and looks at what it has left.
    fn end(&mut self, life: Life) {
        kill(life.child);
        let is_torn = is_torn(&self.shared.file);
        let stored = reader::lock(&self.reader).look_at_all();
        self.shared.with(|world| {
            if stored < world.stored {
                world.breaks(format!("{stored:?} is stored after {:?}", world.stored));
            }
            world.stored = stored;
        });
        self.deaths
            .note(&self.shared, stored, is_torn, life.is_alone);
        self.shared.check();
    }
}

/// A process that runs.
struct Life {
    child: Child,
    is_alone: bool,
}

#[test]
fn killed_at_any_moment_it_ends_equal_to_the_source() {
    let seed = setting("REPLPROTO_CRASH_SEED", 1);
    let kills = setting("REPLPROTO_CRASH_KILLS", KILLS);
    println!("REPLPROTO_CRASH_SEED={seed} REPLPROTO_CRASH_KILLS={kills}");
    let start = Instant::now();
    let folder = tempfile::tempdir().expect("a folder");
    let shared = Arc::new(Shared::new(seed, folder.path()));
    let port = publisher::start(Arc::clone(&shared));
    let reader = reader::start(Arc::clone(&shared));
    let mut test = Test {
        shared: Arc::clone(&shared),
        reader,
        port,
        random: Random::new(seed ^ 0x6b69_6c6c),
        deaths: Deaths::default(),
    };
    for number in 0..kills {
        // However little a life comes to on this machine, there are some in the copy, and then in the log.
        if number == 0 {
            test.aim(Death::InTheCopy);
        } else if number == kills / 4 {
            test.aim(Death::InTheLog);
        } else {
            test.live();
        }
    }
    for death in Death::NEEDED {
        test.aim(death);
    }
    let Test { reader, deaths, .. } = test;
    println!("{deaths:#?} in {:?}", start.elapsed());

    shared.with(|world| {
        world.new_life();
        world.is_ending = true;
    });
    reader::lock(&reader).set_away(false);
    let child = receive(&shared, port, &["--deadline", "300s"])
        .spawn()
        .expect("the program starts");
    end(child, &shared);
    let mut reader = reader::lock(&reader);
    reader.look_at_all();
    shared.check();
    compare(&shared, &mut reader);
    let (transactions, confirmed) = shared.with(|world| (world.source.log.len(), world.confirmed));
    println!(
        "{transactions} transactions, {} looks, {:?}",
        reader.looks,
        start.elapsed()
    );
    assert_eq!(confirmed, source::position(transactions - 1));
    for death in Death::NEEDED {
        assert!(deaths.has_seen(death), "{death:?}: {deaths:?}");
    }
}

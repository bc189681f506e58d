//! What operators read: little enough to be read, and loud where a person is needed.

use std::net::{TcpListener, TcpStream};
use std::thread;

use replproto_core::key::Key;
use replproto_core::wire::entry::Flags;
use replproto_core::wire::message::{Capabilities, NodeName, TableStructure};
use replproto_core::wire::{BatchBuilder, Message, NewEntry, SUBPROTOCOL};
use replproto_core::{Sequence, WallTime};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Message as Frame, WebSocket, accept_hdr};

use crate::support::{code, replproto, stderr, stdout};

type Socket = WebSocket<TcpStream>;

const TIME: f64 = 1_747_252_561_000.0;

/// A publisher that says the same on each connection. Gives its address.
fn publisher(script: impl Fn(&mut Socket) + Send + Sync + Clone + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let script = script.clone();
            thread::spawn(move || {
                #[allow(clippy::result_large_err)]
                let choose = |_: &Request, mut response: Response| {
                    let headers = response.headers_mut();
                    headers.insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
                    Ok(response)
                };
                let stream = stream.expect("a connection");
                if let Ok(mut socket) = accept_hdr(stream, choose) {
                    script(&mut socket);
                    // Until the receiver goes.
                    while socket.read().is_ok() {}
                }
            });
        }
    });
    format!("ws://{address}")
}

fn send(socket: &mut Socket, message: &Message) -> bool {
    send_bytes(socket, message.encode())
}

fn send_bytes(socket: &mut Socket, bytes: Vec<u8>) -> bool {
    socket.send(Frame::Binary(bytes.into())).is_ok()
}

fn hear(socket: &mut Socket) {
    while let Ok(frame) = socket.read() {
        if frame.is_binary() {
            break;
        }
    }
}

/// The conversation up to the first record.
fn set_up(socket: &mut Socket) {
    hear(socket);
    send(
        socket,
        &Message::NodeName(NodeName {
            name: Some("node-a".into()),
            database: "data".into(),
            tables: Vec::new(),
            capabilities: Some(Capabilities {
                setup_ack: 1.0,
                setup_budget: None,
            }),
        }),
    );
    hear(socket);
    send(
        socket,
        &Message::Schema {
            tables: Vec::new(),
            database: "data".into(),
            request: Some(1),
        },
    );
    send(
        socket,
        &Message::NodeMap {
            ids: vec![("node-a".into(), 0)],
            subscribed: Vec::new(),
        },
    );
    let mut structure = TableStructure::default();
    structure.definition.table = "Dog".into();
    send(socket, &Message::TableStructure(structure));
}

/// A transaction of one record whose value cannot be decoded.
fn undecodable(key: &str, sequence: f64) -> Vec<u8> {
    let mut batch = BatchBuilder::new(WallTime(TIME));
    batch.entry(&NewEntry {
        kind: 1,
        flags: Flags::FULL,
        key: &Key::Text(key.into()).encode().unwrap(),
        version: TIME,
        value: &[0xc1],
        ..NewEntry::default()
    });
    batch.finish(Some(Sequence(sequence)))
}

/// Follows it from the log on, with these options and this level of the log. Gives the exit code and both outputs.
fn receive(url: &str, level: &str, options: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = replproto(&["receive", url, "--database", "data", "--start", "1"])
        .args(["--reconnect-delay", "10ms", "--into"])
        .arg(folder.path().join("r.db"))
        .args(options)
        .env("RUST_LOG", level)
        .output()
        .expect("the program starts");
    let (out, log) = (stdout(&output).to_owned(), stderr(&output).to_owned());
    (code(&output), out, log)
}

#[test]
fn a_flood_of_commands_or_records_is_no_flood_of_lines() {
    let copies = publisher(|socket| {
        set_up(socket);
        let start = Message::CopyStart {
            start: WallTime(TIME),
            order: 1,
        };
        while send(socket, &start) {}
    });
    let skipped = publisher(|socket| {
        set_up(socket);
        let mut sequence = TIME;
        while send_bytes(socket, undecodable("k", sequence)) {
            sequence += 1.0;
        }
    });
    for url in [copies, skipped] {
        let (code, _, log) = receive(&url, "info", &["--deadline", "2s"]);
        assert_eq!(code, Some(3), "{log}");
        assert!(log.lines().count() < 60, "{}", log.lines().count());
        assert!(
            log.contains("more lines of this kind were left out"),
            "{log}"
        );
    }
}

#[test]
fn a_storm_of_reconnects_is_no_flood_of_lines() {
    let url = publisher(|socket| {
        set_up(socket);
        send_bytes(socket, b"no message".to_vec());
    });
    let (code, _, log) = receive(&url, "info", &["--deadline", "2s", "--reconnect-jitter"]);
    assert_eq!(code, Some(3), "{log}");
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert!((1..=10).contains(&count("the link is over")), "{log}");
    assert!(count("the link is open") <= 10, "{log}");
}

#[test]
fn what_needs_a_person_is_a_warning_with_advice() {
    let malformed = publisher(|socket| {
        set_up(socket);
        send_bytes(socket, b"no message".to_vec());
    });
    let refused = publisher(|socket| {
        hear(socket);
        let _ = socket.close(Some(tokio_tungstenite::tungstenite::protocol::CloseFrame {
            code: 1008.into(),
            reason: "Unauthorized".into(),
        }));
    });
    let other = publisher(|socket| {
        hear(socket);
        let name = NodeName {
            name: Some("node-a".into()),
            database: "other".into(),
            ..NodeName::default()
        };
        send(socket, &Message::NodeName(name));
    });
    let healthy = publisher(set_up);
    for (url, options, cause) in [
        (&malformed, &["--deadline", "1s"][..], "protocol"),
        (&refused, &["--deadline", "1s"], "peer_closed"),
        (&other, &["--deadline", "1s"], "wrong_database"),
        (
            &healthy,
            &["--deadline", "1s", "--peer", "node-b"],
            "wrong_name",
        ),
    ] {
        let (_, _, log) = receive(url, "warn", options);
        let line = log.lines().find(|line| line.contains("the link is over"));
        let line = line.unwrap_or_else(|| panic!("{cause}: {log}"));
        assert!(line.contains(&format!("cause=\"{cause}\"")), "{line}");
        assert!(line.contains("WARN") && line.contains("advice="), "{line}");
    }
    // An end in order is none.
    let (code, out, log) = receive(&healthy, "warn", &["--until-idle", "200ms"]);
    assert_eq!((code, &*log), (Some(0), ""), "{out}");
    assert!(out.contains("all is complete"), "{out}");
}

#[test]
fn a_record_that_is_lost_is_told_at_once_and_at_the_end() {
    let url = publisher(|socket| {
        set_up(socket);
        send_bytes(socket, undecodable("lost-one", TIME));
    });
    let (code, out, log) = receive(&url, "warn", &["--until-idle", "300ms"]);
    assert_eq!(code, Some(0), "{log}");
    let line = log.lines().find(|line| line.contains("passed over"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    for what in ["WARN", "Dog", "lost-one", "error="] {
        assert!(line.contains(what), "{line}");
    }
    assert!(!out.contains("all is complete"), "{out}");
    assert!(out.contains("not complete: 1 record"), "{out}");
}

#[test]
fn an_authorization_file_that_is_not_there_ends_the_program_at_once() {
    let url = publisher(set_up);
    let (code, _, log) = receive(&url, "warn", &["--authorization-file", "/no/such/file"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("/no/such/file") && log.contains("Check that the file"),
        "{log}"
    );
}

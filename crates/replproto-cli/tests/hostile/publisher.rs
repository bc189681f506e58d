//! A publisher that can send anything: raw frames over a plain socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use replproto_core::wire::message::{Capabilities, NodeName};
use replproto_core::wire::{Message, SUBPROTOCOL};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::wire::{self, BINARY, CLOSE, DATABASE, GOOD, PING, PONG, TABLE, TIME, frame};

pub(crate) const NODE: &str = "node-a";

/// Far longer than anything takes: a case that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// A receiver that takes nothing for so long has stopped reading for now.
const STALL: Duration = Duration::from_secs(2);

/// The record that ends most cases: if it arrives, all before it has been dealt with.
pub(crate) const LAST_KEY: &str = "last";
/// Its version and its sequence, above all others.
pub(crate) const LAST: f64 = TIME + 1e9;

/// A connection of the receiver, before its upgrade.
pub(crate) struct Dial {
    stream: TcpStream,
    /// The head of its request.
    request: String,
}

impl Dial {
    pub(crate) fn accept(mut stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            request.push(byte[0]);
        }
        let request = String::from_utf8(request).expect("a head of ASCII");
        Ok(Self { stream, request })
    }

    /// Sends bytes as they are; false: the receiver has gone.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The head that accepts the upgrade, with more header lines.
    pub(crate) fn acceptance(&self, more: &str) -> String {
        let mut lines = self.request.split("\r\n");
        let key = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_key = name.eq_ignore_ascii_case("sec-websocket-key");
            is_key.then(|| derive_accept_key(value.trim().as_bytes()))
        });
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n{more}\r\n",
            key.expect("a key")
        )
    }

    /// Accepts the upgrade.
    pub(crate) fn upgrade(mut self) -> Link {
        let acceptance = self.acceptance("");
        self.raw(acceptance.as_bytes());
        self.upgraded()
    }

    /// The upgrade has been accepted.
    pub(crate) fn upgraded(self) -> Link {
        Link::over(self.stream)
    }
}

/// What the receiver said.
#[derive(Debug)]
enum Said {
    Message(Message),
    /// The close frame, or the end of the connection.
    Over,
}

/// One link of the receiver.
pub(crate) struct Link {
    /// Pongs are sent by the thread that listens.
    out: Arc<Mutex<TcpStream>>,
    /// To break it while somebody is sending.
    stream: TcpStream,
    said: Mutex<Receiver<Said>>,
    is_deaf: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Link {
    /// The stream has been upgraded.
    fn over(stream: TcpStream) -> Self {
        let (tell, said) = mpsc::channel();
        let other = || stream.try_clone().expect("another handle");
        let (input, out) = (other(), Arc::new(Mutex::new(other())));
        let (is_deaf, is_over) = (Arc::default(), Arc::default());
        let ears = Ears {
            input,
            out: Arc::clone(&out),
            is_deaf: Arc::clone(&is_deaf),
        };
        let ends = Arc::clone(&is_over);
        thread::spawn(move || {
            ears.listen(|said| {
                if matches!(said, Said::Over) {
                    AtomicBool::store(&ends, true, Ordering::Relaxed);
                }
                // A case that has ended hears nothing any more.
                let _ = tell.send(said);
            });
        });
        Self {
            out,
            stream,
            said: Mutex::new(said),
            is_deaf,
            is_over,
            sent: Arc::default(),
        }
    }

    /// Stops reading what the receiver says. One thing more may be heard.
    pub(crate) fn go_deaf(&self) {
        self.is_deaf.store(true, Ordering::Relaxed);
    }

    /// Whether the receiver has ended the link.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Sends whole frames, or what claims to be. What a link that is over gets is lost.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        // A pong comes before or after them, and not within.
        let mut out = self.out.lock().expect("no thread panics");
        for part in bytes.chunks(64 << 10) {
            if self.is_over() {
                return;
            }
            if let Err(error) = out.write_all(part) {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "it reads no more");
                self.is_over.store(true, Ordering::Relaxed);
            }
            self.sent.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
    }

    /// Sends a message in one frame.
    pub(crate) fn send(&self, message: &[u8]) {
        self.raw(&frame(BINARY, message));
    }

    /// Sends something short so many times.
    pub(crate) fn flood(&self, bytes: &[u8], times: usize) {
        let at_once = ((64 << 10) / bytes.len()).clamp(1, times);
        let block = bytes.repeat(at_once);
        for _ in 0..times / at_once {
            self.raw(&block);
        }
        self.raw(&block[..times % at_once * bytes.len()]);
    }

    /// Breaks the connection.
    pub(crate) fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn hear(&self) -> Said {
        let said = self.said.lock().expect("no thread panics");
        match said.recv_timeout(PATIENCE) {
            Ok(said) => said,
            Err(RecvTimeoutError::Timeout) => panic!("the receiver says nothing"),
            Err(RecvTimeoutError::Disconnected) => Said::Over,
        }
    }

    /// Says who it is, once the receiver has.
    pub(crate) fn greet(&self, name: &str) {
        assert!(matches!(self.hear(), Said::Message(Message::NodeName(_))));
        let name = Message::NodeName(NodeName {
            name: Some(name.into()),
            database: DATABASE.into(),
            tables: Vec::new(),
            capabilities: Some(Capabilities {
                setup_ack: 1.0,
                setup_budget: None,
            }),
        });
        self.send(&name.encode());
    }

    /// Waits for the subscription; gives where it starts and its number.
    pub(crate) fn subscription(&self) -> (f64, Option<u32>) {
        match self.hear() {
            Said::Message(Message::SubscriptionRequest(request)) => {
                (request.subscriptions[0].start.0, request.request)
            }
            other => panic!("no subscription, but {other:?}"),
        }
    }

    /// Answers the subscription, and sends what records need.
    pub(crate) fn answer(&self, request: Option<u32>) {
        self.send(&wire::schema([], request));
        let nodes = Message::NodeMap {
            ids: vec![(NODE.into(), 0)],
            subscribed: Vec::new(),
        };
        self.send(&nodes.encode());
        self.send(&wire::structure(1, TABLE, &[&["k"]], None));
    }

    /// All that comes before the first record. Gives where the subscription starts.
    pub(crate) fn set_up(&self) -> f64 {
        self.greet(NODE);
        let (start, request) = self.subscription();
        self.answer(request);
        start
    }

    /// Sends the last record.
    pub(crate) fn send_last(&self) {
        let entry = wire::Entry {
            version: LAST,
            ..wire::Entry::put(LAST_KEY.as_bytes(), GOOD)
        };
        self.send(&wire::batch(&[entry.bytes()], Some(LAST)));
    }

    /// Waits until this is confirmed; false: the link has ended first.
    pub(crate) fn is_confirmed(&self, sequence: f64) -> bool {
        loop {
            match self.hear() {
                Said::Message(Message::CommittedUpdate(confirmed)) if confirmed.0 >= sequence => {
                    return true;
                }
                Said::Message(_) => {}
                Said::Over => return false,
            }
        }
    }

    /// Sends until the receiver takes no more for now, then does something else, and waits for the sending to end.
    pub(crate) fn send_while_stalled(
        &self,
        send: impl FnOnce() + Send,
        during_stall: impl FnOnce(),
    ) {
        thread::scope(|scope| {
            let sending = scope.spawn(send);
            let (mut sent, mut since) = (0, Instant::now());
            while !sending.is_finished() && since.elapsed() < STALL {
                thread::sleep(Duration::from_millis(20));
                let now = self.sent.load(Ordering::Relaxed);
                if now != sent {
                    (sent, since) = (now, Instant::now());
                }
            }
            during_stall();
        });
    }
}

/// What hears the receiver, and answers its pings.
struct Ears {
    input: TcpStream,
    out: Arc<Mutex<TcpStream>>,
    is_deaf: Arc<AtomicBool>,
}

impl Ears {
    fn listen(mut self, mut tell: impl FnMut(Said)) {
        while let Ok((opcode, payload)) = self.frame() {
            match opcode {
                BINARY => {
                    let message = Message::decode(&payload).expect("a message of the protocol");
                    tell(Said::Message(message));
                }
                PING => self.reply(PONG, &payload),
                CLOSE => {
                    self.reply(CLOSE, &payload);
                    // The side that accepted closes the connection.
                    let _ = self.input.shutdown(Shutdown::Both);
                    break;
                }
                PONG => {}
                other => panic!("a frame with opcode {other}"),
            }
            if self.is_deaf.load(Ordering::Relaxed) {
                return;
            }
        }
        tell(Said::Over);
    }

    fn reply(&self, opcode: u8, payload: &[u8]) {
        let mut out = self.out.lock().expect("no thread panics");
        // Whether the receiver is still there is seen by the next read.
        let _ = out.write_all(&frame(opcode, payload));
    }

    /// The next frame: receivers mask what they send, and cut nothing in pieces.
    fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let [first, second] = self.take()?;
        assert_eq!((first & 0x80, second & 0x80), (0x80, 0x80));
        let length = match second & 0x7f {
            126 => usize::from(u16::from_be_bytes(self.take()?)),
            127 => u64::from_be_bytes(self.take()?) as usize,
            short => usize::from(short),
        };
        let mask: [u8; 4] = self.take()?;
        let mut payload = vec![0; length];
        self.input.read_exact(&mut payload)?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Ok((first & 0x0f, payload))
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

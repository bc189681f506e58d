//! The frames of a WebSocket, whole and in pieces.

use replproto_tokio::web_socket::frame::{
    FrameError, FrameItem, FrameLimits, FrameReader, MessageKind, Role,
};

use super::alloc;

/// What it may take besides the input and a copy of it.
const FREE: usize = 4096;

/// What came, so that it does not depend on where it was cut.
#[derive(Debug, Default, PartialEq)]
struct Trace {
    messages: Vec<(bool, Vec<u8>)>,
    /// The last of them has not ended.
    is_open: bool,
    others: Vec<(usize, FrameItem)>,
    error: Option<FrameError>,
}

impl Trace {
    /// Reads the bytes in pieces of these lengths, repeated.
    fn read(role: Role, limits: FrameLimits, data: &[u8], pieces: &[usize]) -> Self {
        let mut reader = FrameReader::new(role, limits);
        let mut trace = Self::default();
        let mut unread = Vec::new();
        let mut rest = data;
        for piece in pieces.iter().cycle() {
            let (piece, later) = rest.split_at((*piece).min(rest.len()));
            unread.extend_from_slice(piece);
            loop {
                match reader.read(&mut unread) {
                    Ok(Some(step)) => {
                        let used = step.skip + step.length;
                        assert!(used > 0 || step.item.is_some(), "a step to nowhere");
                        let payload = &unread[step.skip..used];
                        trace.add(step.item, payload);
                        unread.drain(..used);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(reader.read(&mut unread), Err(error), "it is final");
                        trace.error = Some(error);
                        if std::mem::take(&mut trace.is_open) {
                            // How much of it came before the error depends on the cuts.
                            trace.messages.pop();
                        }
                        return trace;
                    }
                }
            }
            let is_closed = matches!(trace.others.last(), Some((_, FrameItem::Close { .. })));
            assert!(
                unread.len() <= 130 || is_closed,
                "{} are left",
                unread.len()
            );
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        trace
    }

    fn add(&mut self, item: Option<FrameItem>, payload: &[u8]) {
        match item {
            None => {}
            Some(FrameItem::Part { kind, last }) => {
                let is_text = kind == MessageKind::Text;
                let is_first = !self.is_open;
                if is_first {
                    self.messages.push((is_text, Vec::new()));
                }
                if let Some((was_text, message)) = self.messages.last_mut() {
                    assert_eq!(*was_text, is_text, "a message changes its kind");
                    assert!(
                        is_first || last || !payload.is_empty(),
                        "a part without bytes"
                    );
                    message.extend_from_slice(payload);
                    if last && is_text {
                        assert!(str::from_utf8(message).is_ok());
                    }
                }
                self.is_open = !last;
            }
            Some(other) => {
                assert!(payload.len() <= 125);
                // Where it came between the messages.
                self.others.push((self.messages.len(), other));
            }
        }
    }
}

/// Runs the input: options, the lengths of two pieces, and the bytes of a connection.
///
/// # Panics
/// A rule does not hold.
pub fn run(data: &[u8]) {
    let [options, first, second, data @ ..] = data else {
        return;
    };
    let role = if options & 1 == 0 {
        Role::Client
    } else {
        Role::Server
    };
    let limits = if options & 2 == 0 {
        FrameLimits::message(1 << 40)
    } else {
        FrameLimits {
            frame: 40,
            message: 100,
            frames: 4,
        }
    };
    let pieces = [usize::from(*first) + 1, usize::from(*second) + 1];
    let whole = alloc::within(FREE + 64 * data.len(), || {
        Trace::read(role, limits, data, &[usize::MAX])
    });
    for pieces in [&pieces[..], &[1]] {
        assert_eq!(Trace::read(role, limits, data, pieces), whole);
    }
}

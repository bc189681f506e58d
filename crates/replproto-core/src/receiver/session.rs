//! The conversation with the peer: names, the subscription, and every deadline of it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::close::CloseReason;
use crate::command::Command;
use crate::config::{Mode, TableFilter};
use crate::cursor::{Cursor, Start};
use crate::error::{LinkError, Misuse, Watchdog};
use crate::event::{Event, Schema};
use crate::id::Name;
use crate::key::Key;
use crate::table::TableDefinition;
use crate::text::{self, TEXT_MAX};
use crate::time::Sequence;
use crate::wire::message::{Capabilities, CopyResume, NodeName, Subscription, SubscriptionRequest};
use crate::wire::{Message, WireError};

use super::context::Beyond;
use super::decoder::Item;
use super::timers::Timer;
use super::{Life, Receiver};

/// A peer may ask for at most this many times our own budget for its set-up.
const SETUP_BUDGET_FACTOR: u32 = 4;

/// While a base copy is under way a peer may be silent this many times longer, since it may be busy reading
/// (`protocol.md` section 10, issue #460).
const COPY_SILENCE_FACTOR: u32 = 5;

/// Silent blobs are looked for at most this often within a blob timeout.
const IDLE_STEPS: u32 = 128;

/// So many blobs are given up at a time: each gives an event, which is held until it can be handed out.
pub(super) const IDLE_AT_A_TIME: usize = 1024;

/// An old peer is told the names of so many bytes of tables to leave out. The others come, and are passed over.
const UNWANTED_BYTES_MAX: usize = 16 << 10;

/// Connections for this database bring the definitions of every other one as well (`protocol.md` section 3.4).
const SYSTEM: &str = "system";

/// The only request of a link.
const REQUEST: u32 = 1;

#[derive(Debug)]
pub(super) struct Session {
    start: Start,
    phase: Phase,
    peer: Option<Name>,
    /// The tables that the peer has, as far as a text of limited length goes.
    offered: String,
}

#[derive(Debug, PartialEq)]
enum Phase {
    /// The socket is not open yet.
    Unconnected,
    /// Our name is sent, that of the peer is not here.
    Greeting,
    /// The subscription is sent, and not answered. `request`: the answer will name it.
    Subscribing { request: Option<u32>, is_old: bool },
    /// Set up.
    Following,
}

impl Session {
    pub(super) const fn new(start: Start) -> Self {
        Self {
            start,
            phase: Phase::Unconnected,
            peer: None,
            offered: String::new(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.phase != Phase::Unconnected
    }

    pub(super) const fn is_following(&self) -> bool {
        matches!(self.phase, Phase::Following)
    }

    pub(super) const fn peer(&self) -> Option<&Name> {
        self.peer.as_ref()
    }

    pub(super) fn offered(&self) -> &str {
        &self.offered
    }

    /// Where the subscription starts, and which copy it goes on with.
    pub(super) fn request_start(&self, mode: Mode) -> (Sequence, Option<CopyResume>) {
        match &self.start {
            Start::Copy => (Sequence(0.0), None),
            Start::At(sequence) => (*sequence, None),
            Start::Resume(Cursor {
                sequence,
                copy: None,
                ..
            }) => (*sequence, None),
            Start::Resume(Cursor {
                copy: Some(copy), ..
            }) => {
                // An id that cannot be read back cannot be sent either: the copy then begins anew.
                let mut after_key = Vec::new();
                let key =
                    Key::decode(&copy.after_key).and_then(|key| key.write_control(&mut after_key));
                let can_resume = mode == Mode::B && key.is_ok();
                let resume = can_resume.then(|| CopyResume {
                    start: copy.copy_start,
                    table: copy.table.to_string(),
                    after_key,
                    order: copy.order,
                });
                (Sequence(0.0), resume)
            }
        }
    }
}

/// The names of tables, of a text of at most [`TEXT_MAX`] bytes.
fn joined(tables: &[TableDefinition]) -> String {
    let mut names = String::new();
    for TableDefinition { table, .. } in tables {
        if names.len() > TEXT_MAX {
            break;
        }
        if !names.is_empty() {
            names.push_str(", ");
        }
        names.push_str(table);
    }
    text::cut(names, TEXT_MAX)
}

/// The tables that the peer has and nobody wants: as many as fit into a request of ordinary size.
fn unwanted(filter: &TableFilter, tables: Vec<TableDefinition>) -> Vec<String> {
    let mut left = UNWANTED_BYTES_MAX;
    let names = tables.into_iter().map(|definition| definition.table);
    names
        .filter(|name| !filter.wants(name))
        .take_while(|name| {
            let fits = name.len() <= left;
            left = left.saturating_sub(name.len());
            fits
        })
        .collect()
}

impl Receiver {
    pub(super) fn connected(&mut self) -> Result<(), Misuse> {
        if self.session.is_connected() {
            return Err(Misuse::OutOfOrder);
        }
        if self.is_ending() {
            // It comes too late.
            return Ok(());
        }
        self.session.phase = Phase::Greeting;
        let capabilities = (self.config.mode == Mode::B).then_some(Capabilities {
            setup_ack: 1.0,
            setup_budget: Some(self.config.timeouts.setup.as_millis() as f64),
        });
        self.transmit(&Message::NodeName(NodeName {
            name: Some(self.config.node_name.clone()),
            database: self.config.database.clone(),
            tables: Vec::new(),
            capabilities,
        }));
        self.ping();
        self.heard();
        self.timers.set(Timer::Setup, self.config.timeouts.setup);
        Ok(())
    }

    fn ping(&mut self) {
        if !self
            .control
            .iter()
            .any(|command| matches!(command, Command::Ping))
        {
            self.stats.pings += 1;
            self.control.push_back(Command::Ping);
        }
        self.timers
            .set(Timer::Ping, self.config.timeouts.ping_interval);
    }

    /// The peer is alive. Whether reading is paused is what the link's clock says: while a part is decoded the reasons may
    /// be gone for a moment and come back, without a pause that ends.
    pub(super) fn heard(&mut self) {
        let is_reading = !self.timers.is_paused() && !self.is_draining();
        if is_reading && self.session.is_connected() {
            let limit = self.silence_limit();
            self.timers.set(Timer::Silence, limit);
        }
    }

    /// A part of a message came. A message that has begun must go on: nothing else can come before its end, and what came of
    /// its transaction waits for it. Signs of life are none of it, and neither are parts without a byte.
    pub(super) fn watch_message(&mut self, is_empty: bool, is_last: bool) {
        let limit = self.config.timeouts.message;
        if is_last || self.is_draining() {
            self.timers.clear(Timer::Message);
        } else if is_empty {
            self.timers.start(Timer::Message, limit);
        } else {
            self.timers.set(Timer::Message, limit);
        }
    }

    fn silence_limit(&self) -> Duration {
        let timeouts = &self.config.timeouts;
        let usual = timeouts.ping_timeout;
        if self.copying.is_under_way() {
            usual
                .saturating_mul(COPY_SILENCE_FACTOR)
                .min(timeouts.copy_timeout)
                .max(usual)
        } else {
            usual
        }
    }

    /// A deadline has passed.
    pub(super) fn fire(&mut self, timer: Timer) {
        let timeouts = self.config.timeouts;
        match timer {
            Timer::Drain => self.close(CloseReason::DrainTimedOut),
            Timer::LastWord => self.had_last_word(),
            Timer::Ping => self.ping(),
            Timer::Confirm => self.confirm(),
            // Nothing else ends a link that is ending.
            _ if self.is_ending() => {}
            Timer::Silence => self.timed_out(Watchdog::Silence, self.silence_limit()),
            Timer::Setup => self.timed_out(Watchdog::Setup, timeouts.setup),
            Timer::PauseStall => {
                let reasons = self.flow.reasons();
                self.timed_out(Watchdog::PauseStall(reasons), timeouts.pause_stall);
            }
            Timer::NotReady => self.timed_out(Watchdog::NotReady, timeouts.not_ready),
            Timer::BlobIdle => self.fail_idle_blobs(),
            Timer::BlobGap => self.timed_out(Watchdog::BlobGap, timeouts.blob_gap),
            Timer::Message => self.timed_out(Watchdog::Message, timeouts.message),
            Timer::CopyProgress => self.timed_out(Watchdog::CopyProgress, timeouts.blob),
            Timer::CopyFinish => self.timed_out(Watchdog::CopyFinish, timeouts.copy_timeout),
        }
    }

    /// So many as may be told at a time; the rest when the timer comes again.
    fn fail_idle_blobs(&mut self) {
        let (timeout, now) = (self.config.timeouts.blob, self.timers.link_now());
        let idle = self.blobs.idle(timeout, now).into_iter();
        for key in idle.take(IDLE_AT_A_TIME) {
            if let Some(failure) = self.blobs.fail_idle(key) {
                self.blob_has_failed(failure);
            }
        }
        // Never again at once, so that many blobs that fall silent one by one are not searched for each of them.
        let soonest = now + timeout / IDLE_STEPS;
        let oldest = self.blobs.oldest_activity();
        let next = oldest.map(|oldest| (oldest + timeout).max(soonest));
        self.timers.set_link_time(Timer::BlobIdle, next);
    }

    /// What the peer sends must be its turn: nothing is for the application before the peer has said its name and has answered
    /// the subscription, since only these say whose data it is. Gives false if that ended the link.
    pub(super) fn admits(&mut self, item: &Item) -> bool {
        let what = match item {
            Item::Entry(_) | Item::Oversized { .. } | Item::EndOfBatch(_) => "a batch",
            Item::Chunk(_) => "a blob",
            Item::Command(message) => match message {
                Message::Schema { .. } if self.session.peer.is_some() => return true,
                Message::Schema { .. } => "DB_SCHEMA",
                Message::NodeMap { .. } => "NODE_NAME_TO_ID_MAP",
                Message::TableStructure(_) => "TABLE_FIXED_STRUCTURE",
                Message::ResidencyList { .. } => "RESIDENCY_LIST",
                Message::SequenceUpdate(_) => "SEQUENCE_ID_UPDATE",
                Message::CopyStart { .. } => "COPY_START",
                Message::CopyComplete => "COPY_COMPLETE",
                _ => return true,
            },
            Item::Body { .. } | Item::EndOfMessage => return true,
        };
        let missing = match self.session.peer {
            None => "its NODE_NAME",
            Some(_) => "the answer to the subscription",
        };
        self.fail(LinkError::TooSoon {
            message: self.decoder.message(),
            what,
            missing,
        });
        false
    }

    fn wrong_database(&mut self, actual: String) {
        self.fail(LinkError::WrongDatabase {
            expected: self.config.database.clone(),
            actual: text::cut(actual, TEXT_MAX),
        });
    }

    pub(super) fn node_name(&mut self, node: NodeName) {
        let Some(name) = node.name.filter(|name| !name.is_empty()) else {
            return;
        };
        let known = self.session.peer.as_deref();
        let expected = known.or(self.config.peer_name.as_deref());
        if let Some(expected) = expected.filter(|expected| *expected != name) {
            let expected = expected.to_string();
            return self.fail(LinkError::WrongName {
                expected,
                actual: text::cut(name, TEXT_MAX),
            });
        }
        // A peer that answers names the database that it has bound, which is the one that we asked for.
        if !node.database.is_empty() && node.database != self.config.database {
            return self.wrong_database(node.database);
        }
        if self.session.phase != Phase::Greeting {
            return;
        }
        if name.len() > TEXT_MAX {
            // It is kept and repeated; the protocol's are names of hosts.
            return self.malformed(WireError::Field {
                command: "NODE_NAME",
                field: "nodeName",
            });
        }
        self.session.peer = Some(name.as_str().into());
        self.session.offered = joined(&node.tables);
        let is_old = node.capabilities.is_none();
        let capabilities = node.capabilities.unwrap_or_default();
        self.extend_setup(capabilities.setup_budget);
        let takes_request = self.config.mode == Mode::B && capabilities.setup_ack >= 1.0;
        let request = takes_request.then_some(REQUEST);
        self.session.phase = Phase::Subscribing { request, is_old };
        let (start, copy_resume) = self.session.request_start(self.config.mode);
        let (replicate_by_default, tables) = match &self.config.tables {
            TableFilter::All => (true, Vec::new()),
            TableFilter::Except(tables) => (true, tables.clone()),
            // An old peer copies no row for who names tables, but knows which to leave out (`publisher.md` section 4.4). What
            // it has and does not say is passed over here.
            filter @ TableFilter::Only(_) if is_old => (true, unwanted(filter, node.tables)),
            TableFilter::Only(tables) => (false, tables.clone()),
        };
        let mut excluded = alloc::vec![self.config.node_name.clone()];
        excluded.extend_from_slice(&self.config.excluded_origins);
        let request = SubscriptionRequest {
            mode: self.config.mode,
            subscriptions: alloc::vec![Subscription {
                name,
                replicate_by_default,
                tables,
                start,
                is_leader: None,
                end: None,
                copy_resume,
            }],
            excluded,
            request,
        };
        self.transmit(&Message::SubscriptionRequest(request));
    }

    /// The peer may need longer for its set-up than we would wait, and says so; but it cannot switch our watchdog off.
    fn extend_setup(&mut self, budget: Option<f64>) {
        let own = self.config.timeouts.setup;
        let most = own.saturating_mul(SETUP_BUDGET_FACTOR);
        let asked = budget
            .filter(|ms| *ms > 0.0)
            .map_or(own, |ms| Duration::from_millis(ms as u64));
        self.timers.set(Timer::Setup, asked.clamp(own, most));
    }

    /// DB_SCHEMA. It must be about our database, unless that is `system`, where others are passed over if nobody asked.
    pub(super) fn schema(
        &mut self,
        mut tables: Vec<TableDefinition>,
        database: &str,
        answers: Option<u32>,
    ) {
        let is_ours = database == self.config.database;
        if !is_ours && (answers == Some(REQUEST) || self.config.database != SYSTEM) {
            return self.wrong_database(database.to_string());
        }
        let Some(peer) = self.session.peer.clone().filter(|_| is_ours) else {
            return;
        };
        if let Phase::Subscribing { request, is_old } = self.session.phase
            // Only the answer to our request proves that the publisher has begun to send (`protocol.md` section 3.4).
            && (request.is_none() || answers == request)
        {
            self.set_up(is_old);
        }
        if let Err(Beyond) = self.context.set_schema(&tables) {
            return self.beyond_context();
        }
        // An old peer lists what it was not told to leave out.
        tables.retain(|definition| self.config.tables.wants(&definition.table));
        let schema = Event::Schema(Schema {
            peer,
            database: database.into(),
            tables: tables.into(),
        });
        // The schema first, then what setting up may have caused.
        self.pending.push_front(schema);
    }

    /// Takes the conversation at the start of a link as held, with a peer of this name unless it has said another: for a tool that
    /// looks at messages from the middle of one.
    pub fn assume_set_up(&mut self, peer: &str) {
        if !self.is_set_up() && matches!(self.life, Life::Open) {
            self.session.peer.get_or_insert_with(|| peer.into());
            self.set_up(false);
        }
    }

    fn set_up(&mut self, is_old: bool) {
        self.session.phase = Phase::Following;
        self.timers.clear(Timer::Setup);
        self.watch_readiness();
        let (start, _) = self.session.request_start(self.config.mode);
        if is_old && start.0 == 0.0 {
            // An old peer does not announce its copy.
            self.start_copy(None);
        }
        if let Start::Resume(Cursor {
            announced,
            copy: None,
            ..
        }) = &self.session.start
            && announced.0 > 0.0
        {
            // The last link may have ended between a commit and its confirmation (`protocol.md` section 15, ruling 8).
            self.confirm = Some(*announced);
            self.timers
                .start(Timer::Confirm, self.config.timeouts.confirm_delay);
        }
    }
}

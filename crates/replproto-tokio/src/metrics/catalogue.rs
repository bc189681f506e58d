//! Every metric: its name, and what it means. `docs/metrics.md` has the same as a table.

use metrics::{
    Counter, Gauge, Histogram, Label, Unit, counter, describe_counter, describe_gauge,
    describe_histogram, gauge, histogram,
};

/// What kind of a metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A whole number that only rises.
    Counter,
    /// A number that may fall.
    Gauge,
    /// A time that only rises. It is registered as a gauge: counters of the facade are whole numbers, and a time in seconds is
    /// none.
    TimeTotal,
    /// A distribution.
    Histogram,
}

/// A metric that this crate publishes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// The label that it has besides those of its link, if it has one.
    pub label: Option<&'static str>,
    /// What it means.
    pub help: &'static str,
}

impl Metric {
    /// Tells the recorder what it means.
    pub(super) fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, self.unit, self.help),
            Kind::Gauge | Kind::TimeTotal => describe_gauge!(self.name, self.unit, self.help),
            Kind::Histogram => describe_histogram!(self.name, self.unit, self.help),
        }
    }

    pub(super) fn counter(&self, labels: Vec<Label>) -> Counter {
        debug_assert!(self.kind == Kind::Counter);
        counter!(self.name, labels)
    }

    pub(super) fn gauge(&self, labels: Vec<Label>) -> Gauge {
        debug_assert!(matches!(self.kind, Kind::Gauge | Kind::TimeTotal));
        gauge!(self.name, labels)
    }

    pub(super) fn histogram(&self, labels: Vec<Label>) -> Histogram {
        debug_assert!(self.kind == Kind::Histogram);
        histogram!(self.name, labels)
    }
}

macro_rules! catalogue {
    ($($id:ident = $kind:ident $name:literal $unit:ident $([$label:literal])? $help:literal;)+) => {
        $(
            pub(super) const $id: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                label: catalogue!(@ $($label)?),
                help: $help,
            };
        )+

        /// Every metric that this crate publishes.
        pub const METRICS: &[Metric] = &[$($id),+];
    };
    (@) => { None };
    (@ $label:literal) => { Some($label) };
}

catalogue! {
    UP = Gauge "replproto_up" Count
        "1 while the peer has answered the subscription: a base copy is under way, or its log is followed.";
    PHASE = Gauge "replproto_phase" Count ["phase"]
        "1 for what is going on: dialing, setting_up, copying, following, storing what a link that is over has brought, or \
         waiting for the next dial.";
    LINKS = Counter "replproto_links_total" Count
        "Links that were opened.";
    RECONNECTS = Counter "replproto_reconnects_total" Count ["cause"]
        "How often a link, or the attempt at one, came to an end and another followed. The causes up to dial_timeout are those \
         of dials that came to nothing.";
    BYTES = Counter "replproto_received_bytes_total" Bytes
        "Bytes of messages received.";
    MESSAGES = Counter "replproto_messages_total" Count
        "Messages received.";
    UNKNOWN_COMMANDS = Counter "replproto_unknown_commands_total" Count
        "Commands that the protocol does not know, ignored.";
    RECORDS = Counter "replproto_records_total" Count
        "Records handed out.";
    TRANSACTIONS = Counter "replproto_transactions_total" Count
        "Transactions handed out.";
    CHECKPOINTS = Counter "replproto_checkpoints_total" Count
        "Cursors handed out without a transaction, those at the end of a base copy included.";
    EVENTS = Counter "replproto_events_total" Count
        "Events handed out, each record as one.";
    SKIPPED = Counter "replproto_skipped_total" Count ["kind"]
        "Entries passed over: unknown (of an unknown type), local (only for the sender itself), unwanted (of a table that is \
         not followed), undecodable (the value cannot be walked), host (the store could not decode the id or the value).";
    AMBIGUOUS = Counter "replproto_ambiguous_total" Count ["class"]
        "Entries after which a row may not be the publisher's, since the protocol does not say what it did. The classes are those of \
         docs/operating.md; `_replproto_doubt` lists the rows.";
    COMMITS = Counter "replproto_commits_total" Count
        "Transactions and checkpoints that became durable.";
    STORAGE_COMMITS = Counter "replproto_storage_commits_total" Count
        "Commits of the store. Small transactions share one.";
    CONFIRMATIONS = Counter "replproto_confirmations_total" Count
        "Confirmations sent to the peer.";
    LAG = Gauge "replproto_confirmation_lag_seconds" Seconds
        "Age of the oldest transaction received that is not durable with all its blobs: nothing after it can be confirmed. It \
         counts from its first record on. 0: there is none.";
    LATENCY = Histogram "replproto_replication_latency_seconds" Seconds
        "For each transaction, from the version of its first record, by the clock of its origin, to being durable here. Base \
         copies do not count; what would be negative is 0.";
    PAUSED = Gauge "replproto_paused" Count ["reason"]
        "1 while reading is paused for this reason.";
    PAUSES = Counter "replproto_pauses_total" Count ["reason"]
        "How often reading was paused for this reason.";
    PAUSE_SECONDS = TimeTotal "replproto_pause_seconds_total" Seconds ["reason"]
        "How long reading was paused for this reason, the pause under way included. Reasons may hold at the same time.";
    QUEUE_BYTES = Gauge "replproto_queue_bytes" Bytes ["queue"]
        "Bytes held: inbound (of messages, not decoded or still in use; what the link retains), consumer (of events that are \
         out), blobs (of chunks that are not written).";
    QUEUE_BYTES_HIGH = Gauge "replproto_queue_high_bytes" Bytes ["queue"]
        "Above so many bytes of this queue reading is paused.";
    QUEUE_BYTES_PEAK = Gauge "replproto_queue_peak_bytes" Bytes ["queue"]
        "The most bytes that this queue, inbound or blobs, held at a time.";
    QUEUE_ITEMS = Gauge "replproto_queue_items" Count ["queue"]
        "Things held: consumer (events that are out), commits (transactions and checkpoints that are not durable).";
    QUEUE_ITEMS_HIGH = Gauge "replproto_queue_high_items" Count ["queue"]
        "Above so many things in this queue reading is paused.";
    QUEUE_ITEMS_PEAK = Gauge "replproto_queue_peak_items" Count ["queue"]
        "The most things that this queue, consumer, held at a time.";
    BLOBS_OPENED = Counter "replproto_blobs_opened_total" Count
        "Transfers of blobs that began.";
    BLOBS_SAVED = Counter "replproto_blobs_saved_total" Count
        "Blobs saved.";
    BLOB_BYTES = Counter "replproto_blob_bytes_total" Bytes
        "Bytes of blobs handed to the store.";
    BLOBS_FAILED = Counter "replproto_blobs_failed_total" Count ["class"]
        "Blobs that failed: held (the cursor stays until it has come again), gone (never to come, the cursor passes it); and \
         aborted: transfers that were broken off, for one of those or by the end of the link.";
    BLOB_FAULTS = Counter "replproto_blob_faults_total" Count ["reason"]
        "Why blobs were held or gone: source (not readable there), idle (its bytes stopped coming), size (not as many bytes as \
         announced), local (the store could not save it).";
    BLOBS_MISSING = Gauge "replproto_blobs_missing" Count
        "Blobs that failed and hold the cursor until they have come again.";
    CHUNKS_DROPPED = Counter "replproto_chunks_dropped_total" Count
        "Chunks of blobs that nobody needs any more, dropped.";
    WATCHDOGS = Counter "replproto_watchdog_fires_total" Count ["watchdog"]
        "What was waited for in vain: silence, setup, pause_stall, not_ready, blob_gap, message, copy_progress and \
         copy_finish end the link; blob_idle only fails a blob.";
    LATE_ACKNOWLEDGEMENTS = Counter "replproto_late_acknowledgements_total" Count
        "Acknowledgements of an earlier link or of something that is over, ignored.";
    PINGS = Counter "replproto_pings_total" Count
        "Pings sent.";
}

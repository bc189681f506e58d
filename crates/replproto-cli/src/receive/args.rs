//! The options of `replproto receive`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use replproto_core::config::{FlowControl, RECORD_MAX, TableFilter, Timeouts};
use replproto_core::{Config, Sequence, Start};
use replproto_tokio::Endpoint;

use super::bound;
use super::choices::{LargeRecordArg, ModeArg, OnGapArg, OnWiderArg};
use super::marks::{Pair, amount};
use super::tls::TlsArgs;
use crate::address::Address;
use crate::duration;
use crate::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  replproto receive ws://db1.example.com:9933 --database data --into data.sqlite
  replproto receive ws://10.0.0.5 --database data --into data.sqlite --tables Dog,Cat --peer node-a
  replproto receive ws://10.0.0.5 --database data --into data.sqlite --metrics 127.0.0.1:9464
  replproto receive ws://10.0.0.5 --database data --export-state state.json --until-idle 2s --deadline 10m
  replproto receive wss://db1.example.com --database data --into data.sqlite --tls-ca ca.pem --tls-cert us.pem \\
    --tls-key us.key
  sqlite3 data.sqlite 'SELECT record->>'\\''name'\\'' FROM \"Dog\"'

Without a port it is 9933. Durations are milliseconds, or have a unit: 1500ms, 2s, 5m, 1h. Marks are HIGH or HIGH:LOW (low: half
of high), in items, or in bytes with a unit such as KiB, MiB or GiB. docs/operating.md says what pauses, ends and metrics mean.

An interrupt (or SIGTERM) ends the link after what is in hand has been stored; a second one ends the program at once.

Exit codes: 0 ended as asked (--until-idle, or an interrupt); 1 something went wrong: a place that cannot be written to, a store
that failed ten times in a row, or a mistake that the first dial has shown and no other can heal, such as an authorization
file that is not there or a peer with another database; 2 the options are wrong; 3 the deadline passed; 130 a second interrupt.";

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", bound::help())
}

#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub(crate) struct ReceiveArgs {
    /// Where the publisher is: ws://HOST[:PORT][/PATH], or wss:// for TLS
    pub(super) url: Endpoint,
    /// The database to follow
    #[arg(long)]
    pub(super) database: String,
    /// The SQLite file to keep the records in (needed, unless there is --export-state: then a temporary one will do)
    #[arg(long, value_name = "FILE")]
    pub(super) into: Option<PathBuf>,
    /// The folder to keep blobs in [default: beside the SQLite file, with .blobs after its name]
    #[arg(long, value_name = "DIR")]
    pub(super) blobs: Option<PathBuf>,

    /// The name of this node, which no other node of the publisher may have [default: replproto-HOSTNAME]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// The name that the publisher must have; any if left out. It is also what its certificate must be for, and names the link
    /// in the SQLite file in place of the publisher's host and port: to give another one later begins a new link
    #[arg(long, value_parser = optional)]
    pub(super) peer: Option<Optional>,
    /// Which generation of the protocol to advertise: A (version 5.1) or B (5.2, which works with publishers of 5.1 too)
    #[arg(long, value_enum, default_value = "B", ignore_case = true)]
    mode: ModeArg,
    /// Where to begin when no cursor is stored: `copy` (or 0) for a base copy, else a position in the publisher's log: a
    /// date in milliseconds since 1970, of which 1 is the beginning
    #[arg(long, value_parser = start, default_value = "copy")]
    pub(super) start: Start,
    /// Begin at --start although a cursor is stored. To be given once, by hand: it holds for each start of the program
    #[arg(long)]
    pub(super) ignore_cursor: bool,
    /// When the publisher no longer has its log from the stored cursor on: ask for a complete `copy`, `keep` what there is and
    /// take what has changed since (records that were deleted meanwhile stay), or `stop`
    #[arg(long, value_enum, default_value = "copy")]
    pub(super) on_gap: OnGapArg,
    /// When more is to be followed than the stored cursor was made for, such as another table: ask for a complete `copy`, `refuse`, or
    /// `ignore` that what is older is missing
    #[arg(long, value_enum, default_value = "copy")]
    pub(super) on_wider: OnWiderArg,
    /// Keep a second copy of a database that the SQLite file has already from the same publisher. Otherwise the publisher is known by
    /// its own name, and one that is met at another address is gone on with
    #[arg(long)]
    pub(super) second_copy: bool,
    /// Follow only these tables (comma-separated)
    #[arg(long, value_name = "TABLES")]
    tables: Option<List>,
    /// Follow all tables but these (comma-separated)
    #[arg(long, value_name = "TABLES")]
    exclude_tables: Option<List>,
    /// Leave out what these nodes wrote (comma-separated)
    #[arg(long, value_name = "NODES")]
    exclude: Option<List>,
    /// Take records of up to this size; larger ones are passed over, counted and listed. At most 100000000
    #[arg(long, value_name = "BYTES", value_parser = amount, default_value = "16MiB")]
    max_record: u64,
    /// On a record larger than --max-record: `skip` it, or `end` the link
    #[arg(long, value_enum, default_value = "skip")]
    large_record: LargeRecordArg,
    /// Store rows of up to this size as JSON; a larger one is passed over, counted and listed. A patch of a large row takes
    /// the row's size in memory
    #[arg(long, value_name = "BYTES", value_parser = amount, default_value = "64MiB")]
    pub(super) max_row: u64,
    /// The value of the Authorization header, such as `Basic dXNlcjpwYXNz`. Other users of this machine can see it in the list
    /// of processes: rather set the variable, or use --authorization-file
    #[arg(
        long,
        value_name = "VALUE",
        env = "REPLPROTO_AUTHORIZATION",
        hide_env_values = true,
        value_parser = optional
    )]
    pub(super) authorization: Option<Optional>,
    /// Read the value of the Authorization header from this file, anew for each dial
    #[arg(long, value_name = "FILE")]
    pub(super) authorization_file: Option<PathBuf>,

    /// Between two pings [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    ping_interval: Option<Duration>,
    /// End the link after so long without a sign of life [default: twice the ping interval]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    ping_timeout: Option<Duration>,
    /// End the link if the publisher stops in the middle of a message for this long [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    message_timeout: Option<Duration>,
    /// Give a blob up, for this link, after so long without a byte of it [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    blob_timeout: Option<Duration>,
    /// Renew the link to get a blob that failed after so long [default: the blob timeout]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    blob_gap_reconnect: Option<Duration>,
    /// End the link if the subscription is not answered after so long [default: 150s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    setup_timeout: Option<Duration>,
    /// Between two positions of the publisher, follow its own changes at this distance: a reconnect repeats so much, and it must
    /// be more than the clocks of the nodes that write are apart [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    clock_margin: Option<Duration>,
    /// The delay before the first reconnect; it doubles up to 30 s, or stays if it is longer
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "500ms")]
    pub(super) reconnect_delay: Duration,
    /// Draw each delay before a reconnect evenly between zero and what it would be, so that receivers which lost their
    /// publisher together do not come back together
    #[arg(long)]
    pub(super) reconnect_jitter: bool,
    /// End well after so long without a message, when everything is complete (never, while the publisher is busy)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) until_idle: Option<Duration>,
    /// End after so long in all, with exit code 3
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) deadline: Option<Duration>,

    /// Pause when more bytes of messages than this are held [default: 2MiB:1MiB]
    #[arg(long, value_name = "MARKS", help_heading = "Flow control")]
    inbound_bytes: Option<Pair>,
    /// Pause when more events than this wait to be stored [default: 4096:2048]
    #[arg(long, value_name = "MARKS", help_heading = "Flow control")]
    consumer_events: Option<Pair>,
    /// Pause when more bytes of events than this wait to be stored [default: 4MiB:2MiB]
    #[arg(long, value_name = "MARKS", help_heading = "Flow control")]
    consumer_bytes: Option<Pair>,
    /// Pause when more transactions than this are not durable [default: 2048:1024]
    #[arg(long, value_name = "MARKS", help_heading = "Flow control")]
    commits: Option<Pair>,
    /// Pause when more bytes of blobs than this wait to be written [default: 1MiB:512KiB]
    #[arg(long, value_name = "MARKS", help_heading = "Flow control")]
    blob_bytes: Option<Pair>,

    /// Serve metrics for Prometheus at http://ADDR/metrics, for example 127.0.0.1:9464; port 0 takes a free one, which is
    /// logged. `replproto status ADDR` shows them live
    #[arg(long, value_name = "ADDR")]
    pub(super) metrics: Option<Address>,
    /// At the end, write what the replica holds, in a form that can be compared
    #[arg(long, value_name = "FILE")]
    pub(super) export_state: Option<PathBuf>,
    /// Write every input of every link with its time, for the simulator to replay
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,

    // The last one: its heading holds for all after it.
    #[command(flatten)]
    pub(super) tls: TlsArgs,
}

/// Names with commas between them; no name stands for an empty list.
#[derive(Clone, Debug, Default)]
struct List(Vec<String>);

impl FromStr for List {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let names = text.split(',').map(str::trim);
        Ok(Self(
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        ))
    }
}

/// A text of which the empty one is the same as none. Not shown, since it may be a secret.
#[derive(Clone)]
pub(super) struct Optional(Option<String>);

impl std::fmt::Debug for Optional {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "***" } else { "none" })
    }
}

fn optional(text: &str) -> Result<Optional, Infallible> {
    Ok(Optional((!text.is_empty()).then(|| text.to_owned())))
}

/// The text, if there is one.
pub(super) fn given(option: Option<&Optional>) -> Option<&str> {
    option?.0.as_deref()
}

fn start(text: &str) -> Result<Start, String> {
    if text.eq_ignore_ascii_case("copy") {
        return Ok(Start::Copy);
    }
    match text.parse::<f64>() {
        Ok(0.0) => Ok(Start::Copy),
        Ok(position) if position.is_finite() && position > 0.0 => Ok(Start::At(Sequence(position))),
        _ => Err("neither `copy` nor a position from 0 on".into()),
    }
}

impl ReceiveArgs {
    /// The configuration of the link. `flow` is what holds where no option says otherwise.
    pub(super) fn config(&self, flow: FlowControl) -> Result<Config, Failure> {
        let name = self.name.clone().unwrap_or_else(default_name);
        let mut config = Config::new(name, &self.database);
        config.peer_name = given(self.peer.as_ref()).map(str::to_owned);
        config.mode = self.mode.into();
        config.tables = self.table_filter()?;
        config.excluded_origins = self.exclude.clone().unwrap_or_default().0;
        config.limits.record = match usize::try_from(self.max_record) {
            Ok(size) if size <= RECORD_MAX => size,
            _ => {
                return Err(Failure::Usage(format!(
                    "--max-record is at most {RECORD_MAX}: publishers send no larger records"
                )));
            }
        };
        config.limits.large_record = self.large_record.into();
        config.timeouts = self.timeouts();
        config.clock_margin = self.clock_margin.unwrap_or(config.clock_margin);
        config.flow = self.flow(flow);
        config
            .check()
            .map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(config)
    }

    fn table_filter(&self) -> Result<TableFilter, Failure> {
        let only = self.tables.clone().unwrap_or_default().0;
        let except = self.exclude_tables.clone().unwrap_or_default().0;
        if self.tables.is_some() && only.is_empty() {
            return Err(Failure::Usage(
                "--tables names no table: leave it out to follow all of them".into(),
            ));
        }
        match (only.is_empty(), except.is_empty()) {
            (true, true) => Ok(TableFilter::All),
            (false, true) => Ok(TableFilter::Only(only)),
            (true, false) => Ok(TableFilter::Except(except)),
            (false, false) => Err(Failure::Usage(
                "--tables and --exclude-tables cannot be combined".into(),
            )),
        }
    }

    fn timeouts(&self) -> Timeouts {
        let defaults = Timeouts::default();
        let ping_interval = self.ping_interval.unwrap_or(defaults.ping_interval);
        let blob = self.blob_timeout.unwrap_or(defaults.blob);
        Timeouts {
            ping_interval,
            ping_timeout: self.ping_timeout.unwrap_or(ping_interval * 2),
            blob,
            blob_gap: self.blob_gap_reconnect.unwrap_or(blob),
            setup: self.setup_timeout.unwrap_or(defaults.setup),
            message: self.message_timeout.unwrap_or(defaults.message),
            ..defaults
        }
    }

    fn flow(&self, mut flow: FlowControl) -> FlowControl {
        let FlowControl {
            inbound,
            consumer,
            commits,
            blobs,
        } = &mut flow;
        for (option, high, low) in [
            (
                self.inbound_bytes,
                &mut inbound.high.bytes,
                &mut inbound.low.bytes,
            ),
            (
                self.consumer_events,
                &mut consumer.high.items,
                &mut consumer.low.items,
            ),
            (
                self.consumer_bytes,
                &mut consumer.high.bytes,
                &mut consumer.low.bytes,
            ),
            (
                self.commits,
                &mut commits.high.items,
                &mut commits.low.items,
            ),
            (self.blob_bytes, &mut blobs.high.bytes, &mut blobs.low.bytes),
        ] {
            if let Some(pair) = option {
                *high = pair.high;
                *low = pair.low;
            }
        }
        flow
    }
}

/// `replproto-` and the name of this host, as far as it is known.
fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok());
    match host.as_deref().map(str::trim) {
        Some(host) if !host.is_empty() => format!("replproto-{host}"),
        _ => "replproto".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use replproto_core::config::{LargeRecord, Mode};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: ReceiveArgs,
    }

    fn config(options: &[&str]) -> Result<Config, Failure> {
        let url = ["receive", "ws://127.0.0.1:1", "--database", "data"];
        let cli = Cli::try_parse_from(url.iter().chain(options)).unwrap();
        cli.args.config(FlowControl::default())
    }

    #[test]
    fn without_options_the_defaults_hold() {
        let config = config(&["--name", "us"]).unwrap();
        assert_eq!(config, Config::new("us", "data"));
    }

    #[test]
    fn empty_texts_count_as_not_given() {
        let options = [
            "--name",
            "us",
            "--peer",
            "",
            "--exclude-tables",
            "",
            "--exclude",
            "",
        ];
        assert_eq!(config(&options).unwrap(), Config::new("us", "data"));
    }

    #[test]
    fn options_change_what_they_name() {
        let config = config(&[
            "--name",
            "us",
            "--peer",
            "node-a",
            "--mode",
            "a",
            "--tables",
            "Dog, Cat",
            "--exclude",
            "node-c",
            "--ping-interval",
            "400",
            "--blob-timeout",
            "2s",
            "--clock-margin",
            "0",
            "--consumer-events",
            "10:1",
            "--max-record",
            "100000000",
            "--large-record",
            "end",
        ])
        .unwrap();
        assert_eq!(config.peer_name.as_deref(), Some("node-a"));
        assert_eq!(config.mode, Mode::A);
        assert_eq!(
            config.tables,
            TableFilter::Only(vec!["Dog".into(), "Cat".into()])
        );
        assert_eq!(config.excluded_origins, ["node-c"]);
        assert_eq!(config.timeouts.ping_timeout, Duration::from_millis(800));
        assert_eq!(config.timeouts.blob_gap, Duration::from_secs(2));
        assert_eq!(config.clock_margin, Duration::ZERO);
        assert_eq!(config.limits.record, 100_000_000);
        assert_eq!(config.limits.large_record, LargeRecord::EndLink);
        let consumer = config.flow.consumer;
        assert_eq!((consumer.high.items, consumer.low.items), (10, 1));
    }

    #[test]
    fn what_makes_no_sense_is_a_mistake_of_usage() {
        for options in [
            &["--tables", "a", "--exclude-tables", "b"][..],
            &["--tables", " ,"],
            &["--ping-interval", "0"],
            &["--name", ""],
            &["--max-record", "0"],
            &["--max-record", "100000001"],
        ] {
            assert!(
                matches!(config(options), Err(Failure::Usage(_))),
                "{options:?}"
            );
        }
    }

    #[test]
    fn starts() {
        assert_eq!(start("copy"), Ok(Start::Copy));
        assert_eq!(start("0"), Ok(Start::Copy));
        assert_eq!(start("1.5"), Ok(Start::At(Sequence(1.5))));
        for wrong in ["", "x", "-1", "NaN", "inf"] {
            assert!(start(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_authorization_is_never_shown() {
        let url = [
            "receive",
            "ws://a",
            "--database",
            "data",
            "--authorization",
            "canary",
        ];
        let cli = Cli::try_parse_from(url).unwrap();
        assert_eq!(given(cli.args.authorization.as_ref()), Some("canary"));
        assert!(!format!("{cli:?}").contains("canary"));
    }
}

//! `replproto status`: a running receiver, live in the terminal.

mod client;
mod page;
mod text;

use std::time::{Duration, Instant};

use console::{Term, truncate_str};

use self::client::fetch;
use self::page::Page;
use self::text::{Look, block};
use crate::address::Address;
use crate::duration;
use crate::exit::Failure;
use crate::output::say;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  replproto receive ws://db1.example.com --database data --into data.sqlite --metrics 127.0.0.1:9464
  replproto status 127.0.0.1:9464
  replproto status 127.0.0.1:9464 --once

On a terminal it is drawn in place until an interrupt; in a pipe there is a block of lines for each interval, with an empty
line between them. Rates, shares and latencies are those of the last interval.

  received   what came from the peer
  paused     in which share of the time reading was paused, and for what
  inbound    bytes of messages that the link retains, against the mark above which reading is paused; the same for the
             events and their bytes that wait to be stored, transactions that are not durable, and bytes of blobs
  lag        the age of the oldest transaction that is not durable with all its blobs
  blobs      saved; failed, to come again; gone at the source; missing now, so that the cursor waits for them
  latency    from the clock of a transaction's origin to being durable here, as upper bounds

Exit codes: 0 ended as asked (--once, or an interrupt); 1 nothing listens there, it is no receiver, or it went away; 2 the
options are wrong.")]
pub(crate) struct StatusArgs {
    /// Where the receiver serves its metrics: what it was given as --metrics, or the URL in its log
    address: Address,
    /// Between two looks
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1s")]
    interval: Duration,
    /// Print one block, after one interval, and end
    #[arg(long)]
    once: bool,
}

/// Shows the receiver until an interrupt.
pub(crate) async fn run(args: StatusArgs) -> Result<(), Failure> {
    if args.interval.is_zero() {
        return Err(Failure::Usage("--interval is zero".into()));
    }
    tokio::select! {
        shown = show(&args) => shown,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::of),
    }
}

async fn show(args: &StatusArgs) -> Result<(), Failure> {
    let mut screen = Screen::new();
    let mut before = look(&args.address).await?;
    loop {
        tokio::time::sleep(args.interval).await;
        let now = look(&args.address).await?;
        screen.show(&block(&Look {
            page: &now.0,
            before: &before.0,
            elapsed: now.1.duration_since(before.1),
        }));
        if args.once {
            return Ok(());
        }
        before = now;
    }
}

async fn look(address: &Address) -> Result<(Page, Instant), Failure> {
    let page = fetch(address).await?;
    Ok((page, Instant::now()))
}

/// Where the blocks go.
struct Screen {
    /// `None` in a pipe.
    terminal: Option<Term>,
    /// Lines of the last block.
    shown: Option<usize>,
}

impl Screen {
    fn new() -> Self {
        let terminal = Term::stdout();
        Self {
            terminal: terminal.is_term().then_some(terminal),
            shown: None,
        }
    }

    fn show(&mut self, lines: &[String]) {
        match &self.terminal {
            Some(terminal) => {
                let (height, width) = terminal.size();
                // One line is left for the cursor.
                let room = usize::from(height.max(2)) - 1;
                // That nobody looks any more is no reason to fail.
                let _ = terminal.clear_last_lines(self.shown.unwrap_or_default().min(room));
                for line in lines.iter().take(room) {
                    let _ = terminal.write_line(&truncate_str(line, width.into(), "…"));
                }
            }
            None => {
                if self.shown.is_some() {
                    say("");
                }
                lines.iter().for_each(say);
            }
        }
        self.shown = Some(lines.len());
    }
}

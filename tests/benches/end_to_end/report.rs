//! What was measured, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::args::Args;
use crate::contest::{Contest, Measure, Outcome};
use crate::frames::Size;
use crate::machine::Machine;
use crate::measurement::{Measurement, Spread};
use crate::sets::Sets;

/// Everything.
#[derive(Serialize)]
pub(crate) struct Report {
    machine: Machine,
    quick: bool,
    rounds: u32,
    /// Where the sets come from.
    sets: String,
    pub(crate) tables: Vec<Table>,
}

impl Report {
    pub(crate) fn new(machine: Machine, args: &Args, sets: &Sets) -> Self {
        Self {
            machine,
            quick: args.quick,
            rounds: args.rounds,
            sets: sets.source.clone(),
            tables: Vec::new(),
        }
    }

    pub(crate) fn heading(&self) -> String {
        format!(
            "{}\nmedians of {} rounds; sets: {}",
            self.machine.line(),
            self.rounds,
            self.sets
        )
    }
}

/// The rows of a contest with what came of them.
#[derive(Serialize)]
pub(crate) struct Table {
    title: String,
    #[serde(skip)]
    measure: Measure,
    /// Names of the rows with which the others are compared.
    limits: Vec<String>,
    rows: Vec<TableRow>,
}

#[derive(Serialize)]
struct TableRow {
    name: String,
    links: u64,
    size: Size,
    /// Records in a second.
    records_per_second: Option<Spread>,
    bytes_per_second: Option<Spread>,
    /// Of the receiver's process, as a part of the time that went by.
    cpu_share: Option<Spread>,
    /// Bytes.
    memory_above_idle: Option<Spread>,
    /// For each limit, the part of its speed that this has: of the rounds' ratios the median.
    of_limits: Vec<Option<f64>>,
    rounds: Vec<Measurement>,
}

impl Table {
    pub(crate) fn new(contest: &Contest, outcomes: &[Outcome]) -> Self {
        let limits = contest.rows.iter().zip(outcomes);
        let limits: Vec<_> = limits.filter(|(row, _)| row.is_limit).collect();
        let rows = contest.rows.iter().zip(outcomes).map(|(row, outcome)| {
            let spread = |of: fn(&Measurement) -> Option<f64>| {
                Spread::of(outcome.rounds.iter().filter_map(of))
            };
            let per_second = |amount: u64| {
                let rounds = outcome.rounds.iter();
                Spread::of(rounds.map(|round| amount as f64 / round.seconds))
            };
            let of_limit = |limit: &Outcome| {
                let rounds = outcome.rounds.iter().zip(&limit.rounds);
                let ratios = rounds.map(|(ours, limit)| limit.seconds / ours.seconds);
                Spread::of(ratios).map(|ratios| ratios.median)
            };
            TableRow {
                name: row.name.clone(),
                links: row.links(),
                size: outcome.size,
                records_per_second: per_second(outcome.size.records),
                bytes_per_second: per_second(outcome.size.bytes),
                cpu_share: spread(Measurement::cpu_share),
                memory_above_idle: spread(|round| Some(round.memory_above_idle? as f64)),
                of_limits: limits.iter().map(|(_, limit)| of_limit(limit)).collect(),
                rounds: outcome.rounds.clone(),
            }
        });
        Self {
            title: contest.title.clone(),
            measure: contest.measure,
            rows: rows.collect(),
            limits: limits.iter().map(|(row, _)| row.name.clone()).collect(),
        }
    }

    fn cells(&self) -> Vec<Vec<String>> {
        let mut header: Vec<String> = vec![self.title.clone()];
        match self.measure {
            Measure::Records => {
                header.extend(["records", "records/s", "min", "max"].map(Into::into))
            }
            Measure::Bytes => header.extend(["MB", "MB/s", "min", "max"].map(Into::into)),
            Measure::MemoryPerLink => {
                header.extend(["KiB per link", "min", "max"].map(Into::into));
            }
        }
        if self.measure == Measure::Records {
            header.push("MB/s".into());
        }
        if self.measure != Measure::MemoryPerLink {
            header.push("CPU".into());
        }
        header.push("MiB above idle".into());
        header.extend(self.limits.iter().map(|limit| format!("of {limit}")));
        let rows = self.rows.iter().map(|row| row.cells(self.measure));
        std::iter::once(header).chain(rows).collect()
    }
}

impl TableRow {
    fn cells(&self, measure: Measure) -> Vec<String> {
        let mut cells = vec![self.name.clone()];
        let mut spread = |spread: Option<Spread>, unit: f64, decimals: usize| {
            let Spread { median, min, max } = spread.unwrap_or(Spread {
                median: 0.0,
                min: 0.0,
                max: 0.0,
            });
            cells.extend([median, min, max].map(|value| number(value / unit, decimals)));
        };
        match measure {
            Measure::Records => {
                spread(self.records_per_second, 1.0, 0);
                cells.insert(1, number(self.size.records as f64, 0));
                let bytes = self.bytes_per_second.map_or(0.0, |spread| spread.median);
                cells.push(number(bytes / 1e6, 0));
            }
            Measure::Bytes => {
                spread(self.bytes_per_second, 1e6, 0);
                cells.insert(1, number(self.size.bytes as f64 / 1e6, 0));
            }
            Measure::MemoryPerLink => {
                spread(self.memory_above_idle, self.links as f64 * 1024.0, 1);
            }
        }
        if measure != Measure::MemoryPerLink {
            let share = self
                .cpu_share
                .map(|share| number(share.median * 100.0, 0) + "%");
            cells.push(share.unwrap_or_default());
        }
        let memory = self.memory_above_idle;
        let memory = memory.map(|memory| number(memory.median / f64::from(1 << 20), 1));
        cells.push(memory.unwrap_or_default());
        let ratios = self.of_limits.iter();
        cells.extend(ratios.map(|ratio| ratio.map_or(String::new(), |it| number(it, 2))));
        cells
    }
}

/// With commas between thousands.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.len();
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (digits - index) % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

impl fmt::Display for Table {
    /// As Markdown, aligned.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells();
        let columns = cells.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let widths = cells.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in cells.iter().enumerate() {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let bar = if column == 0 { "| " } else { " | " };
                if column == 0 {
                    write!(f, "{bar}{cell:<width$}")?;
                } else {
                    write!(f, "{bar}{cell:>width$}")?;
                }
            }
            writeln!(f, " |")?;
            if index == 0 {
                for (column, &width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + 1);
                    let (open, close) = if column == 0 { ("|-", "") } else { ("|", ":") };
                    write!(f, "{open}{dashes}{close}")?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

//! A table: several ways to do the same, measured in turns.

use std::path::Path;

use crate::Result;
use crate::frames::{Frames, Size};
use crate::measurement::Measurement;
use crate::node::Node;
use crate::plan::{Plan, Shape};
use crate::process::{self, Publisher};
use crate::progress::Progress;
use crate::receiver::{Job, Subject};
use crate::sets::Set;

/// Rows that are measured in turns.
pub(crate) struct Contest {
    pub(crate) title: String,
    pub(crate) set: Set,
    pub(crate) rows: Vec<Row>,
    pub(crate) measure: Measure,
}

/// What the table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Records in a second.
    Records,
    /// Bytes in a second.
    Bytes,
    /// Memory of a link.
    MemoryPerLink,
}

/// One way to do it.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) how: How,
    pub(crate) plan: Plan,
    /// The others are compared with it.
    pub(crate) is_limit: bool,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Receiver(Subject),
    NodeDecode,
    NodeReceive,
}

/// What came of a row.
pub(crate) struct Outcome {
    /// On all links together.
    pub(crate) size: Size,
    /// One for each round.
    pub(crate) rounds: Vec<Measurement>,
}

/// What measuring takes.
pub(crate) struct Tools<'a> {
    /// `None`: rows of Node are left out.
    pub(crate) node: Option<&'a Node>,
    /// A folder for files.
    pub(crate) scratch: &'a Path,
    pub(crate) rounds: u32,
    pub(crate) progress: &'a Progress,
}

impl Row {
    pub(crate) fn new(name: &str, subject: Subject, plan: Plan) -> Self {
        Self {
            name: name.into(),
            how: How::Receiver(subject),
            plan,
            is_limit: false,
        }
    }

    pub(crate) fn limit(self) -> Self {
        Self {
            is_limit: true,
            ..self
        }
    }

    pub(crate) fn links(&self) -> u64 {
        match self.how {
            How::Receiver(Subject::Link { links, .. } | Subject::IdleLinks { links }) => links,
            _ => 1,
        }
    }
}

impl Contest {
    /// Measures all rows, one after the other, and again.
    pub(crate) fn run(&self, tools: &Tools<'_>) -> Result<Vec<Outcome>> {
        tools.progress.table(&self.title);
        let publisher = Publisher::start(&self.set.file)?;
        let mut outcomes = self.expected()?;
        for _ in 0..tools.rounds {
            for (row, outcome) in self.rows.iter().zip(&mut outcomes) {
                tools.progress.measurement(&self.title, &row.name);
                let measurement = self.measure(row, outcome.size, publisher.port, tools);
                let told = |error| format!("{}: {}: {error}", self.title, row.name);
                outcome.rounds.push(measurement.map_err(told)?);
                tools.progress.done();
            }
        }
        Ok(outcomes)
    }

    /// What each row has to come to.
    fn expected(&self) -> Result<Vec<Outcome>> {
        let frames = Frames::read(&self.set.file)?;
        let rows = self.rows.iter();
        let outcomes = rows.map(|row| Outcome {
            size: frames.size(row.plan).times(row.links()),
            rounds: Vec::new(),
        });
        Ok(outcomes.collect())
    }

    fn measure(&self, row: &Row, size: Size, port: u16, tools: &Tools<'_>) -> Result<Measurement> {
        let node = || tools.node.ok_or("there is no Node");
        let measurement = match row.how {
            How::Receiver(subject) => process::receive(&Job {
                subject,
                file: self.set.file.clone(),
                port,
                plan: row.plan,
                warm_up: self.set.warm_up(),
                scratch: tools.scratch.to_owned(),
            })?,
            How::NodeDecode => {
                let messages = size.messages / row.plan.repeat;
                node()?.decode(&self.set.file, messages, row.plan.repeat)?
            }
            How::NodeReceive => node()?.receive(port, row.plan)?,
        };
        // A way that does less than it should would look fast.
        let expected = (row.plan.shape != Shape::Silence).then_some(size.records);
        check("records", measurement.records, expected)?;
        let expected = (row.plan.shape == Shape::AsIs).then_some(size.messages);
        check("messages", measurement.messages, expected)?;
        Ok(measurement)
    }
}

fn check(what: &str, seen: Option<u64>, expected: Option<u64>) -> Result<()> {
    match (seen, expected) {
        (Some(seen), Some(expected)) if seen != expected => {
            Err(format!("{seen} {what} instead of {expected}").into())
        }
        _ => Ok(()),
    }
}

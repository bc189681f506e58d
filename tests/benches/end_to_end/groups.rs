//! What is measured beside what.

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use crate::Result;
use crate::args::{Args, Group};
use crate::contest::{Contest, How, Measure, Row, Tools};
use crate::machine::Machine;
use crate::node::Node;
use crate::plan::{Plan, Shape};
use crate::progress::Progress;
use crate::receiver::Subject;
use crate::report::{Report, Table, number};
use crate::sets::{Set, Sets};

/// Runs what is asked for and shows it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("end-to-end");
    fs::create_dir_all(&cache)?;
    let scratch = tempfile::tempdir_in(&cache)?;
    let node = if args.no_node {
        None
    } else {
        Node::prepare(&cache)
            .inspect_err(|error| eprintln!("the rows of Node are left out: {error}"))
            .ok()
    };
    let sets = Sets::find(args.frames.as_deref(), args.quick, &cache)?;
    let contests = Groups {
        args,
        sets: &sets,
        has_node: node.is_some(),
    }
    .contests();
    let rows: usize = contests.iter().map(|contest| contest.rows.len()).sum();
    let progress = Progress::start(rows as u64 * u64::from(args.rounds));
    let tools = Tools {
        node: node.as_ref(),
        scratch: scratch.path(),
        rounds: args.rounds,
        progress: &progress,
    };
    let mut report = Report::new(Machine::look(), args, &sets);
    progress.print(&report.heading());
    for contest in &contests {
        let table = Table::new(contest, &contest.run(&tools)?);
        progress.print(&format!("\n{}", table.to_string().trim_end()));
        report.tables.push(table);
    }
    drop(progress);
    println!("\n{:.0} s", start.elapsed().as_secs_f64());
    if let Some(file) = &args.json {
        serde_json::to_writer_pretty(File::create(file)?, &report)?;
    }
    Ok(())
}

/// Reads every field.
const READING: bool = true;
/// Reads none.
const COUNTING: bool = false;

struct Groups<'a> {
    args: &'a Args,
    sets: &'a Sets,
    has_node: bool,
}

impl Groups<'_> {
    fn contests(&self) -> Vec<Contest> {
        type Contests<'a> = fn(&Groups<'a>) -> Vec<Contest>;
        let groups: [(Group, Contests<'_>); 8] = [
            (Group::Core, Self::core),
            (Group::Link, Self::link),
            (Group::Sqlite, Self::sqlite),
            (Group::Blobs, Self::blobs),
            (Group::Growth, Self::growth),
            (Group::IdleLinks, Self::idle_links),
            (Group::Large, Self::large),
            (Group::Stall, Self::stall),
        ];
        let wanted = groups.iter().filter(|(group, _)| self.args.wants(*group));
        wanted.flat_map(|(_, contests)| contests(self)).collect()
    }

    fn core(&self) -> Vec<Contest> {
        let contest = |set: &Set| {
            let plan = self.plan(set);
            let core = |name, reads_fields| Row::new(name, Subject::Core { reads_fields }, plan);
            let mut rows = vec![Row::new("memcpy", Subject::Memcpy, plan).limit()];
            if !set.has_blobs() {
                rows.push(Row::new("slice per record", Subject::Slices, plan).limit());
            }
            rows.push(core("core", COUNTING));
            if !set.has_blobs() {
                rows.push(core("core, every field", READING));
            }
            self.push_node(&mut rows, How::NodeDecode, plan);
            contest("core", set, rows)
        };
        self.sets.list.iter().map(contest).collect()
    }

    fn link(&self) -> Vec<Contest> {
        let contest = |set: &Set| {
            let plan = self.plan(set);
            let mut rows = vec![
                Row::new("tokio-tungstenite", Subject::TokioTungstenite, plan).limit(),
                Row::new("fastwebsockets", Subject::FastWebSockets, plan).limit(),
                Row::new("link", link(COUNTING), plan),
            ];
            if !set.has_blobs() {
                rows.push(Row::new("link, every field", link(READING), plan));
            }
            self.push_node(&mut rows, How::NodeReceive, plan);
            contest("link", set, rows)
        };
        self.sets.list.iter().map(contest).collect()
    }

    fn sqlite(&self) -> Vec<Contest> {
        let small = self.sets.list.iter().find(|set| set.name == "small");
        let sets = self.sets.ordinary().into_iter().chain(small);
        let contest = |set: &Set| {
            let plan = set.plan(self.scaled(200_000, 50_000));
            let rows = vec![
                Row::new("link, every field", link(READING), plan).limit(),
                Row::new("SQLite, durably", Subject::Sqlite, plan),
            ];
            contest("sqlite", set, rows)
        };
        sets.map(contest).collect()
    }

    fn blobs(&self) -> Vec<Contest> {
        let sets = self.sets.list.iter().filter(|set| set.has_blobs());
        let contest = |set: &Set| {
            let rows = vec![
                Row::new("link, thrown away", link(COUNTING), Plan::ONCE).limit(),
                Row::new("files, no link", Subject::PlainFiles, Plan::ONCE).limit(),
                Row::new("link into files, durably", Subject::BlobFiles, Plan::ONCE),
            ];
            contest("blobs", set, rows)
        };
        sets.map(contest).collect()
    }

    fn growth(&self) -> Vec<Contest> {
        let Some(set) = self.sets.ordinary() else {
            return Vec::new();
        };
        let most = self.scaled(10_000_000, 1_000_000);
        let counts = (4..).map(|power| 10_u64.pow(power));
        let counts = counts.take_while(|count| *count <= most);
        let records = counts.map(|count| {
            let name = format!("{} records", number(count as f64, 0));
            Row::new(&name, link(READING), set.plan(count))
        });
        let each = set.plan(self.scaled(100_000, 10_000));
        let links = [1, 10, 100].map(|links| {
            let subject = Subject::Link {
                reads_fields: READING,
                links,
                stall_seconds: 0,
            };
            Row::new(&count_of(links), subject, each)
        });
        vec![
            contest("growth by records", set, records.collect()),
            contest("growth by links", set, links.into()),
        ]
    }

    fn idle_links(&self) -> Vec<Contest> {
        let Some(set) = self.sets.ordinary() else {
            return Vec::new();
        };
        let rows = [1, 10, 100, 1000].map(|links| {
            Row::new(
                &count_of(links),
                Subject::IdleLinks { links },
                Plan::SILENCE,
            )
        });
        vec![Contest {
            measure: Measure::MemoryPerLink,
            ..contest("idle links", set, rows.into())
        }]
    }

    fn large(&self) -> Vec<Contest> {
        let Some(set) = self.sets.ordinary() else {
            return Vec::new();
        };
        // Records of 197 bytes: 79 MB, and a bit more than 1 GiB.
        let sizes = [("of 79 MB", 400_000), ("of 1 GiB", 5_460_000)];
        let sizes = &sizes[..self.scaled(2, 1)];
        let contests = sizes.iter().map(|(size, records)| {
            let plan = set.plan(*records);
            let one_frame = plan.shaped(Shape::OneFrame);
            let fragments = plan.shaped(Shape::Fragments);
            let rows = vec![
                Row::new("tokio-tungstenite", Subject::TokioTungstenite, one_frame).limit(),
                Row::new("fastwebsockets", Subject::FastWebSockets, one_frame).limit(),
                Row::new("link, many messages", link(READING), plan),
                Row::new("link, one frame", link(READING), one_frame),
                Row::new("link, fragments", link(READING), fragments),
            ];
            contest(&format!("one message {size}"), set, rows)
        });
        contests.collect()
    }

    fn stall(&self) -> Vec<Contest> {
        let Some(set) = self.sets.ordinary() else {
            return Vec::new();
        };
        let plan = set.plan(self.scaled(1_000_000, 200_000));
        let stalled = Subject::Link {
            reads_fields: READING,
            links: 1,
            stall_seconds: self.args.stall(),
        };
        let name = format!("stalled for {} s, without them", self.args.stall());
        let rows = vec![
            Row::new("never stalled", link(READING), plan).limit(),
            Row::new(&name, stalled, plan),
        ];
        vec![contest("stalled consumer", set, rows)]
    }

    /// How much of a set is enough.
    fn plan(&self, set: &Set) -> Plan {
        match &*set.name {
            _ if set.has_blobs() => Plan::ONCE,
            "catchup" => set.plan(self.scaled(1_000_000, 200_000)),
            "catchup-1k" => set.plan(self.scaled(250_000, 50_000)),
            "small" => set.plan(self.scaled(200_000, 50_000)),
            _ => set.plan(self.scaled(300_000, 100_000)),
        }
    }

    fn scaled<T>(&self, full: T, quick: T) -> T {
        if self.args.quick { quick } else { full }
    }

    fn push_node(&self, rows: &mut Vec<Row>, how: How, plan: Plan) {
        if self.has_node {
            rows.push(Row {
                name: "Node".into(),
                how,
                plan,
                is_limit: true,
            });
        }
    }
}

fn count_of(links: u64) -> String {
    let plural = if links == 1 { "" } else { "s" };
    format!("{} link{plural}", number(links as f64, 0))
}

/// One link, whose consumer never stalls.
const fn link(reads_fields: bool) -> Subject {
    Subject::Link {
        reads_fields,
        links: 1,
        stall_seconds: 0,
    }
}

fn contest(what: &str, set: &Set, rows: Vec<Row>) -> Contest {
    let measure = if set.has_blobs() {
        Measure::Bytes
    } else {
        Measure::Records
    };
    Contest {
        title: format!("{what}, `{}`", set.name),
        set: set.clone(),
        rows,
        measure,
    }
}

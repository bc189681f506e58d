//! Which part of a database a link follows, and what one selection has that another has not.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::config::{Config, TableFilter};

/// Which part of a database a link follows. A [`Cursor`](crate::Cursor) is only good for the selection that it was made for, or a
/// part of it (`protocol.md` section 15, ruling 27).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The tables, with their names in order.
    tables: TableFilter,
    /// The origins whose writes are left out, in order.
    excluded_origins: Vec<String>,
}

/// All tables, whoever wrote to them.
pub(crate) static EVERYTHING: Selection = Selection {
    tables: TableFilter::All,
    excluded_origins: Vec::new(),
};

impl Selection {
    /// These tables, without what these nodes wrote.
    pub fn new(tables: TableFilter, mut excluded_origins: Vec<String>) -> Self {
        put_in_order(&mut excluded_origins);
        Self {
            tables: match tables {
                TableFilter::Only(mut names) => {
                    put_in_order(&mut names);
                    TableFilter::Only(names)
                }
                TableFilter::Except(mut names) => {
                    put_in_order(&mut names);
                    except(names)
                }
                TableFilter::All => TableFilter::All,
            },
            excluded_origins,
        }
    }

    /// What a link of this configuration follows.
    pub fn of(config: &Config) -> Self {
        Self::new(config.tables.clone(), config.excluded_origins.clone())
    }

    /// The tables.
    pub const fn tables(&self) -> &TableFilter {
        &self.tables
    }

    /// The origins whose writes are left out.
    pub fn excluded_origins(&self) -> &[String] {
        &self.excluded_origins
    }

    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        *self == EVERYTHING
    }

    /// What this has that `other` has not.
    pub fn beyond(&self, other: &Self) -> Part {
        let (ours, theirs) = (self.tables.names(), other.tables.names());
        let is_except = |filter: &TableFilter| !matches!(filter, TableFilter::Only(_));
        let tables = match (is_except(&self.tables), is_except(&other.tables)) {
            (false, false) => TableFilter::Only(without(ours, theirs)),
            (false, true) => TableFilter::Only(common(ours, theirs)),
            (true, true) => TableFilter::Only(without(theirs, ours)),
            (true, false) => {
                let mut names = ours.to_vec();
                names.extend_from_slice(theirs);
                put_in_order(&mut names);
                except(names)
            }
        };
        Part {
            tables,
            origins: without(&other.excluded_origins, &self.excluded_origins),
        }
    }
}

/// What one [`Selection`] has and another has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// These tables.
    pub tables: TableFilter,
    /// What these nodes wrote, in any table.
    pub origins: Vec<String>,
}

impl Part {
    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        matches!(&self.tables, TableFilter::Only(names) if names.is_empty())
            && self.origins.is_empty()
    }
}

/// Fit for a sentence: `the tables Cat, Dog and what node-c wrote`.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = match &self.tables {
            TableFilter::All => "all tables".into(),
            TableFilter::Only(names) if names.is_empty() => String::new(),
            TableFilter::Only(names) => format!("the tables {}", names.join(", ")),
            TableFilter::Except(names) => format!("all tables but {}", names.join(", ")),
        };
        f.write_str(&tables)?;
        if self.origins.is_empty() {
            return Ok(());
        }
        let and = if tables.is_empty() { "" } else { " and " };
        write!(f, "{and}what {} wrote", self.origins.join(", "))
    }
}

/// All tables but these.
fn except(names: Vec<String>) -> TableFilter {
    if names.is_empty() {
        TableFilter::All
    } else {
        TableFilter::Except(names)
    }
}

fn put_in_order(names: &mut Vec<String>) {
    names.sort_unstable();
    names.dedup();
}

fn without(names: &[String], others: &[String]) -> Vec<String> {
    let is_left = |name: &&String| !others.contains(name);
    names.iter().filter(is_left).cloned().collect()
}

fn common(names: &[String], others: &[String]) -> Vec<String> {
    let is_common = |name: &&String| others.contains(name);
    names.iter().filter(is_common).cloned().collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    const NAMES: [&str; 4] = ["Ant", "Bee", "Cat", "Dog"];

    fn names() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(prop::sample::select(&NAMES[..]), 0..5)
            .prop_map(|names| names.into_iter().map(String::from).collect())
    }

    pub(crate) fn selection() -> impl Strategy<Value = Selection> {
        let tables = (0..3_u8, names()).prop_map(|(kind, names)| match kind {
            0 => TableFilter::All,
            1 => TableFilter::Only(names),
            _ => TableFilter::Except(names),
        });
        (tables, names()).prop_map(|(tables, origins)| Selection::new(tables, origins))
    }

    proptest! {
        #[test]
        fn what_is_beyond_is_what_one_wants_and_the_other_does_not(a in selection(), b in selection()) {
            let part = a.beyond(&b);
            for name in NAMES.into_iter().chain(["Elk"]) {
                let is_beyond = a.tables().wants(name) && !b.tables().wants(name);
                prop_assert_eq!(part.tables.wants(name), is_beyond, "{} in {:?}", name, part);
                let is_new = b.excluded_origins().contains(&name.to_string())
                    && !a.excluded_origins().contains(&name.to_string());
                prop_assert_eq!(part.origins.contains(&name.to_string()), is_new);
            }
            prop_assert_eq!(part.is_empty(), part.to_string().is_empty());
            prop_assert!(a.beyond(&a).is_empty());
        }
    }

    #[test]
    fn it_is_told_in_words() {
        let only = |names: &[&str], origins: &[&str]| {
            let strings = |names: &[&str]| names.iter().map(ToString::to_string).collect();
            Selection::new(TableFilter::Only(strings(names)), strings(origins))
        };
        let dog = only(&["Dog"], &["node-c"]);
        let more = only(&["Fox", "Dog", "Cat"], &[]);
        assert_eq!(
            more.beyond(&dog).to_string(),
            "the tables Cat, Fox and what node-c wrote"
        );
        assert_eq!(
            Selection::default().beyond(&dog).to_string(),
            "all tables but Dog and what node-c wrote"
        );
        assert!(dog.beyond(&Selection::default()).is_empty());
        assert!(Selection::default().is_everything() && !dog.is_everything());
    }
}

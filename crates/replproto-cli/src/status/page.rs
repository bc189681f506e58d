//! The text format of Prometheus, as far as it is needed: samples with labels.

use std::collections::BTreeSet;

use thiserror::Error;

/// The samples of one page.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Page {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// A line that is none of the format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line} is not a sample of the Prometheus text format")]
pub(super) struct PageError {
    /// From 1.
    line: usize,
}

/// Which link a sample belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkName {
    pub(super) database: String,
    pub(super) peer: String,
}

impl Page {
    pub(super) fn parse(text: &str) -> Result<Self, PageError> {
        let mut samples = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            samples.push(sample(line).ok_or(PageError { line: index + 1 })?);
        }
        Ok(Self { samples })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    /// The value of a metric of the process.
    pub(super) fn process(&self, name: &str) -> Option<f64> {
        let found = self.samples.iter().find(|sample| sample.name == name);
        found.map(|sample| sample.value)
    }

    /// All links that have samples.
    pub(super) fn links(&self) -> BTreeSet<LinkName> {
        let links = self.samples.iter().filter_map(|sample| {
            Some(LinkName {
                database: sample.label("database")?.to_owned(),
                peer: sample.label("peer")?.to_owned(),
            })
        });
        links.collect()
    }

    /// The value of a metric of a link that has no label besides.
    pub(super) fn value(&self, link: &LinkName, name: &str) -> f64 {
        self.of(link, name).map(|sample| sample.value).sum()
    }

    /// The values of a metric of a link, by its label.
    pub(super) fn by<'a>(
        &'a self,
        link: &'a LinkName,
        name: &'a str,
        label: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> {
        self.of(link, name)
            .filter_map(move |sample| Some((sample.label(label)?, sample.value)))
    }

    /// The one with this value of the label; 0 if there is none.
    pub(super) fn one(&self, link: &LinkName, name: &str, label: &str, is: &str) -> f64 {
        let found = self.by(link, name, label).find(|(known, _)| *known == is);
        found.map_or(0.0, |(_, value)| value)
    }

    fn of<'a>(&'a self, link: &'a LinkName, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && sample.label("database") == Some(&link.database)
                && sample.label("peer") == Some(&link.peer)
        })
    }
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// `name{label="value",…} value`, with a time at the end or without.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    let is_time = |word: &str| word.parse::<i64>().is_ok();
    if name.is_empty() || words.next().is_some_and(|word| !is_time(word)) || words.next().is_some()
    {
        return None;
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// The labels after the brace, and what follows them.
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start();
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = quoted(rest.trim_start().strip_prefix('"')?)?;
        labels.push((name.trim().to_owned(), value));
        let rest = rest.trim_start();
        text = match rest.strip_prefix(',') {
            Some(rest) => rest,
            None if rest.starts_with('}') => rest,
            None => return None,
        };
    }
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> LinkName {
        LinkName {
            database: "data".into(),
            peer: "a \"b\" \\ {c},\n".into(),
        }
    }

    #[test]
    fn samples_with_labels() {
        let page = Page::parse(
            "# HELP a_total What it is\n# TYPE a_total counter\n\
             a_total{database=\"data\",peer=\"a \\\"b\\\" \\\\ {c},\\n\"} 12\n\n\
             a_total{database=\"other\",peer=\"x\"} 5\n\
             b{database=\"data\",peer=\"a \\\"b\\\" \\\\ {c},\\n\",le=\"+Inf\",} +Inf 1700000000000\n\
             process 1.5e3\n",
        )
        .unwrap();
        assert_eq!(page.value(&link(), "a_total"), 12.0);
        assert_eq!(page.one(&link(), "b", "le", "+Inf"), f64::INFINITY);
        assert_eq!(page.one(&link(), "b", "le", "1"), 0.0);
        assert_eq!(page.process("process"), Some(1500.0));
        assert_eq!(page.process("absent"), None);
        assert_eq!(page.links().len(), 2);
        assert!(page.has("b") && !page.has("c"));
    }

    #[test]
    fn what_is_no_sample_names_its_line() {
        for line in [
            "<html>",
            "a",
            "a x",
            "a{b} 1",
            "a{b=\"c} 1",
            "a{b=\"c\"d=\"e\"} 1",
            "a{b=\"c\"",
            "a 1 2 3",
            "a 1 x",
            "{a=\"b\"} 1",
        ] {
            let text = format!("# comment\n{line}\n");
            assert_eq!(Page::parse(&text), Err(PageError { line: 2 }), "{line}");
        }
    }
}

//! What is being done, on standard error: a line that changes on a terminal, one for each table in a pipe.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

pub(crate) struct Progress {
    /// `None` in a pipe.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Of so many measurements.
    pub(crate) fn start(measurements: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(measurements);
            let template = "{bar:24.cyan/dim} {pos}/{len} {elapsed} {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar }
    }

    pub(crate) fn table(&self, title: &str) {
        if self.bar.is_none() {
            eprintln!("measuring {title}");
        }
    }

    pub(crate) fn measurement(&self, title: &str, row: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{title}: {row}"));
        }
    }

    pub(crate) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Prints to standard output, past the bar.
    pub(crate) fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

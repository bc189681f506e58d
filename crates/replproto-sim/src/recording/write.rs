//! Records what a link is told.

use std::fmt::Write;

use replproto_core::{Config, Epoch, Input, Instant, Start};
use serde_json::json;

/// Records the newest link of a world.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    text: String,
    began: Instant,
}

impl Recorder {
    /// A link begins. What there is of an earlier one is dropped.
    pub(crate) fn begin(&mut self, epoch: Epoch, start: &Start, config: &Config, now: Instant) {
        self.text.clear();
        self.began = now;
        let begin = json!({ "replproto": 1, "epoch": epoch, "start": start, "config": config });
        self.line(&begin);
    }

    /// The link is told something.
    pub(crate) fn input(&mut self, now: Instant, input: &Input) {
        let since = |at: Instant| Instant::ZERO.after(at.since(self.began));
        let input = match input {
            Input::Drain { deadline } => &Input::Drain {
                deadline: since(*deadline),
            },
            other => other,
        };
        let line = json!({ "at": since(now), "input": input });
        self.line(&line);
    }

    fn line(&mut self, line: &serde_json::Value) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::recording::replay;

    #[test]
    fn what_is_recorded_is_replayed() {
        let mut recorder = Recorder::default();
        let config = Config::new("us", "data");
        let now = Instant::from_micros(5_000_000);
        recorder.begin(Epoch(1), &Start::Copy, &config, now);
        recorder.begin(Epoch(2), &Start::Copy, &config, now);
        recorder.input(now, &Input::Connected);
        let deadline = now.after(Duration::from_secs(2));
        recorder.input(now, &Input::Drain { deadline });
        let text = recorder.finish();
        assert!(text.contains("\"deadline\":2000000"), "{text}");
        let done = replay(&text, |_| ()).expect("it holds");
        assert_eq!((done.links, done.inputs), (1, 2));
    }
}

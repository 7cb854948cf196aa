//! Owns `benchmark.log`: the messages of the command, with their times.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use evalscope_model::time::wall_ns;

use crate::console;

/// The name of the file.
pub(crate) const LOG: &str = "benchmark.log";

/// A log that several threads may write to.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    file: Arc<Mutex<File>>,
    /// A progress bar is on the screen: messages go above it.
    bar: Arc<Mutex<Option<indicatif::ProgressBar>>>,
}

impl Log {
    pub(crate) fn create(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(LOG);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
            bar: Arc::default(),
        })
    }

    /// Say something to the person, and keep it.
    pub(crate) fn info(&self, text: &str) {
        self.screen(console::err, text);
        self.keep("INFO", wall_ns(), text);
    }

    /// Warn the person, and keep it.
    pub(crate) fn warn(&self, text: &str) {
        self.screen(console::warn, text);
        self.keep("WARNING", wall_ns(), text);
    }

    /// A detail of `--debug`, with the time it happened.
    pub(crate) fn debug(&self, unix_ns: u64, text: &str) {
        let line = line("DEBUG", unix_ns, text);
        self.screen(console::err, &line);
        self.write(&line);
    }

    /// Keep something that is shown in another way.
    pub(crate) fn keep(&self, level: &str, unix_ns: u64, text: &str) {
        self.write(&line(level, unix_ns, text));
    }

    pub(crate) fn set_bar(&self, bar: Option<indicatif::ProgressBar>) {
        if let Ok(mut place) = self.bar.lock() {
            *place = bar;
        }
    }

    fn screen(&self, say: fn(&str), text: &str) {
        match self.bar.lock().ok().and_then(|bar| bar.clone()) {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    fn write(&self, line: &str) {
        // the file is read in terminals
        if let Ok(mut file) = self.file.lock() {
            // a full disk is found by the database, which matters more
            let _ = writeln!(file, "{}", console::tame(line));
        }
    }
}

/// A line in the manner of Python's logging, which log readers know.
fn line(level: &str, unix_ns: u64, text: &str) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(unix_ns)).map_or_else(
        |_| String::new(),
        |at| {
            at.to_zoned(jiff::tz::TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S,%3f")
                .to_string()
        },
    );
    format!("{time} - evalscope - {level} - {text}")
}

//! Progress for whoever watches: a bar on a terminal, a line now and then elsewhere. Always on stderr.

use std::{
    io::IsTerminal as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use assay_ledger::records::Chain;
use indicatif::{ProgressBar, ProgressStyle};

/// Where progress goes.
#[derive(Clone)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    last_line: Arc<AtomicU64>,
}

/// Without a terminal, one line every so many blocks.
const LINE_EVERY: u64 = 5;

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner} [{elapsed_precise}] {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, quiet, last_line: Arc::new(AtomicU64::new(0)) }
    }

    /// Something happened that stays on the screen.
    pub(super) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None if self.quiet => {}
            None => eprintln!("{line}"),
        }
    }

    /// Clears the line that moves, before the result is printed.
    pub(super) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// The chain moved.
    pub(super) fn at(&self, height: u64, chain: &Chain, last_epoch: Option<u64>) {
        let goal = last_epoch.map_or(String::new(), |last| format!(", settling up to epoch {last}"));
        let left = chain.epoch_end.saturating_sub(height);
        let line = format!("block {height} · epoch {} ({left} blocks left){goal}", chain.epoch);
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None if height >= self.last_line.load(Ordering::Relaxed) + LINE_EVERY => {
                self.last_line.store(height, Ordering::Relaxed);
                self.say(&line);
            }
            None => {}
        }
    }
}

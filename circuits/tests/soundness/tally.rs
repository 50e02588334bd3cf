//! What was tried and what became of it.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// No proof was made.
    Unproved,
    /// The verifier, or the checker, turned it down.
    Rejected,
    /// It was accepted.
    Accepted,
}

/// Counts of one kind of attack on one operation.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    tried: usize,
    unproved: usize,
    rejected: usize,
}

/// Counts by operation and attack.
#[derive(Debug)]
pub(crate) struct Tally {
    system: &'static str,
    counts: BTreeMap<(String, &'static str), Counts>,
    accepted: Vec<String>,
    notes: Vec<String>,
}

impl Tally {
    pub(crate) fn new(system: &'static str) -> Self {
        Self { system, counts: BTreeMap::new(), accepted: Vec::new(), notes: Vec::new() }
    }

    /// Counts an attempt; `what` tells it from others where it was accepted.
    pub(crate) fn count(&mut self, operation: &str, attack: &'static str, fate: Fate, what: impl FnOnce() -> String) {
        let counts = self.counts.entry((operation.to_owned(), attack)).or_default();
        counts.tried += 1;
        match fate {
            Fate::Unproved => counts.unproved += 1,
            Fate::Rejected => counts.rejected += 1,
            Fate::Accepted => self.accepted.push(format!("{operation}, {attack}: {}", what())),
        }
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Prints the table.
    ///
    /// # Panics
    /// If anything was accepted, or nothing was tried.
    pub(crate) fn finish(self) {
        println!("{self}");
        assert!(!self.counts.is_empty(), "{} was never tried", self.system);
        assert!(self.accepted.is_empty(), "{} accepted:\n{}", self.system, self.accepted.join("\n"));
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.system)?;
        writeln!(f, "| operation | attack | tried | not proved | rejected | accepted |")?;
        writeln!(f, "|---|---|---:|---:|---:|---:|")?;
        let mut total = Counts::default();
        for ((operation, attack), c) in &self.counts {
            let accepted = c.tried - c.unproved - c.rejected;
            writeln!(f, "| {operation} | {attack} | {} | {} | {} | {accepted} |", c.tried, c.unproved, c.rejected)?;
            total.tried += c.tried;
            total.unproved += c.unproved;
            total.rejected += c.rejected;
        }
        let Counts { tried, unproved, rejected } = total;
        writeln!(f, "| all | all | {tried} | {unproved} | {rejected} | {} |", tried - unproved - rejected)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))
    }
}

//! `assay simulate`: does attacking pay?

use std::time::Instant;

use clap::Args;
use eyre::ensure;
use serde_json::json;

use super::global::{Global, table};
use crate::simulate::{Attack, Defence, Extent, Plan, Row, plans, simulate};

#[derive(Args, Debug)]
pub(super) struct Simulate {
    /// The attack.
    #[arg(long, value_enum, value_name = "NAME", required_unless_present = "all")]
    attack: Option<Attack>,
    /// Every attack at 5, 20, 33 and 49 % of stake, and without its defence.
    #[arg(long, conflicts_with_all = ["attack", "stake", "keys", "without"])]
    all: bool,
    /// Fewer rows and shorter runs, with --all.
    #[arg(long, requires = "all", conflicts_with = "attack")]
    quick: bool,
    /// The attacker's share of all stake: above 0 and below 0.5.
    #[arg(long, value_name = "F", default_value = "0.2", value_parser = share)]
    stake: u64,
    /// The attacker's keys.
    #[arg(long, value_name = "K", default_value = "1")]
    keys: usize,
    /// Epochs of each run [default: 30; with --quick 12].
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// The first seed: the same one gives the same result.
    #[arg(long, value_name = "S", default_value = "1")]
    seed: u64,
    /// Runs with seeds that follow each other; an interval needs two [default: 6; with --quick 4].
    #[arg(long, value_name = "M")]
    seeds: Option<u64>,
    /// Switch a defence off; may be given several times.
    #[arg(long, value_enum, value_name = "DEFENCE")]
    without: Vec<Defence>,
}

/// A share of stake in basis points.
fn share(text: &str) -> Result<u64, String> {
    let share: f64 = text.parse().map_err(|_| "expected a number like 0.2".to_owned())?;
    if !(share > 0.0 && share < 0.5) {
        return Err("expected a share above 0 and below 0.5".into());
    }
    let points = (share * 10_000.0).round();
    if points < 1.0 || (points - share * 10_000.0).abs() > 1e-6 {
        return Err("expected at most four digits after the point".into());
    }
    Ok(points as u64)
}

pub(super) fn run(global: &Global, command: &Simulate) -> eyre::Result<bool> {
    ensure!(command.keys > 0, "--keys must be at least 1");
    let mut extent = if command.quick { Extent::QUICK } else { Extent::FULL };
    extent.epochs = command.epochs.unwrap_or(extent.epochs);
    extent.seeds = command.seeds.unwrap_or(extent.seeds);
    let plans = match command.attack {
        None => plans(command.seed, extent),
        Some(attack) => vec![Plan {
            attack,
            share: command.stake,
            keys: command.keys,
            epochs: extent.epochs,
            seed: command.seed,
            seeds: extent.seeds,
            without: command.without.iter().copied().collect(),
        }],
    };
    let begun = Instant::now();
    let bar = global.progress("simulating");
    let found = simulate(&plans)?;
    bar.finish_and_clear();
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let rows = &found.rows;
    global.show(&json!({ "rows": rows }), || words(rows));
    global.hint(format!(
        "{} epochs of the ledger in {:.0} s: {:.0} a minute.",
        found.epochs,
        minutes * 60.0,
        found.epochs as f64 / minutes
    ));
    Ok(true)
}

fn words(rows: &[Row]) -> String {
    let line = |row: &Row| {
        [
            row.attack.clone(),
            row.without.clone().unwrap_or_else(|| "-".into()),
            format!("{:.0} %", row.stake * 100.0),
            row.keys.to_string(),
            format!("{:.3}", row.relative_profit),
            format!("{:.3} to {:.3}", row.interval[0], row.interval[1]),
            row.cost.map_or_else(|| format!("({})", row.gain), |cost| format!("{cost:.1}")),
            if row.ok { "ok".into() } else { "NOT OK".to_owned() },
        ]
    };
    let mut text = table(
        ["attack", "without", "stake", "keys", "relative profit", "95 % interval", "cost, ASY", ""],
        rows.iter().map(line),
    );
    let mut notes: Vec<_> = rows.iter().filter(|r| !r.note.is_empty()).map(|r| (&r.attack, &r.note)).collect();
    notes.dedup();
    text.push('\n');
    notes.iter().for_each(|(attack, note)| text.push_str(&format!("{attack}: {note}\n")));
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_stake_is_a_number_between_nothing_and_half() {
        assert_eq!(share("0.2").unwrap(), 2_000);
        assert_eq!(share("0.0005").unwrap(), 5);
        for wrong in ["0", "0.5", "1", "-0.1", "NaN", "a", "0.00001", "0.33333"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}

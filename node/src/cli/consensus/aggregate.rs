//! `assay consensus aggregate`: validators' scores into one, by any method.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use assay_consensus::aggregate::{
    Bounds, Method, NoConsensus, Outlier, OutlierReason, Report, Rules, aggregate,
    fixed::types::{I32F32, I64F64, U64F64},
    seed,
};
use clap::Args;
use eyre::{WrapErr as _, bail, ensure, eyre};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Number, Value, json};

use crate::cli::{
    files,
    global::{Global, pairs, table},
};

/// Larger inputs are no list of validators.
const MAX_BYTES: u64 = 64 << 20;
/// Most decimals of a stake: those of an amount in ASY.
const MAX_DECIMALS: usize = 9;
/// How the seed system says that there are too few.
const INSUFFICIENT: &str = "insufficient_validators";

#[derive(Args, Debug)]
pub(in crate::cli) struct Aggregate {
    /// robust, weighted_median, median, trimmed_mean, stake_weighted or confidence_weighted; with seed_ before it, the
    /// seed system's.
    #[arg(long, value_name = "M", default_value = "robust", value_parser = Method::from_str)]
    method: Method,
    /// The scores as JSON, `-` for stdin: {"outlier_threshold"?, "min_validators"?, "input": [{"score", "confidence", "stake"}]}.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
}

/// What the file says.
///
/// Numbers become binary64 on their way: within 0 to 1 their error is below `2^-53`, so that the nearest multiple of
/// `2^-32` is that of the decimal. Whole stakes stay exact up to `2^64`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `input`")]
struct Case {
    outlier_threshold: Option<f64>,
    min_validators: Option<u32>,
    input: Vec<Entry>,
    /// A case of the seed system's vectors can be given as it stands.
    #[serde(default, rename = "name")]
    _name: IgnoredAny,
    #[serde(default, rename = "note")]
    _note: IgnoredAny,
    #[serde(default, rename = "expected")]
    _expected: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `score`, `confidence` and `stake`")]
struct Entry {
    score: f64,
    confidence: f64,
    stake: Number,
}

/// What comes out.
#[derive(Debug)]
struct Settled {
    value: f64,
    confidence: f64,
    outliers: Vec<Outlier>,
    error: Option<&'static str>,
}

fn parse(bytes: &[u8]) -> eyre::Result<Case> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let case: Case = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.into_inner());
        // A path of nothing but a dot says no more than the error itself.
        if path == "." { eyre!("{inner}") } else { eyre!("{path}: {inner}") }
    })?;
    json.end()?;
    ensure!(!case.input.is_empty(), "input: expected at least one report, found none");
    for (i, entry) in case.input.iter().enumerate() {
        let stake = entry.stake.as_f64().unwrap_or(f64::NAN);
        ensure!(stake >= 0.0, "input[{i}].stake: expected a number from 0 up, found {}", entry.stake);
    }
    Ok(case)
}

fn settle(method: Method, case: &Case) -> eyre::Result<Settled> {
    if method.is_seed() { settle_as_seed(method, case) } else { settle_as_ledger(method, case) }
}

fn settle_as_ledger(method: Method, case: &Case) -> eyre::Result<Settled> {
    let mut rules = Rules::of(method);
    rules.min_validators = case.min_validators.unwrap_or(rules.min_validators);
    if let Some(cut_off) = case.outlier_threshold {
        rules.cut_off_milli = thousandths(cut_off).ok_or_else(|| {
            eyre!("outlier_threshold: expected a number from 0 to 4294967.295 with at most three decimals, found {cut_off}")
        })?;
    }
    let stakes = whole_stakes(case)?;
    // Far out of bounds is out of bounds.
    let report = |(entry, stake): (&Entry, u64)| Report {
        value: I32F32::saturating_from_num(entry.score),
        stake,
        confidence: I32F32::saturating_from_num(entry.confidence),
    };
    let reports: Vec<_> = case.input.iter().zip(stakes).map(report).collect();
    let settled = aggregate(&rules, Bounds::UNIT, &reports)?;
    Ok(Settled {
        value: shortest(settled.value)?,
        confidence: shortest(settled.confidence)?,
        outliers: settled.outliers,
        error: None,
    })
}

/// The seed system's formulas on all the bits that a file gives: on a chain they never run.
fn settle_as_seed(method: Method, case: &Case) -> eyre::Result<Settled> {
    let rules = Rules::of(method);
    let cut_off = case.outlier_threshold.unwrap_or(f64::from(rules.cut_off_milli) / 1000.0);
    // What does not fit is refused below, by index.
    let report = |(entry, stake): (&Entry, U64F64)| seed::Report {
        score: I64F64::saturating_from_num(entry.score),
        confidence: I64F64::saturating_from_num(entry.confidence),
        stake,
    };
    let reports: Vec<_> = case.input.iter().zip(proportions(case)).map(report).collect();
    let min_validators = case.min_validators.unwrap_or(rules.min_validators);
    match seed::settle(method.formula(), I64F64::saturating_from_num(cut_off), min_validators, &reports) {
        Ok(settled) => Ok(Settled {
            value: settled.value.to_num(),
            confidence: settled.confidence.to_num(),
            outliers: settled.outliers,
            error: None,
        }),
        Err(NoConsensus::TooFewValidators { .. }) => {
            Ok(Settled { value: 0.0, confidence: 0.0, outliers: Vec::new(), error: Some(INSUFFICIENT) })
        }
        Err(NoConsensus::OutOfRange { index, field }) => {
            let least = if field == "score" { "-2^31" } else { "0" };
            bail!("input[{index}].{field}: expected a number from {least} to below 2^31 for {method}")
        }
        Err(error) => Err(error.into()),
    }
}

/// The stakes in proportion: as they stand where all are whole and below `2^64`, else in the unit, a power of two, by which
/// the largest has 63 bits.
fn proportions(case: &Case) -> Vec<U64F64> {
    let stakes = || case.input.iter().map(|entry| &entry.stake);
    if let Some(whole) = stakes().map(|stake| stake.as_u64().map(U64F64::from)).collect() {
        return whole;
    }
    let floats = || stakes().map(|stake| stake.as_f64().unwrap_or(0.0));
    let largest = floats().fold(0.0, f64::max);
    let up = if largest > 0.0 { 62 - largest.log2().floor() as i32 } else { 0 };
    // Exact: only exponents change. In two steps, as the power may lie beyond binary64's own.
    let (half, rest) = (2f64.powi(up / 2), 2f64.powi(up - up / 2));
    floats().map(|stake| U64F64::saturating_from_num(stake * half * rest)).collect()
}

/// A number with at most three decimals, in thousandths.
fn thousandths(x: f64) -> Option<u32> {
    let scaled = (1000.0 * x).round();
    let fits = (0.0..=f64::from(u32::MAX)).contains(&scaled) && scaled / 1000.0 == x;
    fits.then_some(scaled as u32)
}

/// The stakes as whole numbers in proportion: counted in the smallest decimal place that any of them has.
fn whole_stakes(case: &Case) -> eyre::Result<Vec<u64>> {
    // Without an exponent: digits, and decimals if there are any.
    let plain = |entry: &Entry| match (entry.stake.as_u64(), entry.stake.as_f64()) {
        // A zero has no sign here.
        (None, Some(stake)) => stake.abs().to_string(),
        _ => entry.stake.to_string(),
    };
    let decimals = |text: &str| text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let texts: Vec<_> = case.input.iter().map(plain).collect();
    let most = texts.iter().map(|text| decimals(text)).max().unwrap_or(0);
    let stake = |(i, text): (usize, &String)| {
        ensure!(
            decimals(text) <= MAX_DECIMALS,
            "input[{i}].stake: expected at most {MAX_DECIMALS} decimals, found {text}"
        );
        let digits = format!("{}{}", text.replace('.', ""), "0".repeat(most - decimals(text)));
        let unit =
            if most == 0 { String::new() } else { format!(" when counted in units of 10^-{most}, as another is") };
        digits.parse().map_err(|_| eyre!("input[{i}].stake: expected less than 2^64{unit}, found {text}"))
    };
    texts.iter().enumerate().map(stake).collect()
}

/// The shortest decimal that reads back as the same multiple of `2^-32`.
fn shortest(x: I32F32) -> eyre::Result<f64> {
    Ok(x.to_string().parse()?)
}

fn words(reason: &OutlierReason, cut_off: f64) -> String {
    match reason {
        OutlierReason::OutOfBounds => "invalid: the score is out of 0..=1".into(),
        OutlierReason::ConfidenceOutOfRange => "invalid: the confidence is out of 0..=1".into(),
        OutlierReason::NoStake => "invalid: no stake behind it".into(),
        OutlierReason::Deviates { z_milli } => {
            format!("deviates: modified Z-score {}.{:03}, above {cut_off}", z_milli / 1000, z_milli % 1000)
        }
    }
}

pub(super) fn run(global: &Global, command: &Aggregate) -> eyre::Result<()> {
    let stdin = command.input == Path::new("-");
    let file = || if stdin { "stdin".into() } else { command.input.display().to_string() };
    let case = parse(&files::read_or_stdin(&command.input, MAX_BYTES)?).wrap_err_with(file)?;
    let settled = settle(command.method, &case).wrap_err_with(file)?;
    let default = f64::from(Rules::of(command.method).cut_off_milli) / 1000.0;
    let why = |outlier: &Outlier| words(&outlier.reason, case.outlier_threshold.unwrap_or(default));
    global.show(&shown(&settled, why), || {
        let rows = [
            ("method", command.method.to_string()),
            ("value", settled.value.to_string()),
            ("confidence", settled.confidence.to_string()),
            ("reports", case.input.len().to_string()),
            ("outliers", settled.outliers.len().to_string()),
        ];
        let mut text = pairs(rows.into_iter().chain(settled.error.map(|error| ("error", error.to_owned()))));
        let row = |outlier: &Outlier| {
            // Indices are those of the input.
            let Entry { score, stake, .. } = &case.input[outlier.index as usize];
            [outlier.index.to_string(), score.to_string(), stake.to_string(), why(outlier)]
        };
        if !settled.outliers.is_empty() {
            text += &table(["index", "score", "stake", "why it is an outlier"], settled.outliers.iter().map(row));
        }
        text
    });
    Ok(())
}

fn shown(settled: &Settled, why: impl Fn(&Outlier) -> String) -> Value {
    let outliers: Vec<_> =
        settled.outliers.iter().map(|outlier| json!({ "index": outlier.index, "reason": why(outlier) })).collect();
    let mut value = json!({ "value": settled.value, "confidence": settled.confidence, "outliers": outliers });
    if let Some(error) = settled.error {
        value["error"] = error.into();
    }
    value
}

#[cfg(test)]
mod tests;

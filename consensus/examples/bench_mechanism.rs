//! Measures one settlement, as the ledger computes it, on a subnet drawn at random: `make bench-mechanism`.
//!
//! ```text
//! bench_mechanism VALIDATORS MINERS DENSITY RUNS FOLDER
//! ```
//!
//! `DENSITY` is the percentage of scores and bonds that are there. Prints one JSON object with milliseconds, the least
//! of the runs; leaves the subnet and the result in `FOLDER` as raw little-endian numbers, so that others can settle the
//! same subnet and compare. One thread throughout.

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use assay_consensus::{
    aggregate::{Bounds, Report, Rules, aggregate},
    rewards::{Bonding, Input, Layout, LiquidAlpha, Params, epoch, epoch_in},
};
use fixed::types::I32F32;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [validators, miners, density, runs, folder] = arguments.as_slice() else {
        return Err("expected VALIDATORS MINERS DENSITY RUNS FOLDER".into());
    };
    let (validators, miners) = (validators.parse()?, miners.parse()?);
    let mut input = subnet(validators, miners, density.parse()?);
    let runs: usize = runs.parse()?;
    let folder = Path::new(folder);

    let (aggregating, settled) = least(runs, || verdicts(&input, validators, miners));
    input.flagged = settled.flagged;
    let classic = Params::default();
    let yuma3 = |liquid_alpha| Params { bonding: Bonding::Yuma3 { liquid_alpha }, ..classic };
    let (rewarding, output) = least(runs, || epoch(&classic, &input));
    let output = output?;
    let timed = |layout, params: &Params| least(runs, || epoch_in(layout, params, &input)).0;
    let (sparse, dense) = (timed(Layout::Sparse, &classic), timed(Layout::Dense, &classic));
    let (of_yuma3, _) = least(runs, || epoch(&yuma3(None), &input));
    let (of_liquid, _) = least(runs, || epoch(&yuma3(Some(LiquidAlpha::default())), &input));

    fs::create_dir_all(folder)?;
    let write = |name: &str, numbers: Vec<i64>| {
        fs::write(folder.join(name), numbers.into_iter().flat_map(i64::to_le_bytes).collect::<Vec<u8>>())
    };
    let bits = |shares: &[I32F32]| shares.iter().map(|x| x.to_bits()).collect();
    write("stake", input.stake[..validators].iter().map(|s| *s as i64).collect())?; // below 2^50
    // Absent entries as -1.
    let mut cells = (vec![-1; validators * miners], vec![-1; validators * miners]);
    for i in 0..validators {
        let at = |uid: &u16| i * miners + usize::from(*uid) - validators;
        input.weights[i].iter().for_each(|(j, weight)| cells.0[at(j)] = weight.to_bits());
        input.bonds[i].iter().for_each(|(j, bond)| cells.1[at(j)] = i64::from(*bond));
    }
    write("scores", cells.0)?;
    write("bonds", cells.1)?;
    write("values", bits(&settled.values))?;
    write("incentive", bits(&output.incentive[validators..]))?;
    write("dividends", bits(&output.dividends[..validators]))?;

    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "{{\"aggregate_ms\": {:.4}, \"epoch_ms\": {:.4}, \"sparse_ms\": {:.4}, \"dense_ms\": {:.4}, \"yuma3_ms\": {:.4}, \
         \"liquid_ms\": {:.4}, \"outliers\": {}}}",
        ms(aggregating),
        ms(rewarding),
        ms(sparse),
        ms(dense),
        ms(of_yuma3),
        ms(of_liquid),
        input.flagged.len(),
    );
    Ok(())
}

/// The least time of some runs, and what the last one gave.
fn least<T>(runs: usize, mut run: impl FnMut() -> T) -> (Duration, T) {
    let mut timed = || {
        let start = Instant::now();
        let found = run();
        (start.elapsed(), found)
    };
    let (mut least, mut found) = timed();
    for _ in 1..runs {
        let (time, again) = timed();
        least = least.min(time);
        found = again;
    }
    (least, found)
}

/// What the validators agreed on.
struct Verdicts {
    /// Settled score of each miner; 0 where too few reported.
    values: Vec<I32F32>,
    flagged: BTreeSet<(u16, u16)>,
}

/// Gathers the reports on each miner and settles them, as the ledger does.
fn verdicts(input: &Input, validators: usize, miners: usize) -> Verdicts {
    let mut reports: Vec<Vec<(u16, Report)>> = vec![Vec::new(); miners];
    for (i, row) in (0u16..).zip(&input.weights[..validators]) {
        for (j, value) in row {
            let stake = input.stake[usize::from(i)];
            let report = Report { value: *value, stake, confidence: I32F32::ONE };
            reports[usize::from(*j) - validators].push((i, report));
        }
    }
    let mut settled = Verdicts { values: Vec::with_capacity(miners), flagged: BTreeSet::new() };
    let mut of_miner = Vec::new();
    for (j, reports) in (0u16..).zip(&reports) {
        of_miner.clear();
        of_miner.extend(reports.iter().map(|(_, report)| *report));
        let Ok(verdict) = aggregate(&Rules::default(), Bounds::UNIT, &of_miner) else {
            settled.values.push(I32F32::ZERO);
            continue;
        };
        settled.values.push(verdict.value);
        let uid = j + validators as u16; // at most 65535 uids, or the epoch refuses them
        settled.flagged.extend(verdict.outliers.iter().map(|outlier| (reports[outlier.index as usize].0, uid)));
    }
    settled
}

/// Validators whose reports lie around each miner's quality, one in fifty far from it.
fn subnet(validators: usize, miners: usize, density: u64) -> Input {
    // SplitMix64, by G. Steele, D. Lea and C. Flood.
    let mut state = 7u64;
    let mut draw = |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    };
    let n = validators + miners;
    let validates: Vec<bool> = (0..n).map(|uid| uid < validators).collect();
    let mut input = Input {
        stake: validates.iter().map(|validates| if *validates { 1 + draw(1 << 50) } else { 0 }).collect(),
        active: validates.clone(),
        permit: validates.clone(),
        new_permit: validates,
        last_update: vec![10; n],
        registered: vec![0; n],
        last_epoch: 5,
        weights: vec![vec![]; n],
        bonds: vec![vec![]; n],
        emission: 1_000_000_000_000,
        ..Input::default()
    };
    let quality: Vec<i64> = (0..miners).map(|_| draw(1 << 32) as i64).collect(); // below 2^32
    for i in 0..validators {
        for (j, quality) in (validators as u16..).zip(&quality) {
            if draw(100) >= density {
                continue;
            }
            let near = quality + draw(1 << 27) as i64 - (1 << 26); // below 2^32 too
            let score = if draw(50) == 0 { draw(1 << 32) as i64 } else { near.clamp(0, 1 << 32) };
            input.weights[i].push((j, I32F32::from_bits(score)));
            input.bonds[i].push((j, draw(1 << 16) as u16)); // fits: below 2^16
        }
    }
    input
}

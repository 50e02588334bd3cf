//! Inputs whose class is known, and the tasks made of them.
//!
//! A task is a scan with a little seeded noise: [`NOISY_PIXELS`] distinct pixels move by one step of
//! 0..=[`PIXEL_HIGH`]. Too little to change what the scan shows, enough that no task is asked twice and that no two
//! miners are asked the same. Which scan is used depends on validator, epoch and index only, so that all miners meet
//! the same difficulty; the noise depends on the miner too, so that answers cannot be passed around.

use assay_primitives::{AccountId, Hash32, domain};
use serde::Deserialize;

/// The largest pixel value.
pub const PIXEL_HIGH: u8 = 16;
/// How many pixels a task changes; fewer where the scan is smaller.
pub const NOISY_PIXELS: usize = 6;

/// Why a text holds no canaries.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// Not JSON of the expected form.
    #[error("canaries: expected [{{\"label\": 0..=9, \"pixels\": [...]}}, ...]: {0}")]
    Json(#[from] serde_json::Error),
    /// No scan at all.
    #[error("canaries: expected at least one scan, found none")]
    Empty,
    /// A scan that does not fit the others, or has impossible values.
    #[error("canaries: scan {at}: {reason}")]
    Scan {
        /// Its position, from 0.
        at: usize,
        /// Expected and found.
        reason: String,
    },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scan {
    label: u8,
    pixels: Vec<u8>,
}

/// Labelled scans, all of one size.
#[derive(Clone, Debug)]
pub struct CanarySet(Vec<Scan>);

/// What a validator's tasks of one epoch are drawn from.
#[derive(Clone, Debug)]
pub struct EpochSeed {
    /// The chain.
    pub genesis: Hash32,
    /// Public randomness of the epoch, which nobody knew before.
    pub randomness: Hash32,
    /// Known to the validator only.
    pub secret: Hash32,
    /// The epoch.
    pub epoch: u64,
}

impl EpochSeed {
    /// The seed of `(miner, index)`; without a miner, of what all miners share.
    pub(crate) fn of(&self, miner: Option<&AccountId>, index: u32) -> Hash32 {
        domain::hash(domain::TASK_SEED, &self.genesis, &(self.randomness, self.secret, self.epoch, miner, index))
    }
}

/// An input with its known class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryTask {
    /// The class.
    pub label: u32,
    /// Pixels in 0..=[`PIXEL_HIGH`], row by row.
    pub pixels: Vec<u8>,
}

impl CanarySet {
    /// Reads `[{"label": d, "pixels": [...]}]`.
    ///
    /// # Errors
    /// [`CanaryError`], naming the scan.
    pub fn from_json(text: &str) -> Result<Self, CanaryError> {
        let scans: Vec<Scan> = serde_json::from_str(text)?;
        let size = scans.first().ok_or(CanaryError::Empty)?.pixels.len();
        for (at, scan) in scans.iter().enumerate() {
            let wrong = |reason| Err(CanaryError::Scan { at, reason });
            if size == 0 || scan.pixels.len() != size {
                return wrong(format!(
                    "expected {size} pixels like the first scan (and at least one), found {}",
                    scan.pixels.len()
                ));
            }
            if let Some(pixel) = scan.pixels.iter().find(|p| **p > PIXEL_HIGH) {
                return wrong(format!("a pixel lies in 0..={PIXEL_HIGH}, found {pixel}"));
            }
            if scan.label > 9 {
                return wrong(format!("a label lies in 0..=9, found {}", scan.label));
            }
        }
        Ok(Self(scans))
    }

    /// Pixels of each scan.
    pub fn input_len(&self) -> usize {
        self.0[0].pixels.len()
    }

    /// The task number `index` of the epoch for `miner`; the same arguments give the same task.
    pub fn task(&self, seed: &EpochSeed, miner: &AccountId, index: u32) -> CanaryTask {
        let pick = word(&seed.of(None, index).0, 0) % self.0.len() as u64;
        let scan = &self.0[pick as usize];
        let mut pixels = scan.pixels.clone();
        let noise = seed.of(Some(miner), index).0;
        let mut moved = vec![false; pixels.len()];
        for n in 0..NOISY_PIXELS.min(pixels.len()) {
            let drawn = u16::from_le_bytes([noise[2 * n], noise[2 * n + 1]]);
            let mut at = usize::from(drawn >> 1) % pixels.len();
            while moved[at] {
                at = (at + 1) % pixels.len();
            }
            moved[at] = true;
            // At an end of the range there is one way to go, so that every drawn pixel does change.
            let up = pixels[at] == 0 || (pixels[at] < PIXEL_HIGH && drawn & 1 == 1);
            pixels[at] = if up { pixels[at] + 1 } else { pixels[at] - 1 };
        }
        CanaryTask { label: u32::from(scan.label), pixels }
    }
}

fn word(bytes: &[u8; 32], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn digits() -> CanarySet {
        CanarySet::from_json(include_str!("../../assets/digits/heldout.json")).unwrap()
    }

    fn seed(epoch: u64) -> EpochSeed {
        EpochSeed { genesis: Hash32([1; 32]), randomness: Hash32([2; 32]), secret: Hash32([3; 32]), epoch }
    }

    #[test]
    fn the_same_seed_gives_the_same_task_and_any_other_gives_another() {
        let (set, a, b) = (digits(), AccountId([1; 32]), AccountId([2; 32]));
        let task = set.task(&seed(5), &a, 0);
        assert_eq!(task, set.task(&seed(5), &a, 0));
        let mut seen = BTreeSet::new();
        for epoch in 0..20 {
            for index in 0..10 {
                assert!(seen.insert(set.task(&seed(epoch), &a, index).pixels));
                assert!(seen.insert(set.task(&seed(epoch), &b, index).pixels));
            }
        }
        let other_secret = EpochSeed { secret: Hash32([4; 32]), ..seed(5) };
        assert_ne!(task, set.task(&other_secret, &a, 0));
    }

    #[test]
    fn all_miners_meet_the_same_scans_in_an_epoch() {
        let set = digits();
        for index in 0..20 {
            let label = |m| set.task(&seed(1), &AccountId([m; 32]), index).label;
            assert_eq!(label(1), label(2));
        }
    }

    proptest! {
        #[test]
        fn noise_moves_a_few_pixels_by_one_step_within_range(miner: [u8; 32], epoch: u64, index: u32) {
            let set = digits();
            let task = set.task(&seed(epoch), &AccountId(miner), index);
            let apart = |scan: &Scan| -> Vec<u8> { scan.pixels.iter().zip(&task.pixels).map(|(a, b)| a.abs_diff(*b)).collect() };
            let source = set.0.iter().find(|s| {
                let apart = apart(s);
                apart.iter().all(|d| *d <= 1) && apart.iter().filter(|d| **d == 1).count() == NOISY_PIXELS
            });
            prop_assert_eq!(source.map(|s| u32::from(s.label)), Some(task.label));
            prop_assert!(task.pixels.iter().all(|p| *p <= PIXEL_HIGH));
        }
    }

    #[test]
    fn malformed_canaries_are_refused_and_the_scan_is_named() {
        let error = |text: &str| CanarySet::from_json(text).unwrap_err().to_string();
        assert!(error("[]").contains("found none"));
        assert!(error("{").contains("canaries"));
        assert!(error(r#"[{"label":1,"pixels":[1]},{"label":1,"pixels":[1,2]}]"#).contains("scan 1"));
        assert!(error(r#"[{"label":1,"pixels":[17]}]"#).contains("0..=16"));
        assert!(error(r#"[{"label":10,"pixels":[1]}]"#).contains("0..=9"));
        assert!(error(r#"[{"label":1,"pixels":[]}]"#).contains("at least one"));
        assert!(error(r#"[{"label":1,"pixels":[1],"more":1}]"#).contains("more"));
    }
}

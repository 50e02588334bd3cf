//! Logits to a token.
//!
//! Every step is defined to the bit, so that a validator that has the logits, the parameters and the seed draws the
//! same token: biases and penalties are added to the logits; at temperature 0 the largest wins, the first of equal
//! ones; otherwise the exponentials are cut by `top_k`, `min_p` and `top_p` (in that order, each on what the one before
//! left, ranked by descending value and ascending token), and one uniform number picks from the rest in ascending
//! order of tokens. The number of token `i` comes from a ChaCha20 stream of the request's seed, numbered `i`.

use std::{cmp::Ordering, collections::BTreeMap};

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde::{Deserialize, Serialize};

use super::lanes::{Kernel, LANES, Lanes, Level, exp, sum};

/// Below this temperature the likeliest token is taken: nothing else would be drawn, and quotients might be no numbers.
const COLD: f32 = 1e-4;

/// How tokens are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 takes the likeliest token; more flattens the distribution. 0..=2.
    pub temperature: f32,
    /// The likeliest tokens that together have at least this probability are kept. Over 0, up to 1.
    pub top_p: f32,
    /// So many of the likeliest tokens are kept; 0 is all.
    pub top_k: u32,
    /// Tokens of at least this part of the likeliest one's probability are kept. 0..=1.
    pub min_p: f32,
    /// Taken from the logit of each token that was drawn before. -2..=2.
    pub presence_penalty: f32,
    /// Taken from a token's logit for each time it was drawn before. -2..=2.
    pub frequency_penalty: f32,
    /// Added to tokens' logits. -100..=100.
    pub bias: BTreeMap<u32, f32>,
    /// Of the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            bias: BTreeMap::new(),
            seed: 0,
        }
    }
}

/// A parameter out of its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{parameter}` lies in {range}, found {found}")]
pub struct SamplingError {
    /// Its name in the API.
    pub parameter: &'static str,
    /// In words.
    pub range: &'static str,
    /// What was asked for.
    pub found: f64,
}

impl Sampling {
    /// Checks each parameter's range.
    ///
    /// # Errors
    /// [`SamplingError`], naming the parameter.
    pub fn check(&self) -> Result<(), SamplingError> {
        let within = |parameter, range, found: f32, ok: bool| {
            if ok { Ok(()) } else { Err(SamplingError { parameter, range, found: found.into() }) }
        };
        let t = self.temperature;
        within("temperature", "0 to 2", t, (0.0..=2.0).contains(&t))?;
        within("top_p", "0 (excluded) to 1", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0)?;
        within("min_p", "0 to 1", self.min_p, (0.0..=1.0).contains(&self.min_p))?;
        for (name, value) in
            [("presence_penalty", self.presence_penalty), ("frequency_penalty", self.frequency_penalty)]
        {
            within(name, "-2 to 2", value, (-2.0..=2.0).contains(&value))?;
        }
        for bias in self.bias.values() {
            within("logit_bias", "-100 to 100", *bias, (-100.0..=100.0).contains(bias))?;
        }
        Ok(())
    }
}

/// Draws one sequence's tokens, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    stream: ChaCha20Rng,
    drawn: BTreeMap<u32, u32>,
    index: u64,
}

impl Sampler {
    /// A sampler before its first token.
    pub(crate) fn new(sampling: Sampling) -> Self {
        let seed = *blake3::derive_key("assay sampling stream v1", &sampling.seed.to_le_bytes())
            .first_chunk()
            .expect("32 bytes");
        Self { sampling, stream: ChaCha20Rng::from_seed(seed), drawn: BTreeMap::new(), index: 0 }
    }

    /// Adds biases and penalties to the logits; what a constraint forbids is negative infinity already.
    pub(crate) fn adjust(&self, logits: &mut [f32]) {
        for (token, bias) in &self.sampling.bias {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += bias;
            }
        }
        let (presence, frequency) = (self.sampling.presence_penalty, self.sampling.frequency_penalty);
        if presence != 0.0 || frequency != 0.0 {
            for (token, times) in &self.drawn {
                logits[*token as usize] -= presence + frequency * *times as f32;
            }
        }
    }

    /// Draws the next token from adjusted logits, and remembers it.
    pub(crate) fn draw(&mut self, level: Level, logits: &[f32]) -> u32 {
        let token = self.would_draw(level, logits);
        self.take(token);
        token
    }

    /// The token that [`Sampler::draw`] would draw.
    pub(crate) fn would_draw(&self, level: Level, logits: &[f32]) -> u32 {
        if self.sampling.temperature < COLD {
            return likeliest(logits);
        }
        let mut stream = self.stream.clone();
        stream.set_stream(self.index);
        // 53 bits, as many as a double holds.
        let uniform = (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut weights = vec![0.0; logits.len()];
        level.run(Weigh { logits, temperature: self.sampling.temperature, weights: &mut weights });
        self.cut(&mut weights);
        let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let mut left = uniform * total;
        let mut last = 0;
        for (token, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            last = token;
            left -= f64::from(*weight);
            if left < 0.0 {
                break;
            }
        }
        last as u32
    }

    /// Remembers a token as drawn.
    pub(crate) fn take(&mut self, token: u32) {
        *self.drawn.entry(token).or_default() += 1;
        self.index += 1;
    }

    /// Sets the weights of what is cut to nothing.
    fn cut(&self, weights: &mut [f32]) {
        let Sampling { top_k, top_p, min_p, .. } = self.sampling;
        let most = weights.iter().fold(0f32, |m, w| m.max(*w));
        if min_p > 0.0 {
            let least = most * min_p;
            weights.iter_mut().filter(|w| **w < least).for_each(|w| *w = 0.0);
        }
        if top_k == 0 && top_p >= 1.0 {
            return;
        }
        let rank = |a: &(u32, f32), b: &(u32, f32)| match b.1.total_cmp(&a.1) {
            Ordering::Equal => a.0.cmp(&b.0),
            other => other,
        };
        let mut ranked: Vec<(u32, f32)> =
            weights.iter().enumerate().filter(|(_, w)| **w > 0.0).map(|(t, w)| (t as u32, *w)).collect();
        if top_k > 0 && (top_k as usize) < ranked.len() {
            ranked.select_nth_unstable_by(top_k as usize, rank);
            ranked.truncate(top_k as usize);
        }
        ranked.sort_unstable_by(rank);
        if top_p < 1.0 {
            // In the order of rank, so that the sum does not depend on how the ranks were found.
            let total: f64 = ranked.iter().map(|(_, w)| f64::from(*w)).sum();
            let enough = total * f64::from(top_p);
            let mut sum = 0.0;
            let kept = ranked.iter().position(|(_, w)| {
                sum += f64::from(*w);
                sum >= enough
            });
            ranked.truncate(kept.map_or(ranked.len(), |at| at + 1));
        }
        weights.fill(0.0);
        ranked.into_iter().for_each(|(token, weight)| weights[token as usize] = weight);
    }
}

/// The token with the largest logit, the first of equal ones.
pub(crate) fn likeliest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (at, some) in logits.chunks(4 * LANES).enumerate() {
        // Most have none that is larger, which is quickly seen.
        let most = logits[best];
        if some.iter().fold(false, |any, logit| any | (*logit > most)) {
            for (i, logit) in some.iter().enumerate() {
                if *logit > logits[best] {
                    best = at * 4 * LANES + i;
                }
            }
        }
    }
    best as u32
}

struct Weigh<'a> {
    logits: &'a [f32],
    temperature: f32,
    weights: &'a mut [f32],
}

impl Kernel for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    fn with<L: Lanes>(self, l: L) {
        let most = self.logits.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
        let inverse = l.splat(1.0 / self.temperature);
        for (logits, weights) in self.logits.chunks(LANES).zip(self.weights.chunks_mut(LANES)) {
            let mut lanes = [f32::NEG_INFINITY; LANES];
            lanes[..logits.len()].copy_from_slice(logits);
            let e = exp(l, l.mul(l.sub(l.load(&lanes), l.splat(most)), inverse));
            let mut out = [0.0; LANES];
            l.store(e, &mut out);
            for ((weight, logit), e) in weights.iter_mut().zip(logits).zip(out) {
                *weight = if *logit == f32::NEG_INFINITY { 0.0 } else { e };
            }
        }
    }
}

/// The natural logarithm of the sum of the logits' exponentials.
pub(crate) fn log_total(level: Level, logits: &[f32]) -> f32 {
    struct Total<'a>(&'a [f32], f32);
    impl Kernel for Total<'_> {
        type Output = f32;

        #[inline(always)]
        fn with<L: Lanes>(self, l: L) -> f32 {
            let mut total = l.splat(0.0);
            for logits in self.0.chunks(LANES) {
                let mut lanes = [f32::NEG_INFINITY; LANES];
                lanes[..logits.len()].copy_from_slice(logits);
                total = l.add(total, exp(l, l.sub(l.load(&lanes), l.splat(self.1))));
            }
            sum(l, total)
        }
    }
    let most = logits.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
    most + libm::logf(level.run(Total(logits, most)))
}

/// The `n` likeliest tokens with their logits, by descending logit and ascending token.
pub(crate) fn top(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    let mut ranked: Vec<(u32, f32)> = Vec::with_capacity(n + 1);
    for (token, logit) in logits.iter().enumerate() {
        if ranked.len() == n && ranked.last().is_none_or(|(_, least)| logit <= least) {
            continue;
        }
        let at = ranked.partition_point(|(_, l)| l >= logit);
        ranked.insert(at, (token as u32, *logit));
        ranked.truncate(n);
    }
    ranked
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drawn(sampling: Sampling, logits: &[f32], n: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling);
        (0..n)
            .map(|_| {
                let mut logits = logits.to_vec();
                sampler.adjust(&mut logits);
                sampler.draw(Level::best(), &logits)
            })
            .collect()
    }

    #[test]
    fn cold_draws_take_the_first_of_the_likeliest() {
        assert_eq!(drawn(Sampling::default(), &[1.0, 3.0, 3.0, 2.0], 2), [1, 1]);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
        let sampling = Sampling { temperature: 1.0, seed: 3, ..Sampling::default() };
        let tokens = drawn(sampling, &logits, 20_000);
        for (token, p) in [0.1, 0.2, 0.3, 0.4].iter().enumerate() {
            let share = tokens.iter().filter(|t| **t == token as u32).count() as f64 / 20_000.0;
            assert!((share - p).abs() < 0.012, "{token}: {share}");
        }
    }

    #[test]
    fn cuts_keep_the_likeliest() {
        let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
        let seen = |sampling: Sampling| {
            let mut seen = drawn(Sampling { temperature: 1.0, ..sampling }, &logits, 500);
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        let base = Sampling::default;
        assert_eq!(seen(Sampling { top_k: 2, ..base() }), [2, 3]);
        assert_eq!(seen(Sampling { top_p: 0.69, ..base() }), [2, 3]);
        assert_eq!(seen(Sampling { top_p: 0.71, ..base() }), [1, 2, 3]);
        assert_eq!(seen(Sampling { min_p: 0.6, ..base() }), [2, 3]);
        assert_eq!(seen(Sampling { top_k: 3, top_p: 0.5, ..base() }), [2, 3]);
    }

    #[test]
    fn penalties_turn_to_other_tokens_and_biases_forbid() {
        let base = Sampling::default;
        assert_eq!(drawn(Sampling { frequency_penalty: 0.6, ..base() }, &[1.0, 0.5], 3), [0, 1, 0]);
        assert_eq!(drawn(Sampling { bias: [(0, -100.0)].into(), ..base() }, &[1.0, 0.5], 1), [1]);
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let base = Sampling::default;
        for (bad, name) in [
            (Sampling { temperature: -0.1, ..base() }, "temperature"),
            (Sampling { temperature: f32::NAN, ..base() }, "temperature"),
            (Sampling { top_p: 0.0, ..base() }, "top_p"),
            (Sampling { presence_penalty: 2.5, ..base() }, "presence_penalty"),
            (Sampling { bias: [(1, 101.0)].into(), ..base() }, "logit_bias"),
        ] {
            assert_eq!(bad.check().unwrap_err().parameter, name);
        }
        assert_eq!(base().check(), Ok(()));
    }

    proptest! {
        #[test]
        fn a_seed_draws_the_same_on_all_lanes(
            logits in proptest::collection::vec(-20f32..20.0, 1..300),
            seed: u64,
            temperature in 0.1f32..2.0,
            top_p in 0.1f32..=1.0,
            top_k in 0u32..50,
        ) {
            let sampling = Sampling { temperature, top_p, top_k, seed, ..Sampling::default() };
            let sampler = Sampler::new(sampling);
            let portable = sampler.would_draw(Level::Portable, &logits);
            for level in Level::all() {
                prop_assert_eq!(sampler.would_draw(*level, &logits), portable);
            }
            prop_assert!((portable as usize) < logits.len());
        }

        #[test]
        fn the_likeliest_is_the_first_of_the_largest(logits in proptest::collection::vec(prop_oneof![8 => -3i8..3, 1 => Just(9)], 0..300)) {
            let logits: Vec<f32> = logits.into_iter().map(|l| if l == 9 { f32::NAN } else { f32::from(l) }).collect();
            let plain = logits.iter().enumerate().fold(0, |best, (at, l)| if *l > logits[best] { at } else { best });
            prop_assert_eq!(likeliest(&logits) as usize, plain);
        }

        #[test]
        fn the_top_is_what_a_sort_gives(logits in proptest::collection::vec(-3i8..3, 1..60), n in 1usize..20) {
            let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
            let mut sorted: Vec<(u32, f32)> = logits.iter().enumerate().map(|(t, l)| (t as u32, *l)).collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            sorted.truncate(n);
            prop_assert_eq!(top(&logits, n), sorted);
        }

        #[test]
        fn the_logarithm_of_the_total_is_close(logits in proptest::collection::vec(-30f32..30.0, 1..100)) {
            let exact = logits.iter().map(|l| f64::from(*l).exp()).sum::<f64>().ln();
            prop_assert!((f64::from(log_total(Level::best(), &logits)) - exact).abs() < 1e-4);
        }
    }
}

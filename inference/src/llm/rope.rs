//! Rotary positions (Su et al., 2021).

use super::config::{Rope, Scaling};

/// Cosines and sines of every position, made once.
#[derive(Debug)]
pub(crate) struct Rotations {
    /// `[position][dims / 2]` of `(cos, sin)`.
    table: Vec<(f32, f32)>,
    half: usize,
}

impl Rotations {
    /// Those of `positions` positions. `divisors`, if any, divide the frequencies, as GGUF files of Llama 3.1 have them.
    pub(crate) fn new(rope: &Rope, theta: f32, scaled: bool, divisors: Option<&[f32]>, positions: usize) -> Self {
        let half = rope.dims / 2;
        let frequencies: Vec<f32> = (0..half)
            .map(|i| {
                let frequency = 1.0 / libm::powf(theta, 2.0 * i as f32 / rope.dims as f32);
                let frequency = match divisors {
                    Some(divisors) => frequency / divisors[i],
                    None => frequency,
                };
                if scaled { rope.scaling.map_or(frequency, |s| stretch(s, frequency)) } else { frequency }
            })
            .collect();
        let at = |position: usize, f: &f32| {
            let angle = position as f32 * f;
            (libm::cosf(angle), libm::sinf(angle))
        };
        let table = (0..positions).flat_map(|p| frequencies.iter().map(move |f| at(p, f))).collect();
        Self { table, half }
    }

    /// Turns the first dimensions of a head by its position.
    ///
    /// # Panics
    /// If the position is beyond the table.
    #[inline(always)]
    pub(crate) fn turn(&self, position: usize, head: &mut [f32]) {
        let (low, rest) = head.split_at_mut(self.half);
        let turns = &self.table[position * self.half..][..self.half];
        for ((a, b), (cos, sin)) in low.iter_mut().zip(&mut rest[..self.half]).zip(turns) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

fn stretch(scaling: Scaling, frequency: f32) -> f32 {
    match scaling {
        Scaling::Linear { factor } => frequency / factor,
        Scaling::Llama3 { factor, low, high, original } => {
            let wavelength = 2.0 * std::f32::consts::PI / frequency;
            if wavelength > original / low {
                frequency / factor
            } else if wavelength < original / high {
                frequency
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

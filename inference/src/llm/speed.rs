//! About how fast a model will be here: what its products take, measured on a small matrix of the same form.

use std::time::Instant;

use serde::Serialize;

use super::{
    matrix::{Form, Matrix, Output, Panels, Rows, Then, products},
    threads::Threads,
};

/// Outputs and inputs of the matrix that is measured: eight bits of it do not fit the nearer caches.
const OUTPUTS: usize = 4096;
const INPUTS: usize = 2048;
/// Rows of a prompt that are measured together: between what the engine takes beside others and alone.
const TOGETHER: usize = 128;
/// What a step takes beside its products, as a share of them.
const BESIDE: f64 = 0.15;

/// Tokens a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Of an answer, alone.
    pub decode: f64,
    /// Of a prompt.
    pub prefill: f64,
}

/// Seconds that a product with one weight takes in one row of so many.
fn measure(threads: &Threads, form: Form, rows: usize) -> Option<f64> {
    // Numbers do not matter, only how many there are.
    let weights = vec![0.5; OUTPUTS * INPUTS];
    let kept = if matches!(form, Form::Q6K | Form::Q4K) { Form::Q8 } else { form };
    let matrix = Matrix::from_floats(kept, OUTPUTS, INPUTS, &weights).ok()?;
    let mut from = Rows::default();
    from.reset(rows, INPUTS);
    from.floats_mut().fill(0.25);
    from.quantise_if(threads, matrix.is_quantised());
    let mut best = f64::INFINITY;
    for _ in 0..4 {
        let mut out = Panels::default();
        out.reset(rows, OUTPUTS);
        let start = Instant::now();
        threads.step(|| {
            products(threads, &from, &mut [Output { matrix: &matrix, bias: None, then: Then::Put, out: &mut out }])
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    Some(best / (OUTPUTS * INPUTS * rows) as f64)
}

/// About how fast a model with these matrices is, on so many threads.
pub(super) fn estimate(matrices: &[(Form, u64)], threads: usize) -> Option<Speed> {
    let threads = Threads::new(threads).ok()?;
    let (mut decode, mut prefill) = (0.0, 0.0);
    for (form, weights) in matrices {
        decode += measure(&threads, *form, 1)? * *weights as f64;
        prefill += measure(&threads, *form, TOGETHER)? * *weights as f64;
    }
    let rate = |seconds: f64| 1.0 / (seconds * (1.0 + BESIDE)).max(1e-9);
    Some(Speed { decode: rate(decode), prefill: rate(prefill) })
}

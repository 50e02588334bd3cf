//! Operations of the model with their gradients, each in one pass over its values and on all threads.
//!
//! `candle`'s own fused operations have no gradient, and its composed ones go over the values many times on one thread.
//! Matrices are multiplied by `candle`; everything else is here. Each gradient is compared with differences in the tests.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Error, Layout, Result, Shape, Storage, Tensor};
use rayon::prelude::*;

/// The values of a contiguous operand.
fn operand<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (from, to) =
        layout.contiguous_offsets().ok_or_else(|| Error::Msg("an operand is not contiguous".to_owned()))?;
    Ok(&storage.as_slice::<f32>()?[from..to])
}

/// Copies a tensor's values.
fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(operand(storage, layout)?.to_vec()),
        _ => Err(Error::Msg("training runs on processors".to_owned())),
    }
}

fn like(values: Vec<f32>, tensor: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, tensor.shape(), tensor.device())
}

fn output(values: Vec<f32>, shape: &Shape) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.clone())
}

/// Rows divided by their root mean square, times a weight.
struct RmsNorm {
    epsilon: f32,
}

impl RmsNorm {
    fn inverse(&self, row: &[f32]) -> f32 {
        1.0 / (row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32 + self.epsilon).sqrt()
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (operand(x, lx)?, operand(w, lw)?);
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(w.len()).zip(x.par_chunks(w.len())).for_each(|(out, x)| {
            let inverse = self.inverse(x);
            for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
                *out = x * inverse * w;
            }
        });
        Ok(output(out, lx.shape()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (xs, ws, gs) = (values(x)?, values(w)?, values(grad)?);
        let width = ws.len();
        let mut dx = vec![0.0; xs.len()];
        // Some rows at a time, whose sums are added in their order: the same on any number of threads.
        let piece = 64 * width;
        let parts: Vec<Vec<f32>> = dx
            .par_chunks_mut(piece)
            .zip(xs.par_chunks(piece))
            .zip(gs.par_chunks(piece))
            .map(|((dx, x), g)| {
                let mut dw = vec![0.0; width];
                for ((dx, x), g) in dx.chunks_mut(width).zip(x.chunks(width)).zip(g.chunks(width)) {
                    let inverse = self.inverse(x);
                    let mut dot = 0.0;
                    for i in 0..width {
                        dw[i] += g[i] * x[i] * inverse;
                        dot += g[i] * ws[i] * x[i];
                    }
                    let share = dot * inverse * inverse / width as f32;
                    for i in 0..width {
                        dx[i] = inverse * (g[i] * ws[i] - x[i] * share);
                    }
                }
                dw
            })
            .collect();
        let mut dw = vec![0.0; width];
        parts.iter().for_each(|part| dw.iter_mut().zip(part).for_each(|(a, b)| *a += b));
        Ok((Some(like(dx, x)?), Some(like(dw, w)?)))
    }
}

/// Pairs `(i, i + half)` of each head turned by their position; `[batch][length][heads * dim]`.
struct Rotate {
    length: usize,
    dim: usize,
    theta: f32,
    back: bool,
}

impl Rotate {
    fn turn(&self, x: &[f32], width: usize) -> Vec<f32> {
        let half = self.dim / 2;
        let turns: Vec<(f32, f32)> = (0..self.length)
            .flat_map(|p| (0..half).map(move |i| (p, i)))
            .map(|(p, i)| {
                let angle = p as f32 / libm::powf(self.theta, i as f32 / half as f32);
                (libm::cosf(angle), if self.back { -libm::sinf(angle) } else { libm::sinf(angle) })
            })
            .collect();
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(width).zip(x.par_chunks(width)).enumerate().for_each(|(row, (out, x))| {
            let turns = &turns[row % self.length * half..][..half];
            for (out, x) in out.chunks_mut(self.dim).zip(x.chunks(self.dim)) {
                for (i, (cos, sin)) in turns.iter().enumerate() {
                    out[i] = x[i] * cos - x[i + half] * sin;
                    out[i + half] = x[i + half] * cos + x[i] * sin;
                }
            }
        });
        out
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = layout.dims().last().copied().unwrap_or(1);
        Ok(output(self.turn(operand(x, layout)?, width), layout.shape()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = Rotate { back: !self.back, ..*self };
        let width = x.dim(candle_core::D::Minus1)?;
        Ok(Some(like(back.turn(&values(grad)?, width), x)?))
    }
}

/// Causal attention of all heads; `[batch][length][heads * dim]`.
#[derive(Clone, Copy)]
struct Attend {
    length: usize,
    dim: usize,
}

/// A head's rows out of `[length][width]`, and back.
struct Rows<'a> {
    values: &'a [f32],
    width: usize,
    from: usize,
    dim: usize,
}

impl Rows<'_> {
    fn copy(&self, length: usize) -> Vec<f32> {
        (0..length).flat_map(|row| &self.values[row * self.width + self.from..][..self.dim]).copied().collect()
    }
}

impl Attend {
    /// Weights of row `i` over rows `0..=i`.
    fn weights(&self, q: &[f32], k: &[f32], i: usize, out: &mut [f32]) {
        let dim = self.dim;
        let scale = 1.0 / (dim as f32).sqrt();
        let q = &q[i * dim..][..dim];
        let mut most = f32::NEG_INFINITY;
        for (j, out) in out.iter_mut().enumerate() {
            *out = dot(q, &k[j * dim..][..dim]) * scale;
            most = most.max(*out);
        }
        let mut total = 0.0;
        for out in out.iter_mut() {
            *out = (*out - most).exp();
            total += *out;
        }
        out.iter_mut().for_each(|x| *x /= total);
    }

    /// Each head's part of `[batch][length][width]`, computed apart and put together.
    fn heads(&self, width: usize, batch: usize, f: impl Fn(usize, usize) -> Vec<f32> + Sync) -> Vec<f32> {
        let (length, dim, heads) = (self.length, self.dim, width / self.dim);
        let parts: Vec<Vec<f32>> = (0..batch * heads).into_par_iter().map(|i| f(i / heads, i % heads)).collect();
        let mut out = vec![0.0; batch * length * width];
        for (i, part) in parts.iter().enumerate() {
            let (b, head) = (i / heads, i % heads);
            for (row, part) in part.chunks(dim).enumerate() {
                out[(b * length + row) * width + head * dim..][..dim].copy_from_slice(part);
            }
        }
        out
    }
}

#[inline]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Eight sums, so that they can be vectors.
    let mut sums = [0.0f32; 8];
    let (a8, b8) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a8.0.iter().zip(b8.0) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a8.1.iter().zip(b8.1).map(|(a, b)| a * b).sum::<f32>()
}

#[inline]
fn add_scaled(to: &mut [f32], from: &[f32], by: f32) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from * by);
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (operand(q, lq)?, operand(k, lk)?, operand(v, lv)?);
        let (length, dim) = (self.length, self.dim);
        let width = lq.dims().last().copied().unwrap_or(dim);
        let size = length * width;
        let out = self.heads(width, q.len() / size, |b, head| {
            let rows = |x: &[f32]| Rows { values: &x[b * size..][..size], width, from: head * dim, dim }.copy(length);
            let (q, k, v) = (rows(q), rows(k), rows(v));
            let mut out = vec![0.0; length * dim];
            let mut weights = vec![0.0; length];
            for i in 0..length {
                self.weights(&q, &k, i, &mut weights[..=i]);
                for (j, w) in weights[..=i].iter().enumerate() {
                    add_scaled(&mut out[i * dim..][..dim], &v[j * dim..][..dim], *w);
                }
            }
            out
        });
        Ok(output(out, lq.shape()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (qs, ks, vs, gs) = (values(q)?, values(k)?, values(v)?, values(grad)?);
        let (length, dim) = (self.length, self.dim);
        let width = q.dim(candle_core::D::Minus1)?;
        let (size, part) = (length * width, length * dim);
        let scale = 1.0 / (dim as f32).sqrt();
        let heads = width / dim;
        let batch = qs.len() / size;
        let parts: Vec<Vec<f32>> = (0..batch * heads)
            .into_par_iter()
            .map(|at| {
                let (b, head) = (at / heads, at % heads);
                let rows =
                    |x: &[f32]| Rows { values: &x[b * size..][..size], width, from: head * dim, dim }.copy(length);
                let (q, k, v, g) = (rows(&qs), rows(&ks), rows(&vs), rows(&gs));
                let mut all = vec![0.0; 3 * part];
                let (dq, rest) = all.split_at_mut(part);
                let (dk, dv) = rest.split_at_mut(part);
                let (mut weights, mut slopes) = (vec![0.0; length], vec![0.0; length]);
                for i in 0..length {
                    let weights = &mut weights[..=i];
                    self.weights(&q, &k, i, weights);
                    let g = &g[i * dim..][..dim];
                    let mut mean = 0.0;
                    for (j, w) in weights.iter().enumerate() {
                        slopes[j] = dot(g, &v[j * dim..][..dim]);
                        mean += slopes[j] * w;
                        add_scaled(&mut dv[j * dim..][..dim], g, *w);
                    }
                    for (j, w) in weights.iter().enumerate() {
                        let slope = w * (slopes[j] - mean) * scale;
                        add_scaled(&mut dq[i * dim..][..dim], &k[j * dim..][..dim], slope);
                        add_scaled(&mut dk[j * dim..][..dim], &q[i * dim..][..dim], slope);
                    }
                }
                all
            })
            .collect();
        let gather = |which: usize| {
            let mut out = vec![0.0; batch * size];
            for (at, all) in parts.iter().enumerate() {
                let (b, head) = (at / heads, at % heads);
                for (row, from) in all[which * part..][..part].chunks(dim).enumerate() {
                    out[(b * length + row) * width + head * dim..][..dim].copy_from_slice(from);
                }
            }
            out
        };
        Ok((Some(like(gather(0), q)?), Some(like(gather(1), k)?), Some(like(gather(2), v)?)))
    }
}

/// `x / (1 + e^-x) * y`
struct Gated;

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, y: &CpuStorage, ly: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, y) = (operand(x, lx)?, operand(y, ly)?);
        let out = x.par_iter().zip(y).with_min_len(4096).map(|(x, y)| x / (1.0 + (-x).exp()) * y).collect();
        Ok(output(out, lx.shape()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (xs, ys, gs) = (values(x)?, values(y)?, values(grad)?);
        let (dx, dy) = xs
            .par_iter()
            .zip(&ys)
            .zip(&gs)
            .with_min_len(4096)
            .map(|((x, y), g)| {
                let s = 1.0 / (1.0 + (-x).exp());
                (g * y * s * (1.0 + x * (1.0 - s)), g * x * s)
            })
            .unzip();
        Ok((Some(like(dx, x)?), Some(like(dy, y)?)))
    }
}

/// The mean of the negative log-probabilities of targets under rows of logits.
struct CrossEntropy {
    targets: Vec<u32>,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = operand(x, layout)?;
        let width = layout.dims().last().copied().unwrap_or(1);
        let losses: Vec<f64> = x
            .par_chunks(width)
            .zip(&self.targets)
            .map(|(row, target)| {
                let most = row.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
                let total: f32 = row.iter().map(|x| (x - most).exp()).sum();
                f64::from(most + total.ln() - row[*target as usize])
            })
            .collect();
        let mean = losses.iter().sum::<f64>() / self.targets.len() as f64;
        Ok((CpuStorage::F32(vec![mean as f32]), Shape::from(())))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = values(x)?;
        let width = x.dim(candle_core::D::Minus1)?;
        let scale = grad.to_dtype(DType::F32)?.to_scalar::<f32>()? / self.targets.len() as f32;
        dx.par_chunks_mut(width).zip(&self.targets).for_each(|(row, target)| {
            let most = row.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
            let mut total = 0.0;
            for x in row.iter_mut() {
                *x = (*x - most).exp();
                total += *x;
            }
            row.iter_mut().for_each(|x| *x *= scale / total);
            row[*target as usize] -= scale;
        });
        Ok(Some(like(dx, x)?))
    }
}

/// Rows of `x` divided by their root mean square, times `weight`.
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    x.apply_op2(weight, RmsNorm { epsilon: epsilon as f32 })
}

/// `x` `[batch][length][heads * dim]` turned by its positions.
pub(super) fn rotate(x: &Tensor, dim: usize, theta: f32) -> Result<Tensor> {
    x.apply_op1(Rotate { length: x.dim(1)?, dim, theta, back: false })
}

/// Causal attention of `[batch][length][heads * dim]`.
pub(super) fn attend(q: &Tensor, k: &Tensor, v: &Tensor, dim: usize) -> Result<Tensor> {
    q.apply_op3(k, v, Attend { length: q.dim(1)?, dim })
}

/// `silu(gate) * up`
pub(super) fn gated(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.apply_op2(up, Gated)
}

/// The mean loss of targets under rows of logits, in nats.
pub(super) fn cross_entropy(logits: &Tensor, targets: Vec<u32>) -> Result<Tensor> {
    logits.apply_op1(CrossEntropy { targets })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::{Device, Var};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn noise(seed: u64, shape: &[usize]) -> Var {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.gen_range(-1.0f32..1.0)).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Compares each operand's gradient with the difference of the loss when it moves in a direction.
    fn check(vars: &[Var], f: impl Fn(&[Var]) -> Result<Tensor>) {
        // Any weights of the result make a loss whose gradient has no symmetry to hide behind.
        let loss = |vars: &[Var]| {
            let out = f(vars).unwrap();
            let mask = noise(99, out.dims()).as_tensor().clone();
            (out * mask).unwrap().sum_all().unwrap()
        };
        let grads = loss(vars).backward().unwrap();
        for (i, var) in vars.iter().enumerate() {
            let direction = noise(50 + i as u64, var.dims()).as_tensor().clone();
            let expected =
                (grads.get(var).unwrap() * &direction).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            let kept = var.as_tensor().copy().unwrap();
            let step = 1e-2;
            let at = |by: f64| {
                var.set(&(&kept + (&direction * by).unwrap()).unwrap()).unwrap();
                f64::from(loss(vars).to_scalar::<f32>().unwrap())
            };
            let found = (at(step) - at(-step)) / (2.0 * step);
            var.set(&kept).unwrap();
            let size = f64::from(expected.abs()).max(0.05);
            assert!((found - f64::from(expected)).abs() / size < 2e-2, "operand {i}: {found} {expected}");
        }
    }

    #[test]
    fn each_gradient_is_the_slope() {
        check(&[noise(1, &[3, 5, 8]), noise(2, &[8])], |v| rms_norm(&v[0], &v[1], 1e-5));
        check(&[noise(3, &[2, 5, 8])], |v| rotate(&v[0], 4, 100.0));
        let three = [noise(4, &[2, 6, 8]), noise(5, &[2, 6, 8]), noise(6, &[2, 6, 8])];
        check(&three, |v| attend(&v[0], &v[1], &v[2], 4));
        check(&[noise(7, &[4, 6]), noise(8, &[4, 6])], |v| gated(&v[0], &v[1]));
        check(&[noise(9, &[4, 7])], |v| cross_entropy(&v[0], vec![0, 6, 3, 3]));
    }

    #[test]
    fn each_is_what_candle_composes() {
        let apart = |a: &Tensor, b: &Tensor| {
            (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap()
        };
        let (x, w) = (noise(1, &[3, 5, 8]), noise(2, &[8]));
        let theirs = candle_nn::ops::rms_norm_slow(&x, &w, 1e-5).unwrap();
        assert!(apart(&rms_norm(&x, &w, 1e-5).unwrap(), &theirs) < 1e-6);
        let logits = noise(9, &[4, 7]);
        let targets = Tensor::new(&[0u32, 6, 3, 3], &Device::Cpu).unwrap();
        let theirs = candle_nn::loss::cross_entropy(&logits, &targets).unwrap();
        let ours = cross_entropy(&logits, vec![0, 6, 3, 3]).unwrap();
        assert!((ours.to_scalar::<f32>().unwrap() - theirs.to_scalar::<f32>().unwrap()).abs() < 1e-6);
    }
}

//! Attention of new positions over the pages of their sequences.
//!
//! For each query: scores of all positions up to its own (`fma` over the dimensions in order, times the scale, capped
//! where the model caps), their exponentials less the largest, the sum of those (sixteen lanes by position, then the
//! lanes), and the weighted sum of values (`fma` over the positions in order), divided by it. The order is the same
//! whether a position comes alone or with others of its sequence; those only share the loads.

use super::{
    arena::{Element, Head, Heads, PAGE, PageId},
    lanes::{Kernel, LANES, Lanes, exp, sum, tanh},
    threads::Threads,
};

/// Queries of one sequence at consecutive positions, at most [`TOGETHER`] of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    /// The sequence's pages; the keys and values of all these positions are in them.
    pub(crate) pages: &'a [PageId],
    /// The first query's row in the batch.
    pub(crate) row: usize,
    /// How many.
    pub(crate) count: usize,
    /// The first query's position.
    pub(crate) position: usize,
}

/// Queries that share loads.
pub(crate) const TOGETHER: usize = 4;

/// What all heads of a layer have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) scale: f32,
    pub(crate) cap: Option<f32>,
    pub(crate) window: Option<usize>,
}

/// Attends with `queries` `[rows][heads][head size]` over a layer's keys and values, into `out` of the same form.
/// Groups are in the order of their rows and cover them all.
pub(crate) fn attend<E: Element>(
    threads: &Threads,
    shape: Shape,
    kv: &Heads<E>,
    groups: &[Group<'_>],
    queries: &[f32],
    out: &mut [f32],
) {
    let per_kv = shape.heads / kv.len();
    let width = shape.heads * shape.head_dim;
    // Few queries are shared out by heads too.
    let split = if groups.len() < 4 * threads.count() { shape.heads } else { 1 };
    let mut jobs = Vec::with_capacity(groups.len() * split);
    let mut rest = out;
    for group in groups {
        let (mine, others) = rest.split_at_mut(group.count * width);
        rest = others;
        if group.count == 1 && split > 1 {
            for (head, out) in mine.chunks_exact_mut(shape.head_dim).enumerate() {
                jobs.push(Job { group, heads: head..head + 1, out, stride: 0 });
            }
        } else {
            jobs.push(Job { group, heads: 0..shape.heads, out: mine, stride: width });
        }
    }
    let level = threads.level();
    threads.all(jobs, |job| {
        for (at, head) in job.heads.clone().enumerate() {
            level.run(Attend {
                shape,
                kv: &kv[head / per_kv],
                group: job.group,
                queries: &queries[job.group.row * width + head * shape.head_dim..],
                query_stride: width,
                next: ((head + 1).is_multiple_of(per_kv) && head + 1 < job.heads.end).then(|| &kv[(head + 1) / per_kv]),
                out: &mut job.out[at * shape.head_dim..],
                stride: job.stride,
            });
        }
    });
}

struct Job<'a> {
    group: &'a Group<'a>,
    heads: std::ops::Range<usize>,
    out: &'a mut [f32],
    stride: usize,
}

struct Attend<'a, E> {
    shape: Shape,
    kv: &'a Head<E>,
    group: &'a Group<'a>,
    queries: &'a [f32],
    query_stride: usize,
    /// The next head to read keys of, where it is another: they are asked for while this one's values are summed.
    next: Option<&'a Head<E>>,
    out: &'a mut [f32],
    stride: usize,
}

impl<E: Element> Kernel for Attend<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with<L: Lanes>(self, l: L) {
        match self.group.count {
            1 => self.queries::<L, 1>(l),
            2 => self.queries::<L, 2>(l),
            3 => self.queries::<L, 3>(l),
            _ => self.queries::<L, TOGETHER>(l),
        }
    }
}

impl<E: Element> Attend<'_, E> {
    #[inline(always)]
    fn queries<L: Lanes, const R: usize>(self, l: L) {
        let Self { shape, kv, group, queries, query_stride, next, out, stride } = self;
        let dims = shape.head_dim;
        // The positions that any of these queries sees: from the first one's window to the last one's own.
        let end = group.position + R;
        let begin = shape.window.map_or(0, |w| (group.position + 1).saturating_sub(w));
        let (first, last) = (begin / PAGE, end.div_ceil(PAGE));
        let q: [&[f32]; R] = std::array::from_fn(|r| &queries[r * query_stride..][..dims]);

        let mut scores: [Vec<[f32; LANES]>; R] = std::array::from_fn(|_| vec![[0.0; LANES]; last - first]);
        let mut page = first;
        while page < last {
            if last - page >= 4 {
                score::<E, L, R, 4>(l, shape, kv, &group.pages[page..], &q, page - first, &mut scores);
                page += 4;
            } else {
                score::<E, L, R, 1>(l, shape, kv, &group.pages[page..], &q, page - first, &mut scores);
                page += 1;
            }
        }

        let mut inverse = [0.0; R];
        for (r, scores) in scores.iter_mut().enumerate() {
            let own = group.position + r;
            let begin = shape.window.map_or(0, |w| (own + 1).saturating_sub(w));
            // What this query does not see, at both ends.
            let seen = |at: usize| (begin..=own).contains(&(first * PAGE + at));
            let hide = |scores: &mut [[f32; LANES]], with: f32| {
                for (page, lanes) in scores.iter_mut().enumerate() {
                    if !seen(page * PAGE) || !seen(page * PAGE + PAGE - 1) {
                        for (lane, score) in lanes.iter_mut().enumerate() {
                            if !seen(page * PAGE + lane) {
                                *score = with;
                            }
                        }
                    }
                }
            };
            hide(scores, f32::NEG_INFINITY);
            let mut most = l.splat(f32::NEG_INFINITY);
            for lanes in scores.iter() {
                most = l.max(l.load(lanes), most);
            }
            let mut lanes = [0.0; LANES];
            l.store(most, &mut lanes);
            let most = l.splat(lanes.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x)));
            for lanes in scores.iter_mut() {
                let e = exp(l, l.sub(l.load(lanes), most));
                l.store(e, lanes);
            }
            hide(scores, 0.0);
            let mut total = l.splat(0.0);
            for lanes in scores.iter() {
                total = l.add(total, l.load(lanes));
            }
            inverse[r] = 1.0 / sum(l, total);
        }

        let lanes = dims.div_ceil(LANES);
        let (heads, seen) = ((kv, next), (first, begin, end));
        let mut at = 0;
        while at < lanes {
            if lanes - at >= 4 {
                mix::<E, L, R, 4>(l, heads, group, seen, &scores, at, lanes, &inverse, out, stride, dims);
                at += 4;
            } else {
                mix::<E, L, R, 1>(l, heads, group, seen, &scores, at, lanes, &inverse, out, stride, dims);
                at += 1;
            }
        }
    }
}

/// Scores of `R` queries with the positions of `P` pages.
#[inline(always)]
fn score<E: Element, L: Lanes, const R: usize, const P: usize>(
    l: L,
    shape: Shape,
    kv: &Head<E>,
    pages: &[PageId],
    q: &[&[f32]; R],
    at: usize,
    scores: &mut [Vec<[f32; LANES]>; R],
) {
    let keys: [&[[E; LANES]]; P] = std::array::from_fn(|p| &kv.keys(pages[p])[..shape.head_dim]);
    // Their values are asked for meanwhile: as many, in the same order.
    let values: [&[[E; LANES]]; P] = std::array::from_fn(|p| &kv.values(pages[p])[..shape.head_dim]);
    let mut sums = [[l.splat(0.0); P]; R];
    for d in 0..shape.head_dim {
        for values in values {
            l.prefetch(&values[d], 0);
        }
        let k: [L::F; P] = std::array::from_fn(|p| E::lanes(l, &keys[p][d]));
        for (sums, q) in sums.iter_mut().zip(q) {
            let q = l.splat(q[d]);
            for (sum, k) in sums.iter_mut().zip(k) {
                *sum = l.fma(k, q, *sum);
            }
        }
    }
    for (scores, sums) in scores.iter_mut().zip(sums) {
        for (p, sum) in sums.into_iter().enumerate() {
            let mut score = l.mul(sum, l.splat(shape.scale));
            if let Some(cap) = shape.cap {
                score = l.mul(l.splat(cap), tanh(l, l.div(score, l.splat(cap))));
            }
            l.store(score, &mut scores[at + p]);
        }
    }
}

/// Sums of values, weighted by the exponentials, in `D` times sixteen dimensions from `at` on.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "a loop's body, apart only for its widths")]
fn mix<E: Element, L: Lanes, const R: usize, const D: usize>(
    l: L,
    (kv, next): (&Head<E>, Option<&Head<E>>),
    group: &Group<'_>,
    (first, begin, end): (usize, usize, usize),
    weights: &[Vec<[f32; LANES]>; R],
    at: usize,
    lanes: usize,
    inverse: &[f32; R],
    out: &mut [f32],
    stride: usize,
    dims: usize,
) {
    let mut sums = [[l.splat(0.0); D]; R];
    for page in first..end.div_ceil(PAGE) {
        let values = kv.values(group.pages[page]);
        let keys = next.map(|next| next.keys(group.pages[page]));
        let from = begin.saturating_sub(page * PAGE);
        let to = (end - page * PAGE).min(PAGE);
        for slot in from..to {
            let v: &[[E; LANES]] = &values[slot * lanes + at..][..D];
            if let Some(keys) = keys {
                keys[slot * lanes + at..][..D].iter().for_each(|keys| l.prefetch(keys, 0));
            }
            let v: [L::F; D] = std::array::from_fn(|d| E::lanes(l, &v[d]));
            for (sums, weights) in sums.iter_mut().zip(weights) {
                let weight = l.splat(weights[page - first][slot]);
                for (sum, v) in sums.iter_mut().zip(v) {
                    *sum = l.fma(weight, v, *sum);
                }
            }
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        for (d, sum) in sums.into_iter().enumerate() {
            let mut lanes = [0.0; LANES];
            l.store(l.mul(sum, l.splat(inverse[r])), &mut lanes);
            let first = (at + d) * LANES;
            let n = (dims - first).min(LANES);
            out[r * stride + first..][..n].copy_from_slice(&lanes[..n]);
        }
    }
}

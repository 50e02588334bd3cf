//! The transformer itself: tokens at positions to logits.
//!
//! ```text
//! tokens ── embedding ──> residual ─┬─ norm ─ q, k, v ─ rope ─ attend over pages ─ o ──(+)─┬─ norm ─ gate, up ─ down ──(+)─ ...
//!                                   └───────────────────────────────────────────────────┘ └──────────────────────────┘
//! ... ── norm of the rows that are asked for ── output ──> logits
//! ```
//!
//! A batch is any mix of rows: the next token of some sequences, a piece of the prompt of another. Rows of one
//! sequence are consecutive and in the order of their positions. Keys and values of all rows are written before any
//! row attends, so that a row sees those before it in the same batch.

use std::sync::Arc;

use super::{
    adapter::{Adapter, Place},
    arena::{Arena, Element, Head, Heads, Layers, PAGE, PageId},
    attention::{self, Group, TOGETHER},
    config::{Activation, Config, Norm},
    lanes::{Kernel, LANES, Lanes, gelu_tanh, silu, sum, tanh},
    matrix::{Matrix, Output, Panels, Rows, Then, products},
    rope::Rotations,
    threads::Threads,
};

/// A linear map with its bias.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) matrix: Matrix,
    pub(crate) bias: Option<Vec<f32>>,
}

/// A norm's weights.
#[derive(Debug)]
pub(crate) struct NormWeights {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Option<Vec<f32>>,
}

/// One layer's weights.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) input_norm: NormWeights,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) output: Linear,
    /// Weights of the norms of a query's and a key's head.
    pub(crate) head_norms: Option<(Vec<f32>, Vec<f32>)>,
    pub(crate) attention_post_norm: Option<NormWeights>,
    /// `None` where the feed-forward part shares the input's norm.
    pub(crate) feed_norm: Option<NormWeights>,
    /// `None` where it is not gated.
    pub(crate) gate: Option<Linear>,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) feed_post_norm: Option<NormWeights>,
}

/// All weights.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) config: Config,
    pub(crate) embedding: Matrix,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: NormWeights,
    /// `None` where the embedding is used.
    pub(crate) output: Option<Linear>,
    pub(crate) rotations: Rotations,
    /// Of windowed layers, where they have their own.
    pub(crate) local_rotations: Option<Rotations>,
}

/// Rows of one sequence in a batch.
#[derive(Clone, Debug)]
pub(crate) struct Run<'a> {
    /// Tokens.
    pub(crate) tokens: &'a [u32],
    /// The first one's position.
    pub(crate) position: usize,
    /// Pages for all positions up to the last of these.
    pub(crate) pages: &'a [PageId],
    /// Rows, counted from the first of these, whose logits are wanted, ascending.
    pub(crate) wanted: std::ops::Range<usize>,
    /// Low-rank changes to the weights.
    pub(crate) adapter: Option<&'a Arc<Adapter>>,
}

/// Room for what is between the layers; kept from step to step.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    residual: Panels,
    normed: Rows,
    q: Panels,
    k: Panels,
    v: Panels,
    queries: Vec<f32>,
    attended: Rows,
    projected: Panels,
    gate: Panels,
    up: Panels,
    mixed: Rows,
    wanted: Rows,
}

impl Scratch {
    /// The last hidden state of a wanted row, as the output layer takes it.
    pub(crate) fn hidden(&self, row: usize) -> &[f32] {
        let width = self.wanted.width();
        &self.wanted.floats()[row * width..][..width]
    }
}

impl Network {
    /// Computes a batch: writes its keys and values into the arena, and the logits of the wanted rows, in order, into
    /// `logits`.
    ///
    /// # Panics
    /// If a token is not in the vocabulary, or a run lacks pages.
    pub(crate) fn forward(
        &self,
        threads: &Threads,
        arena: &mut Arena,
        runs: &[Run<'_>],
        scratch: &mut Scratch,
        logits: &mut Panels,
    ) {
        match &mut arena.layers {
            Layers::F32(layers) => self.forward_over(threads, layers, runs, scratch, logits),
            Layers::F16(layers) => self.forward_over(threads, layers, runs, scratch, logits),
        }
    }

    fn forward_over<E: Element>(
        &self,
        threads: &Threads,
        arena: &mut [Heads<E>],
        runs: &[Run<'_>],
        s: &mut Scratch,
        logits: &mut Panels,
    ) {
        let c = &self.config;
        let rows: usize = runs.iter().map(|r| r.tokens.len()).sum();
        let groups = groups(runs);
        let adapted = adapted(runs);

        s.residual.reset(rows, c.hidden);
        let mut embedded = vec![0.0; c.hidden];
        for (row, token) in runs.iter().flat_map(|r| r.tokens).enumerate() {
            self.embedding.read_row(*token as usize, &mut embedded);
            embedded.iter_mut().for_each(|x| *x *= c.embedding_scale);
            s.residual.write(row, &embedded);
        }

        for (at, (layer, kv)) in self.layers.iter().zip(arena).enumerate() {
            let shares = layer.feed_norm.is_none().then_some(&layer.up);
            let mut readers = [&layer.query, &layer.key, &layer.value].into_iter().chain(shares);
            let quantised = readers.any(|l| l.matrix.is_quantised());
            norm(threads, c.norm, &layer.input_norm, &s.residual, quantised, &mut s.normed);
            s.q.reset(rows, c.query_width());
            s.k.reset(rows, c.kv_width());
            s.v.reset(rows, c.kv_width());
            products(
                threads,
                &s.normed,
                &mut [layer.query.to(&mut s.q), layer.key.to(&mut s.k), layer.value.to(&mut s.v)],
            );
            for (place, out) in [(Place::Query, &mut s.q), (Place::Key, &mut s.k), (Place::Value, &mut s.v)] {
                adapt(threads, &adapted, at, place, &s.normed, out);
            }

            let window = c.windows[at];
            let rotations = match &self.local_rotations {
                Some(local) if window.is_some() => local,
                _ => &self.rotations,
            };
            self.place(threads, layer, rotations, runs, kv, s);
            s.attended.reset(rows, c.query_width());
            let shape = attention::Shape {
                heads: c.heads,
                head_dim: c.head_dim,
                scale: c.attention_scale,
                cap: c.attention_cap,
                window,
            };
            attention::attend(threads, shape, kv, &groups, &s.queries, s.attended.floats_mut());
            s.attended.quantise_if(threads, layer.output.matrix.is_quantised());
            self.back(
                threads,
                &layer.output,
                &s.attended,
                layer.attention_post_norm.as_ref(),
                at,
                Place::Output,
                &adapted,
                &mut s.projected,
                &mut s.residual,
            );

            if let Some(feed_norm) = &layer.feed_norm {
                let quantised = layer.gate.iter().chain([&layer.up]).any(|l| l.matrix.is_quantised());
                norm(threads, c.norm, feed_norm, &s.residual, quantised, &mut s.normed);
            }
            s.up.reset(rows, c.feed_forward);
            let quantised = layer.down.matrix.is_quantised();
            match &layer.gate {
                Some(gate) => {
                    s.gate.reset(rows, c.feed_forward);
                    products(threads, &s.normed, &mut [gate.to(&mut s.gate), layer.up.to(&mut s.up)]);
                    adapt(threads, &adapted, at, Place::Gate, &s.normed, &mut s.gate);
                    adapt(threads, &adapted, at, Place::Up, &s.normed, &mut s.up);
                    activate(threads, c.activation, &s.gate, Some(&s.up), quantised, &mut s.mixed);
                }
                None => {
                    products(threads, &s.normed, &mut [layer.up.to(&mut s.up)]);
                    adapt(threads, &adapted, at, Place::Up, &s.normed, &mut s.up);
                    activate(threads, c.activation, &s.up, None, quantised, &mut s.mixed);
                }
            }
            self.back(
                threads,
                &layer.down,
                &s.mixed,
                layer.feed_post_norm.as_ref(),
                at,
                Place::Down,
                &adapted,
                &mut s.projected,
                &mut s.residual,
            );
        }

        self.logits(threads, runs, s, logits);
    }

    /// Projects back to the residual stream's width and adds the result to it, normed first where there is a norm.
    #[allow(clippy::too_many_arguments, reason = "a step of the forward pass, with its buffers")]
    fn back(
        &self,
        threads: &Threads,
        linear: &Linear,
        rows: &Rows,
        post: Option<&NormWeights>,
        layer: usize,
        place: Place,
        adapted: &[Adapted<'_>],
        projected: &mut Panels,
        residual: &mut Panels,
    ) {
        let Some(post) = post else {
            let (matrix, bias) = (&linear.matrix, linear.bias.as_deref());
            products(threads, rows, &mut [Output { matrix, bias, then: Then::Add, out: residual }]);
            adapt(threads, adapted, layer, place, rows, residual);
            return;
        };
        projected.reset(rows.count(), self.config.hidden);
        products(threads, rows, &mut [linear.to(projected)]);
        adapt(threads, adapted, layer, place, rows, projected);
        let mut normed = Rows::default();
        norm(threads, self.config.norm, post, projected, false, &mut normed);
        for (row, from) in normed.floats().chunks_exact(self.config.hidden).enumerate() {
            for (panel, from) in from.chunks(LANES).enumerate() {
                for (to, x) in residual.lanes_mut(row, panel).iter_mut().zip(from) {
                    *to += x;
                }
            }
        }
    }

    /// Turns queries and keys by their positions, and puts keys and values into their pages.
    fn place<E: Element>(
        &self,
        threads: &Threads,
        layer: &Layer,
        rotations: &Rotations,
        runs: &[Run<'_>],
        kv: &mut Heads<E>,
        s: &mut Scratch,
    ) {
        let c = &self.config;
        let (width, dim) = (c.query_width(), c.head_dim);
        let positions: Vec<(usize, &[PageId])> =
            runs.iter().flat_map(|r| (r.position..r.position + r.tokens.len()).map(|p| (p, r.pages))).collect();
        s.queries.resize(positions.len() * width, 0.0);
        let (q, k, v) = (&s.q, &s.k, &s.v);
        let (query_norm, key_norm) = layer.head_norms.as_ref().map(|(q, k)| (&q[..], &k[..])).unzip();
        let turn_queries = Turn { norm: c.norm, weight: query_norm, rotations };
        let turn_keys = Turn { norm: c.norm, weight: key_norm, rotations };
        let (level, queries, positions) = (threads.level(), &mut s.queries, &positions);
        threads.both(
            || {
                threads.each(queries, width, |row, queries| {
                    q.read(row, 0, queries);
                    let position = positions[row].0;
                    queries
                        .chunks_exact_mut(dim)
                        .for_each(|head| level.run(TurnHead { turn: turn_queries, position, head }));
                });
            },
            || {
                threads.each(kv, 1, |at, head| {
                    level.run(Keep { turn: turn_keys, k, v, first: at * dim, dim, positions, head: &mut head[0] });
                });
            },
        );
    }

    /// The logits of the wanted rows.
    fn logits(&self, threads: &Threads, runs: &[Run<'_>], s: &mut Scratch, logits: &mut Panels) {
        let c = &self.config;
        let wanted: Vec<usize> = runs
            .iter()
            .scan(0, |first, run| {
                let rows = *first + run.wanted.start..*first + run.wanted.end;
                *first += run.tokens.len();
                Some(rows)
            })
            .flatten()
            .collect();
        logits.reset(wanted.len(), c.vocabulary);
        if wanted.is_empty() {
            return;
        }
        let mut chosen = Panels::default();
        chosen.reset(wanted.len(), c.hidden);
        for (to, from) in wanted.iter().enumerate() {
            for panel in 0..c.hidden.div_ceil(LANES) {
                *chosen.lanes_mut(to, panel) = *s.residual.lanes(*from, panel);
            }
        }
        let (matrix, bias) = match &self.output {
            Some(output) => (&output.matrix, output.bias.as_deref()),
            None => (&self.embedding, None),
        };
        norm(threads, c.norm, &self.norm, &chosen, matrix.is_quantised(), &mut s.wanted);
        products(threads, &s.wanted, &mut [Output { matrix, bias, then: Then::Put, out: logits }]);
        if let Some(cap) = c.logit_cap {
            let level = threads.level();
            threads.each(logits.values_mut(), 1 << 14, |_, values| level.run(Cap { cap, values }));
        }
    }
}

impl Linear {
    fn to<'a>(&'a self, out: &'a mut Panels) -> Output<'a> {
        Output { matrix: &self.matrix, bias: self.bias.as_deref(), then: Then::Put, out }
    }
}

/// The runs' rows, a few at a time.
fn groups<'a>(runs: &[Run<'a>]) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    let mut row = 0;
    for run in runs {
        for first in (0..run.tokens.len()).step_by(TOGETHER) {
            let count = (run.tokens.len() - first).min(TOGETHER);
            groups.push(Group { pages: run.pages, row: row + first, count, position: run.position + first });
        }
        row += run.tokens.len();
    }
    groups
}

/// An adapter and the rows it is for.
struct Adapted<'a> {
    adapter: &'a Adapter,
    rows: Vec<usize>,
}

fn adapted<'a>(runs: &[Run<'a>]) -> Vec<Adapted<'a>> {
    let mut found: Vec<Adapted<'a>> = Vec::new();
    let mut row = 0;
    for run in runs {
        let rows = row..row + run.tokens.len();
        row = rows.end;
        let Some(adapter) = run.adapter else { continue };
        match found.iter_mut().find(|a| std::ptr::eq(a.adapter, &raw const **adapter)) {
            Some(same) => same.rows.extend(rows),
            None => found.push(Adapted { adapter, rows: rows.collect() }),
        }
    }
    found
}

/// Adds what the adapters make of their rows.
fn adapt(threads: &Threads, adapted: &[Adapted<'_>], layer: usize, place: Place, from: &Rows, to: &mut Panels) {
    for Adapted { adapter, rows } in adapted {
        adapter.add(threads, layer, place, from, rows, to);
    }
}

/// What is done to each head of a query or key: normed, where the model does, and turned by its position.
#[derive(Clone, Copy)]
struct Turn<'a> {
    norm: Norm,
    weight: Option<&'a [f32]>,
    rotations: &'a Rotations,
}

impl Turn<'_> {
    #[inline(always)]
    fn head(self, position: usize, head: &mut [f32]) {
        if let Some(weight) = self.weight {
            norm_head(self.norm, weight, head);
        }
        self.rotations.turn(position, head);
    }
}

/// Turns one head of a query.
struct TurnHead<'a> {
    turn: Turn<'a>,
    position: usize,
    head: &'a mut [f32],
}

impl Kernel for TurnHead<'_> {
    type Output = ();

    #[inline(always)]
    fn with<L: Lanes>(self, _: L) {
        self.turn.head(self.position, self.head);
    }
}

/// Turns one head's keys, and puts them and its values into the pages of their positions.
struct Keep<'a, E> {
    turn: Turn<'a>,
    k: &'a Panels,
    v: &'a Panels,
    /// The head's first column.
    first: usize,
    dim: usize,
    positions: &'a [(usize, &'a [PageId])],
    head: &'a mut Head<E>,
}

impl<E: Element> Kernel for Keep<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with<L: Lanes>(self, l: L) {
        let (mut key, mut value) = (vec![0.0; self.head.dims()], vec![0.0; self.head.dims()]);
        for (row, (position, pages)) in self.positions.iter().enumerate() {
            self.k.read(row, self.first, &mut key[..self.dim]);
            self.v.read(row, self.first, &mut value[..self.dim]);
            self.turn.head(*position, &mut key[..self.dim]);
            self.head.put(l, pages[position / PAGE], position % PAGE, &key, &value);
        }
    }
}

/// Norms each row, and rounds it to eight bits if that is what comes next.
fn norm(threads: &Threads, norm: Norm, weights: &NormWeights, from: &Panels, quantised: bool, to: &mut Rows) {
    let level = threads.level();
    let shape = (from.count(), from.width());
    to.fill(threads, shape, quantised, |row, to| level.run(NormRow { norm, weights, from, row, to }));
}

struct NormRow<'a> {
    norm: Norm,
    weights: &'a NormWeights,
    from: &'a Panels,
    row: usize,
    to: &'a mut [f32],
}

impl Kernel for NormRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with<L: Lanes>(self, l: L) {
        let Self { norm, weights, from, row, to } = self;
        let width = to.len();
        let panels = width.div_ceil(LANES);
        let (epsilon, plus_one) = match norm {
            Norm::Rms { plus_one, epsilon } => (epsilon, plus_one),
            Norm::Layer { epsilon } => (epsilon, false),
        };
        let mut mean = 0.0;
        if matches!(norm, Norm::Layer { .. }) {
            let mut total = l.splat(0.0);
            for panel in 0..panels {
                total = l.add(total, l.load(from.lanes(row, panel)));
            }
            mean = sum(l, total) / width as f32;
        }
        let mut squares = l.splat(0.0);
        for panel in 0..panels {
            let x = l.sub(l.load(from.lanes(row, panel)), l.splat(mean));
            squares = l.fma(x, x, squares);
        }
        // Lanes beyond the width hold zeros, which are the mean away from it.
        let beyond = (panels * LANES - width) as f32 * mean * mean;
        let inverse = 1.0 / ((sum(l, squares) - beyond) / width as f32 + epsilon).sqrt();
        let add = if plus_one { 1.0 } else { 0.0 };
        for (panel, to) in to.chunks_mut(LANES).enumerate() {
            let from = from.lanes(row, panel);
            let weight = &weights.weight[panel * LANES..];
            for (i, to) in to.iter_mut().enumerate() {
                *to = ((from[i] - mean) * inverse) * (weight[i] + add);
            }
            if let Some(bias) = &weights.bias {
                to.iter_mut().zip(&bias[panel * LANES..]).for_each(|(to, b)| *to += b);
            }
        }
    }
}

/// Norms one head in place.
#[inline(always)]
fn norm_head(norm: Norm, weight: &[f32], head: &mut [f32]) {
    let (Norm::Rms { epsilon, .. } | Norm::Layer { epsilon }) = norm;
    let add = if matches!(norm, Norm::Rms { plus_one: true, .. }) { 1.0 } else { 0.0 };
    let squares: f32 = head.iter().map(|x| x * x).sum();
    let inverse = 1.0 / (squares / head.len() as f32 + epsilon).sqrt();
    head.iter_mut().zip(weight).for_each(|(x, w)| *x = (*x * inverse) * (w + add));
}

/// The nonlinearity, times the other half where there is one; rounded to eight bits if that is what comes next.
fn activate(
    threads: &Threads,
    activation: Activation,
    from: &Panels,
    times: Option<&Panels>,
    quantised: bool,
    to: &mut Rows,
) {
    let level = threads.level();
    let shape = (from.count(), from.width());
    to.fill(threads, shape, quantised, |row, to| level.run(Activate { activation, from, times, row, to }));
}

struct Activate<'a> {
    activation: Activation,
    from: &'a Panels,
    times: Option<&'a Panels>,
    row: usize,
    to: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn with<L: Lanes>(self, l: L) {
        for (panel, to) in self.to.chunks_mut(LANES).enumerate() {
            let x = l.load(self.from.lanes(self.row, panel));
            let mut y = match self.activation {
                Activation::Silu => silu(l, x),
                Activation::GeluTanh => gelu_tanh(l, x),
            };
            if let Some(times) = self.times {
                y = l.mul(y, l.load(times.lanes(self.row, panel)));
            }
            let mut lanes = [0.0; LANES];
            l.store(y, &mut lanes);
            to.copy_from_slice(&lanes[..to.len()]);
        }
    }
}

struct Cap<'a> {
    cap: f32,
    values: &'a mut [f32],
}

impl Kernel for Cap<'_> {
    type Output = ();

    #[inline(always)]
    fn with<L: Lanes>(self, l: L) {
        let cap = l.splat(self.cap);
        for lanes in self.values.as_chunks_mut::<LANES>().0 {
            let capped = l.mul(cap, tanh(l, l.div(l.load(lanes), cap)));
            l.store(capped, lanes);
        }
    }
}

//! The constraint system.
//!
//! | constraint | where |
//! |---|---|
//! | `acc = chain * acc_above + bias + sum(weight_t * x_t)` | each row of a dot product |
//! | `acc * M + 2^23 = (y + (2 sel - 1) excess) * 2^24 + rem` | anchors |
//! | `sel * (1 - sel) = 0` | anchors |
//! | `excess * (sel * (high - y) + (1 - sel) * (y - low)) = 0` | anchors |
//! | `y - low` and `high - y` are sums of two limbs | anchors |
//! | every cell of the limb columns is in 0..256 | everywhere |
//!
//! Weights, biases, multipliers, bounds and which row is which are fixed columns, so part of the verifying
//! key: nothing about the model is the prover's choice. `excess` is the distance by which the clamp
//! moved the quotient: not zero only if `y` sits on the bound that `sel` names, and then its sign is
//! outward. With `rem < 2^24`, `excess < 2^32` and the graph's interval bounds both sides of the second
//! constraint stay under 2^63, so it holds in the integers and `y` is the one clamped, rounded value.
//! Factors are copies of public inputs or of the layer before's `y`; the last `y` are public.

use std::sync::Arc;

use halo2_proofs::{
    circuit::{Cell, Layouter, Region, SimpleFloorPlanner, Value},
    pasta::{Fp, group::ff::Field},
    plonk::{
        Advice, Circuit, Column, ConstraintSystem, Constraints, Error, Expression, Fixed, Instance, Selector,
        TableColumn,
    },
    poly::Rotation,
};

use super::{
    layout::{self, ABOVE_LOW, BELOW_HIGH, Block, DIGEST_ROWS, EXCESS, LIMB_BITS, LIMB_ROWS, REMAINDER, TERMS},
    witness::{ACCUMULATOR, COLUMNS, LIMBS, SELECTOR, VALUE, Witness, field},
};
use crate::dense::graph::{Graph, SHIFT};

/// The columns.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    advice: [Column<Advice>; COLUMNS],
    weights: [Column<Fixed>; TERMS],
    bias: Column<Fixed>,
    chain: Column<Fixed>,
    multiplier: Column<Fixed>,
    low: Column<Fixed>,
    high: Column<Fixed>,
    table: TableColumn,
    public: Column<Instance>,
    dot: Selector,
    requantise: Selector,
}

/// A graph's circuit; without a witness for keys, with one for a proof.
#[derive(Clone, Debug)]
pub(crate) struct DenseCircuit {
    pub(crate) graph: Arc<Graph>,
    pub(crate) witness: Option<Arc<Witness>>,
}

impl Circuit<Fp> for DenseCircuit {
    type Config = Config;
    type FloorPlanner = SimpleFloorPlanner;

    fn without_witnesses(&self) -> Self {
        Self { graph: Arc::clone(&self.graph), witness: None }
    }

    fn configure(meta: &mut ConstraintSystem<Fp>) -> Config {
        // Degree 5 lets one permutation product cover three columns at no cost elsewhere.
        meta.set_minimum_degree(5);
        let config = Config {
            advice: std::array::from_fn(|_| meta.advice_column()),
            weights: std::array::from_fn(|_| meta.fixed_column()),
            bias: meta.fixed_column(),
            chain: meta.fixed_column(),
            multiplier: meta.fixed_column(),
            low: meta.fixed_column(),
            high: meta.fixed_column(),
            table: meta.lookup_table_column(),
            public: meta.instance_column(),
            dot: meta.selector(),
            requantise: meta.selector(),
        };
        meta.enable_equality(config.public);
        meta.enable_equality(config.advice[VALUE]);
        for term in 0..TERMS {
            meta.enable_equality(config.advice[term]);
        }
        dot_gate(meta, &config);
        requantise_gate(meta, &config);
        for column in LIMBS..COLUMNS {
            let limb = config.advice[column];
            let table = config.table;
            meta.lookup(|cells| vec![(cells.query_advice(limb, Rotation::cur()), table)]);
        }
        config
    }

    fn synthesize(&self, config: Config, mut layouter: impl Layouter<Fp>) -> Result<(), Error> {
        layouter.assign_table(
            || "limbs",
            |mut table| {
                for value in 0..1usize << LIMB_BITS {
                    let cell = || Value::known(Fp::from(value as u64));
                    table.assign_cell(|| "limb", config.table, value, cell)?;
                }
                Ok(())
            },
        )?;
        let public = layouter.assign_region(|| "network", |mut region| self.assign(&config, &mut region))?;
        for (row, cells) in public.into_iter().enumerate() {
            for cell in cells {
                layouter.constrain_instance(cell, config.public, row)?;
            }
        }
        Ok(())
    }
}

fn dot_gate(meta: &mut ConstraintSystem<Fp>, config: &Config) {
    meta.create_gate("dot product", |cells| {
        let dot = cells.query_selector(config.dot);
        let here = cells.query_advice(config.advice[ACCUMULATOR], Rotation::cur());
        let above = cells.query_advice(config.advice[ACCUMULATOR], Rotation::prev());
        let chain = cells.query_fixed(config.chain);
        let mut sum = chain * above + cells.query_fixed(config.bias);
        for term in 0..TERMS {
            let x = cells.query_advice(config.advice[term], Rotation::cur());
            sum = sum + cells.query_fixed(config.weights[term]) * x;
        }
        Constraints::with_selector(dot, [("sum", here - sum)])
    });
}

fn requantise_gate(meta: &mut ConstraintSystem<Fp>, config: &Config) {
    meta.create_gate("requantise", |cells| {
        let gate = cells.query_selector(config.requantise);
        let accumulator = cells.query_advice(config.advice[ACCUMULATOR], Rotation::cur());
        let y = cells.query_advice(config.advice[VALUE], Rotation::cur());
        let sel = cells.query_advice(config.advice[SELECTOR], Rotation::cur());
        let multiplier = cells.query_fixed(config.multiplier);
        let low = cells.query_fixed(config.low);
        let high = cells.query_fixed(config.high);
        let mut limbs = |slots: std::ops::Range<usize>| {
            let mut weight = Fp::ONE;
            let mut sum = Expression::Constant(Fp::ZERO);
            for slot in slots {
                let up = (LIMB_ROWS - 1 - slot % LIMB_ROWS) as i32;
                let column = config.advice[LIMBS + slot / LIMB_ROWS];
                sum = sum + cells.query_advice(column, Rotation(-up)) * weight;
                weight *= Fp::from(1 << LIMB_BITS);
            }
            sum
        };
        let excess = limbs(EXCESS);
        let remainder = limbs(REMAINDER);
        let above_low = limbs(ABOVE_LOW);
        let below_high = limbs(BELOW_HIGH);
        let constant = |v: u64| Expression::Constant(Fp::from(v));
        let outside = constant(1) - sel.clone();
        let signed = (sel.clone() * Fp::from(2) - constant(1)) * excess.clone();
        let quotient = y.clone() + signed;
        Constraints::with_selector(
            gate,
            [
                (
                    "rounding",
                    accumulator * multiplier + constant(1 << (SHIFT - 1)) - quotient * Fp::from(1 << SHIFT) - remainder,
                ),
                ("selector is a bit", sel.clone() * outside.clone()),
                (
                    "clamped only at a bound",
                    excess * (sel * (high.clone() - y.clone()) + outside * (y.clone() - low.clone())),
                ),
                ("not under low", y.clone() - low - above_low),
                ("not over high", high - y - below_high),
            ],
        )
    });
}

impl DenseCircuit {
    fn cell(&self, column: usize, row: usize) -> Value<Fp> {
        match &self.witness {
            Some(witness) => Value::known(witness.cells[column][row]),
            None => Value::unknown(),
        }
    }

    /// Assigns every block; gives, for each public value, the cells that must equal it.
    fn assign(&self, config: &Config, region: &mut Region<'_, Fp>) -> Result<Vec<Vec<Cell>>, Error> {
        let advice = |region: &mut Region<'_, Fp>, column: usize, row: usize| {
            region
                .assign_advice(|| "cell", config.advice[column], row, || self.cell(column, row))
                .map(|assigned| assigned.cell())
        };
        let mut public: Vec<Vec<Cell>> = Vec::new();
        for row in 0..DIGEST_ROWS {
            public.push(vec![advice(region, VALUE, row)?]);
        }
        public.resize(DIGEST_ROWS + self.graph.input_len as usize, Vec::new());
        // The values of each layer that is done.
        let mut values: Vec<Vec<Cell>> = vec![Vec::new(); self.graph.nodes.len()];
        for block in layout::blocks(&self.graph) {
            self.assign_fixed(config, region, &block)?;
            for i in 0..block.dense.inputs as usize {
                let (row, term) = block.factor(i);
                let factor = advice(region, term, row)?;
                match block.layer.checked_sub(1) {
                    None => public[DIGEST_ROWS + i].push(factor),
                    Some(before) => region.constrain_equal(factor, values[before][i])?,
                }
            }
            // Terms beyond the input's length have weight zero; they are there because every queried cell is assigned.
            for i in block.dense.inputs as usize..block.padded_inputs() {
                let (row, term) = block.factor(i);
                advice(region, term, row)?;
            }
            for row in block.first - 1..=block.anchor {
                advice(region, ACCUMULATOR, row)?;
            }
            for slot in 0..2 * LIMB_ROWS {
                let (row, column) = block.limb(slot);
                advice(region, LIMBS + column, row)?;
            }
            advice(region, SELECTOR, block.anchor)?;
            values[block.layer].push(advice(region, VALUE, block.anchor)?);
        }
        let outputs = values.pop().unwrap_or_default();
        public.extend(outputs.into_iter().map(|cell| vec![cell]));
        Ok(public)
    }

    fn assign_fixed(&self, config: &Config, region: &mut Region<'_, Fp>, block: &Block<'_>) -> Result<(), Error> {
        let Block { dense, output, first, anchor, .. } = *block;
        let mut fix = |column: Column<Fixed>, row: usize, value: i64| {
            region.assign_fixed(|| "fixed", column, row, || Value::known(field(value))).map(|_| ())
        };
        for i in 0..block.padded_inputs() {
            let (row, term) = block.factor(i);
            fix(config.weights[term], row, dense.row(output).get(i).map_or(0, |&w| i64::from(w)))?;
        }
        for row in first..=anchor {
            let bias = if row == first { i64::from(dense.bias[output]) } else { 0 };
            fix(config.bias, row, bias)?;
            fix(config.chain, row, i64::from(row != first))?;
        }
        fix(config.multiplier, anchor, i64::from(dense.multiplier[output]))?;
        fix(config.low, anchor, i64::from(dense.low))?;
        fix(config.high, anchor, i64::from(dense.high))?;
        for row in first..=anchor {
            config.dot.enable(region, row)?;
        }
        config.requantise.enable(region, anchor)
    }
}

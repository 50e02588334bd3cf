//! The constraint system over a [`Layout`]'s rows.
//!
//! | demand | at rows |
//! |---|---|
//! | `(weights + pairs + plain) acc = chained acc_above + weights sum(w a) + pairs sum(a a') + plain sum(a)` | all |
//! | `product p q + linear . (p, q, r, s) + constant = 0` for each four of `a` | all |
//! | `x - start = near`, `end - x = far`, `y = base + slope near` for each eight of `a` | where `piece` is 1 |
//! | `(tag, start, end, base, slope)` in the table | where `piece` is 1; else the row of zeros |
//! | `(tag, z - 2^8 shifted z_below)` in the table | all; tag 0 allows only 0 |
//!
//! All but `a`, `w`, `acc`, `z` are fixed columns that depend on the relations alone. Degree 5.

use std::sync::Arc;

use halo2_proofs::{
    circuit::{Cell, Layouter, Region, SimpleFloorPlanner, Value},
    pasta::{Fp, group::ff::Field},
    plonk::{Advice, Circuit, Column, ConstraintSystem, Error, Expression, Fixed, Instance, TableColumn, VirtualCells},
    poly::Rotation,
};

use super::{
    field::field,
    layout::{Demand, FIRST_PIECE_TAG, LIMB_BITS, Layout, NONE, PIECE, QUAD, Sum, TABLE_WIDTH, Var},
    values::{Values, piece_at},
};

/// The columns. Weights come first, so that a proof begins with their commitments.
#[derive(Clone, Debug)]
pub(super) struct Config {
    w: Vec<Column<Advice>>,
    a: Vec<Column<Advice>>,
    acc: Column<Advice>,
    z: Vec<Column<Advice>>,
    /// Weights, pairs, plain, chained.
    sums: [Column<Fixed>; 4],
    /// Product, linear, constant.
    quad: [Column<Fixed>; QUAD + 2],
    piece: Column<Fixed>,
    piece_tag: Column<Fixed>,
    range_tag: Column<Fixed>,
    shifted: Column<Fixed>,
    constant: Column<Fixed>,
    table: [TableColumn; TABLE_WIDTH],
    public: Column<Instance>,
}

/// A layout's circuit, in the shape that its type says; without values for keys.
#[derive(Clone, Debug)]
pub(super) struct RowCircuit<const TERMS: usize, const RANGES: usize, const PIECES: usize> {
    pub(super) layout: Arc<Layout>,
    pub(super) values: Option<Arc<Values>>,
}

impl<const TERMS: usize, const RANGES: usize, const PIECES: usize> Circuit<Fp> for RowCircuit<TERMS, RANGES, PIECES> {
    type Config = Config;
    type FloorPlanner = SimpleFloorPlanner;

    fn without_witnesses(&self) -> Self {
        Self { layout: Arc::clone(&self.layout), values: None }
    }

    fn configure(meta: &mut ConstraintSystem<Fp>) -> Config {
        let config = Config {
            w: (0..TERMS).map(|_| meta.advice_column()).collect(),
            a: (0..TERMS).map(|_| meta.advice_column()).collect(),
            acc: meta.advice_column(),
            z: (0..RANGES).map(|_| meta.advice_column()).collect(),
            sums: std::array::from_fn(|_| meta.fixed_column()),
            quad: std::array::from_fn(|_| meta.fixed_column()),
            piece: meta.fixed_column(),
            piece_tag: meta.fixed_column(),
            range_tag: meta.fixed_column(),
            shifted: meta.fixed_column(),
            constant: meta.fixed_column(),
            table: std::array::from_fn(|_| meta.lookup_table_column()),
            public: meta.instance_column(),
        };
        for &column in config.w.iter().chain(&config.a).chain(&config.z).chain([&config.acc]) {
            meta.enable_equality(column);
        }
        meta.enable_equality(config.constant);
        meta.enable_equality(config.public);
        sum_gate(meta, &config);
        quad_gate(meta, &config);
        for slot in 0..PIECES {
            piece_gate(meta, &config, slot);
        }
        for &z in &config.z {
            range_lookup(meta, &config, z);
        }
        config
    }

    fn synthesize(&self, config: Config, mut layouter: impl Layouter<Fp>) -> Result<(), Error> {
        let layout = &*self.layout;
        layouter.assign_table(
            || "ranges and pieces",
            |mut table| {
                for (row, values) in layout.table.iter().enumerate() {
                    for (&column, &value) in config.table.iter().zip(values) {
                        table.assign_cell(|| "table", column, row, || Value::known(field(i128::from(value))))?;
                    }
                }
                Ok(())
            },
        )?;
        // The planner calls twice, the first time to measure. One region that begins at row 0 needs no measure.
        let mut measured = false;
        let homes = layouter.assign_region(
            || "rows",
            |region| {
                if !std::mem::replace(&mut measured, true) {
                    return Ok(Vec::new());
                }
                let homes = vec![None; layout.vars];
                Writer { config: &config, layout, values: self.values.as_deref(), region, homes }.write()
            },
        )?;
        for &(row, var) in &layout.public {
            let home = homes.get(var as usize).copied().flatten().ok_or(Error::Synthesis)?;
            layouter.constrain_instance(home, config.public, row)?;
        }
        Ok(())
    }
}

fn sum_gate(meta: &mut ConstraintSystem<Fp>, config: &Config) {
    meta.create_gate("sum", |cells| {
        let [weights, pairs, plain, chained] = config.sums.map(|column| cells.query_fixed(column));
        let a: Vec<_> = config.a.iter().map(|&c| cells.query_advice(c, Rotation::cur())).collect();
        let w: Vec<_> = config.w.iter().map(|&c| cells.query_advice(c, Rotation::cur())).collect();
        let here = cells.query_advice(config.acc, Rotation::cur());
        let above = cells.query_advice(config.acc, Rotation::prev());
        let none = || Expression::Constant(Fp::ZERO);
        let by_weight = a.iter().zip(&w).fold(none(), |sum, (a, w)| sum + a.clone() * w.clone());
        let by_pair = a.chunks(2).fold(none(), |sum, pair| sum + pair[0].clone() * pair[1].clone());
        let alone = a.iter().fold(none(), |sum, a| sum + a.clone());
        let any = weights.clone() + pairs.clone() + plain.clone();
        vec![any * here - chained * above - weights * by_weight - pairs * by_pair - plain * alone]
    });
}

fn quad_gate(meta: &mut ConstraintSystem<Fp>, config: &Config) {
    meta.create_gate("quad", |cells| {
        let fixed = config.quad.map(|column| cells.query_fixed(column));
        let four = |four: &[Column<Advice>], cells: &mut VirtualCells<'_, Fp>| {
            let x: Vec<_> = four.iter().map(|&c| cells.query_advice(c, Rotation::cur())).collect();
            let product = fixed[0].clone() * x[0].clone() * x[1].clone() + fixed[QUAD + 1].clone();
            x.into_iter().zip(&fixed[1..]).fold(product, |sum, (x, c)| sum + c.clone() * x)
        };
        config.a.chunks(QUAD).map(|columns| four(columns, cells)).collect::<Vec<_>>()
    });
}

fn piece_gate(meta: &mut ConstraintSystem<Fp>, config: &Config, slot: usize) {
    let columns = &config.a[slot * PIECE..][..PIECE];
    meta.create_gate("piece", |cells| {
        let on = cells.query_fixed(config.piece);
        let mut at = |i: usize| cells.query_advice(columns[i], Rotation::cur());
        let (x, y, start, end, base, slope, near, far) = (at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
        vec![
            on.clone() * (x.clone() - start - near.clone()),
            on.clone() * (end - x - far),
            on * (base + slope * near - y),
        ]
    });
    meta.lookup(|cells| {
        let on = cells.query_fixed(config.piece);
        let mut pairs = vec![(cells.query_fixed(config.piece_tag), config.table[0])];
        for (i, &table) in config.table[1..].iter().enumerate() {
            pairs.push((on.clone() * cells.query_advice(columns[2 + i], Rotation::cur()), table));
        }
        pairs
    });
}

fn range_lookup(meta: &mut ConstraintSystem<Fp>, config: &Config, z: Column<Advice>) {
    meta.lookup(|cells| {
        let here = cells.query_advice(z, Rotation::cur());
        let below = cells.query_advice(z, Rotation::next());
        let limb = here - cells.query_fixed(config.shifted) * below * Fp::from(1 << LIMB_BITS);
        vec![(cells.query_fixed(config.range_tag), config.table[0]), (limb, config.table[1])]
    });
}

/// Writes the rows and remembers where each variable has its first place.
struct Writer<'a, 'r> {
    config: &'a Config,
    layout: &'a Layout,
    values: Option<&'a Values>,
    region: Region<'r, Fp>,
    homes: Vec<Option<Cell>>,
}

impl Writer<'_, '_> {
    fn write(mut self) -> Result<Vec<Option<Cell>>, Error> {
        for (row, &(value, var)) in self.layout.constants.iter().enumerate() {
            let value = Value::known(field(i128::from(value)));
            let cell = self.region.assign_fixed(|| "constant", self.config.constant, row, || value)?.cell();
            self.tie(var, cell)?;
        }
        let mut accumulator = Fp::ZERO;
        for row in 0..self.layout.demands.len() {
            let terms = self.layout.shape.terms;
            for slot in 0..terms {
                let w = self.layout.w[row * terms + slot];
                self.place(self.config.w[slot], row, w)?;
                let a = self.layout.a[row * terms + slot];
                self.place(self.config.a[slot], row, a)?;
            }
            self.demand(row, &mut accumulator)?;
        }
        let ranges = self.layout.shape.ranges;
        for (row, &(bits, shifted)) in self.layout.z_rows.iter().enumerate() {
            self.fix(self.config.range_tag, row, Fp::from(u64::from(bits)))?;
            if shifted {
                self.fix(self.config.shifted, row, Fp::ONE)?;
            }
            for slot in 0..ranges {
                self.place(self.config.z[slot], row, self.layout.z[row * ranges + slot])?;
            }
        }
        Ok(self.homes)
    }

    fn demand(&mut self, row: usize, accumulator: &mut Fp) -> Result<(), Error> {
        match self.layout.demands[row] {
            Demand::Idle => Ok(()),
            Demand::Dot { sum, chained } => {
                let which = match sum {
                    Sum::Weights => 0,
                    Sum::Pairs => 1,
                    Sum::Plain => 2,
                };
                self.fix(self.config.sums[which], row, Fp::ONE)?;
                if chained {
                    self.fix(self.config.sums[3], row, Fp::ONE)?;
                }
                self.accumulate(row, sum, chained, accumulator)
            }
            Demand::Quad(number) => {
                let quad = self.layout.quads[number as usize];
                self.fix(self.config.quad[0], row, quad.product)?;
                for (slot, &coefficient) in quad.linear.iter().enumerate() {
                    self.fix(self.config.quad[1 + slot], row, coefficient)?;
                }
                self.fix(self.config.quad[QUAD + 1], row, quad.constant)
            }
            Demand::Piece(table) => {
                self.fix(self.config.piece, row, Fp::ONE)?;
                self.fix(self.config.piece_tag, row, field(i128::from(FIRST_PIECE_TAG) + table as i128))?;
                self.pieces(row, table)
            }
        }
    }

    /// The row's sum: the variable's value where it has a name, else what the row computes.
    fn accumulate(&mut self, row: usize, sum: Sum, chained: bool, accumulator: &mut Fp) -> Result<(), Error> {
        let var = self.layout.acc[row];
        if let Some(values) = self.values {
            let terms = self.layout.shape.terms;
            let at = |var: Var| values.0.get(var as usize).copied().unwrap_or(Fp::ZERO);
            let a = &self.layout.a[row * terms..][..terms];
            let w = &self.layout.w[row * terms..][..terms];
            let before = if chained { *accumulator } else { Fp::ZERO };
            *accumulator = match sum {
                Sum::Weights => {
                    a.iter().zip(w).fold(before, |s, (&a, &w)| if w == NONE { s } else { s + at(a) * at(w) })
                }
                Sum::Pairs => a.chunks(2).fold(before, |s, pair| s + at(pair[0]) * at(pair[1])),
                Sum::Plain => a.iter().fold(before, |s, &a| s + at(a)),
            };
        }
        if var != NONE {
            return self.place(self.config.acc, row, var);
        }
        let value = self.values.map_or(Value::unknown(), |_| Value::known(*accumulator));
        self.region.assign_advice(|| "sum", self.config.acc, row, || value).map(|_| ())
    }

    /// Start, end, base and slope of the pieces that cover the row's arguments.
    fn pieces(&mut self, row: usize, table: usize) -> Result<(), Error> {
        for slot in 0..self.layout.shape.pieces {
            let first = slot * PIECE;
            let x = self.layout.a[row * self.layout.shape.terms + first];
            let piece = self.values.and_then(|values| piece_at(self.layout, table, values.0[x as usize]));
            let cells = piece.map_or([0; 4], |p| [p.start, p.end, p.base, p.slope]);
            for (i, value) in cells.into_iter().enumerate() {
                let value = self.values.map_or(Value::unknown(), |_| Value::known(field(i128::from(value))));
                self.region.assign_advice(|| "piece", self.config.a[first + 2 + i], row, || value)?;
            }
        }
        Ok(())
    }

    fn fix(&mut self, column: Column<Fixed>, row: usize, value: Fp) -> Result<(), Error> {
        self.region.assign_fixed(|| "fixed", column, row, || Value::known(value)).map(|_| ())
    }

    fn place(&mut self, column: Column<Advice>, row: usize, var: Var) -> Result<(), Error> {
        if var == NONE {
            return Ok(());
        }
        let value = self.values.map_or(Value::unknown(), |values| Value::known(values.0[var as usize]));
        let cell = self.region.assign_advice(|| "cell", column, row, || value)?.cell();
        self.tie(var, cell)
    }

    fn tie(&mut self, var: Var, cell: Cell) -> Result<(), Error> {
        match self.homes[var as usize] {
            None => {
                self.homes[var as usize] = Some(cell);
                Ok(())
            }
            Some(home) => self.region.constrain_equal(home, cell),
        }
    }
}

//! Lookups: ranges by limbs in the `z` columns, pairs by the piece that covers them.

use std::sync::Arc;

use super::{
    Cells, Demand, FIRST_PIECE_TAG, How, LIMB_BITS, PIECE, Shape, Var,
    build::{Builder, refuse},
    limbs,
};
use crate::{
    proof::{
        Unsupported,
        halo2::pieces::{Piece, Pieces},
    },
    relation::{Lookup, Table},
};

impl Builder<'_> {
    pub(super) fn lookups(&mut self) -> Result<(), Unsupported> {
        let relations = self.relations;
        let mut uses = vec![0usize; relations.tables.len()];
        for lookup in &relations.lookups {
            uses[lookup.table] += self.len_of(lookup.x)?;
        }
        let mut used_bits = [false; LIMB_BITS as usize + 1];
        for (number, table) in relations.tables.iter().enumerate() {
            if uses[number] == 0 {
                continue;
            }
            match table {
                Table::Range { bits } => note_bits(&mut used_bits, *bits),
                Table::Clamp { .. } | Table::Map { .. } => {
                    let pieces = Pieces::of(table, uses[number]);
                    note_bits(&mut used_bits, pieces.bits);
                    let tag = FIRST_PIECE_TAG + number as i64;
                    let row = |p: &Piece| [tag, p.start, p.end, p.base, p.slope];
                    self.layout.table.extend(pieces.rows.iter().map(row));
                    self.layout.pieces.insert(number, pieces);
                }
            }
        }
        for bits in (1..=LIMB_BITS).filter(|&b| used_bits[b as usize]) {
            self.layout.table.extend((0..1i64 << bits).map(|x| [i64::from(bits), x, 0, 0, 0]));
        }
        for lookup in &relations.lookups {
            self.lookup(lookup)?;
            self.check_size(Some(lookup.node))?;
        }
        Ok(())
    }

    fn lookup(&mut self, lookup: &Lookup) -> Result<(), Unsupported> {
        let x = self.cells(lookup.x);
        match (&self.relations.tables[lookup.table], lookup.y) {
            (Table::Range { bits }, None) => self.range(&x, *bits),
            (Table::Clamp { .. } | Table::Map { .. }, Some(y)) => {
                let y = self.cells(y);
                if x.len() != y.len() {
                    return Err(refuse(format!("node {} looks up columns of two lengths", lookup.node)));
                }
                self.piece(lookup.table, &x, &y);
            }
            _ => return Err(refuse(format!("node {} looks up what its table does not hold", lookup.node))),
        }
        Ok(())
    }

    /// `0 <= x < 2^bits`, by one limb or two.
    fn range(&mut self, x: &Cells, bits: u8) {
        let zero = self.zero_var();
        let upper = (limbs(bits) > 1).then(|| self.block(x.len(), How::Upper(Arc::clone(x))));
        let width = self.layout.shape.ranges;
        for (i, chunk) in x.chunks(width).enumerate() {
            let mut push = |chunk: &[Var], bits: u8, shifted: bool| {
                self.layout.z_rows.push((bits, shifted));
                self.layout.z.extend(chunk);
                self.layout.z.extend(std::iter::repeat_n(zero, width - chunk.len()));
            };
            push(chunk, bits.min(LIMB_BITS), upper.is_some());
            if let Some(upper) = &upper {
                push(&upper[i * width..][..chunk.len()], bits - LIMB_BITS, false);
            }
        }
    }

    /// Pairs of a table of pairs.
    fn piece(&mut self, table: usize, x: &Cells, y: &Cells) {
        let zero = self.zero_var();
        let bits = self.layout.pieces[&table].bits;
        let distances = [false, true].map(|to_end| match bits {
            0 => vec![zero; x.len()].into(),
            _ => {
                let cells = self.block(x.len(), How::Distance { x: Arc::clone(x), table, to_end });
                self.range(&cells, bits);
                cells
            }
        });
        let Shape { terms, pieces, .. } = self.layout.shape;
        for first in (0..x.len()).step_by(pieces) {
            let row = self.row(Demand::Piece(table));
            for slot in 0..pieces {
                // A piece more than there is repeats the first of its row.
                let i = if first + slot < x.len() { first + slot } else { first };
                let cells = &mut self.layout.a[row * terms + slot * PIECE..][..PIECE];
                (cells[0], cells[1], cells[6], cells[7]) = (x[i], y[i], distances[0][i], distances[1][i]);
            }
        }
    }
}

fn note_bits(used: &mut [bool], bits: u8) {
    if bits > 0 {
        used[bits.min(LIMB_BITS) as usize] = true;
        used[bits.saturating_sub(LIMB_BITS) as usize] = true;
    }
}

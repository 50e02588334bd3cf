//! Fills the circuit's table from a run of the exact executor.

use halo2_proofs::pasta::{
    Fp,
    group::ff::{Field, PrimeField},
};

use super::layout::{self, ABOVE_LOW, BELOW_HIGH, EXCESS, LIMB_BITS, REMAINDER, TERMS};
use crate::dense::{
    exec::Requantised,
    graph::{Graph, Node},
};

/// Column numbers of the table.
pub(crate) const ACCUMULATOR: usize = TERMS;
pub(crate) const VALUE: usize = TERMS + 1;
pub(crate) const SELECTOR: usize = TERMS + 2;
pub(crate) const LIMBS: usize = TERMS + 3;
pub(crate) const COLUMNS: usize = TERMS + 5;

/// Every advice cell the prover chooses: `cells[column][row]`.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    pub(crate) cells: Vec<Vec<Fp>>,
}

/// A signed integer as a field element.
pub(crate) fn field(value: i64) -> Fp {
    let magnitude = Fp::from(value.unsigned_abs());
    if value < 0 { -magnitude } else { magnitude }
}

/// The digest as two field elements of 128 bits, low half first.
pub(crate) fn digest_halves(digest: &[u8; 32]) -> [Fp; 2] {
    let mut halves = [[0u8; 16]; 2];
    halves[0].copy_from_slice(&digest[..16]);
    halves[1].copy_from_slice(&digest[16..]);
    halves.map(|half| Fp::from_u128(u128::from_le_bytes(half)))
}

/// The public values, in their order.
pub(crate) fn public_values(digest: &[u8; 32], input: &[i16], output: &[i32]) -> Vec<Fp> {
    digest_halves(digest)
        .into_iter()
        .chain(input.iter().map(|&v| field(i64::from(v))))
        .chain(output.iter().map(|&v| field(i64::from(v))))
        .collect()
}

impl Witness {
    /// Runs a validated graph on a checked input, writing down every step.
    pub(crate) fn trace(graph: &Graph, digest: &[u8; 32], input: &[i16]) -> Self {
        let mut witness = Self { cells: vec![vec![Fp::ZERO; layout::rows(graph)]; COLUMNS] };
        for (row, half) in digest_halves(digest).into_iter().enumerate() {
            witness.cells[VALUE][row] = half;
        }
        let mut activations = vec![input.to_vec()];
        for Node::Dense(dense) in &graph.nodes {
            let x = &activations[activations.len() - 1];
            let y = (0..dense.outputs as usize).map(|o| dense.neuron(o, x).value).collect();
            activations.push(y);
        }
        for block in layout::blocks(graph) {
            let x = &activations[block.layer];
            let neuron = block.dense.neuron(block.output, x);
            witness.dot_product(&block, x);
            witness.requantisation(&block, &neuron);
        }
        witness
    }

    fn dot_product(&mut self, block: &layout::Block<'_>, x: &[i16]) {
        let weights = block.dense.row(block.output);
        let mut accumulator = i64::from(block.dense.bias[block.output]);
        for (i, (&w, &v)) in weights.iter().zip(x).enumerate() {
            let (row, term) = block.factor(i);
            self.cells[term][row] = field(i64::from(v));
            accumulator += i64::from(w) * i64::from(v);
            self.cells[ACCUMULATOR][row] = field(accumulator);
        }
    }

    fn requantisation(&mut self, block: &layout::Block<'_>, neuron: &Requantised) {
        let value = i64::from(neuron.value);
        let excess = neuron.quotient - value;
        self.cells[VALUE][block.anchor] = field(value);
        self.cells[SELECTOR][block.anchor] = Fp::from(u64::from(excess > 0));
        let parts = [
            (EXCESS, excess.abs()),
            (REMAINDER, neuron.remainder),
            (ABOVE_LOW, value - i64::from(block.dense.low)),
            (BELOW_HIGH, i64::from(block.dense.high) - value),
        ];
        for (slots, mut rest) in parts {
            for slot in slots {
                let (row, column) = block.limb(slot);
                self.cells[LIMBS + column][row] = field(rest & ((1 << LIMB_BITS) - 1));
                rest >>= LIMB_BITS;
            }
            debug_assert_eq!(rest, 0, "validation bounds every part");
        }
    }
}

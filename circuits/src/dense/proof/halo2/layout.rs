//! Where everything lies in the circuit's table; a function of the graph alone.
//!
//! Rows 0 and 1 hold the binding digest's two halves. Then one block of rows a neuron, layer after
//! layer. In a block the dot product runs down to the *anchor* row, [`TERMS`] terms a row, and the
//! anchor's last [`LIMB_ROWS`] rows hold the 8-bit limbs of its requantisation, two a row:
//!
//! ```text
//!            x0 .. x7 | acc            | y | sel | limb a    | limb b
//!   chunk 0  x ..     | bias + dot     |   |     |           |
//!   ...               | prev + dot     |   |     | excess[0] | rem[1]
//!   ...               |                |   |     | ...       | ...
//!   anchor   x ..     | acc            | y | sel | limb 5    | limb 11
//! ```
//!
//! Public values: digest low, digest high, the input, the output.

use crate::dense::graph::{Dense, Graph, Node};

use super::SetupError;

/// Products summed in one row.
pub(crate) const TERMS: usize = 8;
/// Rows that a neuron's limbs take.
pub(crate) const LIMB_ROWS: usize = 6;
/// Bits of a limb, so 2^8 rows of lookup table.
pub(crate) const LIMB_BITS: u32 = 8;
/// Smallest circuit: the lookup table needs 256 usable rows.
pub(crate) const MIN_K: u32 = 9;
/// Largest circuit that is set up, so that a verifier's work is bounded.
pub(crate) const MAX_K: u32 = 14;
/// Rows at the end that hold the prover's blinding; a test compares it with the constraint system's.
pub(crate) const BLINDING_ROWS: usize = 9;
/// Rows before the first neuron.
pub(crate) const DIGEST_ROWS: usize = 2;

/// Limbs of a neuron, in the order of their slots; slot `i` lies in limb column `i / LIMB_ROWS`,
/// `LIMB_ROWS - 1 - i % LIMB_ROWS` rows above the anchor.
pub(crate) const EXCESS: std::ops::Range<usize> = 0..4;
pub(crate) const REMAINDER: std::ops::Range<usize> = 4..7;
pub(crate) const ABOVE_LOW: std::ops::Range<usize> = 7..9;
pub(crate) const BELOW_HIGH: std::ops::Range<usize> = 9..11;

/// One neuron's block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) layer: usize,
    pub(crate) dense: &'a Dense,
    pub(crate) output: usize,
    /// First row of the dot product.
    pub(crate) first: usize,
    /// Its last row, where the requantisation's gate stands.
    pub(crate) anchor: usize,
}

impl Block<'_> {
    /// Factors of the block's rows, counting those that fill up the last one.
    pub(crate) fn padded_inputs(&self) -> usize {
        (self.anchor + 1 - self.first) * TERMS
    }

    /// Row and column (0 or 1) of a limb slot.
    pub(crate) fn limb(&self, slot: usize) -> (usize, usize) {
        (self.anchor + 1 - LIMB_ROWS + slot % LIMB_ROWS, slot / LIMB_ROWS)
    }

    /// Row and term column of the neuron's `i`-th factor.
    pub(crate) fn factor(&self, i: usize) -> (usize, usize) {
        (self.first + i / TERMS, i % TERMS)
    }
}

fn height(dense: &Dense) -> usize {
    (dense.inputs as usize).div_ceil(TERMS).max(LIMB_ROWS)
}

/// All blocks, in order.
pub(crate) fn blocks(graph: &Graph) -> impl Iterator<Item = Block<'_>> {
    let mut next = DIGEST_ROWS;
    graph
        .nodes
        .iter()
        .enumerate()
        .flat_map(|(layer, Node::Dense(dense))| (0..dense.outputs as usize).map(move |o| (layer, dense, o)))
        .map(move |(layer, dense, output)| {
            next += height(dense);
            let anchor = next - 1;
            let first = anchor + 1 - (dense.inputs as usize).div_ceil(TERMS);
            Block { layer, dense, output, first, anchor }
        })
}

/// Rows used by the circuit of a validated graph.
pub(crate) fn rows(graph: &Graph) -> usize {
    let blocks: usize = graph.nodes.iter().map(|Node::Dense(d)| height(d) * d.outputs as usize).sum();
    let public = DIGEST_ROWS + graph.input_len as usize + graph.output_len();
    (DIGEST_ROWS + blocks).max(public).max(1 << LIMB_BITS)
}

/// The smallest `k` such that 2^k rows hold the circuit.
pub(crate) fn required_k(graph: &Graph) -> Result<u32, SetupError> {
    let rows = rows(graph);
    (MIN_K..=MAX_K)
        .find(|k| rows + BLINDING_ROWS <= 1 << k)
        .ok_or(SetupError::TooLarge { rows, limit: (1 << MAX_K) - BLINDING_ROWS })
}

//! A Merkle tree of salted leaves.
//!
//! A leaf's cells may be few and guessable; its salt of 32 random bytes keeps the digest from telling which they are.

use rand::Rng;
use rayon::prelude::*;

use crate::proof::sumcheck::commitment::Base;
use p3_field::PrimeField64;

type Digest = [u8; 32];

/// The prover's side: all digests, and the salts.
pub(super) struct Tree {
    salts: Vec<Digest>,
    /// From the leaves to the root; each layer half of the one before.
    layers: Vec<Vec<Digest>>,
}

/// What shows leaves to be the tree's: their salts, and the digests beside the paths from them to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    /// One for each leaf, in the order of their positions.
    pub(super) salts: Vec<Digest>,
    /// Layer by layer from the leaves, in the order of their positions.
    pub(super) siblings: Vec<Digest>,
}

impl Tree {
    /// A tree over rows of `width` cells; a power of two of them.
    pub(super) fn new(cells: &[Base], width: usize, random: &mut impl Rng) -> Self {
        let leaves = cells.len() / width;
        debug_assert!(leaves.is_power_of_two() && leaves * width == cells.len());
        let mut salts = vec![[0; 32]; leaves];
        salts.iter_mut().for_each(|salt| random.fill_bytes(salt));
        let mut layer: Vec<Digest> =
            cells.par_chunks(width).zip(&salts).with_min_len(64).map(|(cells, salt)| leaf(salt, cells)).collect();
        let mut layers = vec![];
        while layer.len() > 1 {
            let above = layer.par_chunks(2).with_min_len(64).map(|pair| node(&pair[0], &pair[1])).collect();
            layers.push(std::mem::replace(&mut layer, above));
        }
        layers.push(layer);
        Self { salts, layers }
    }

    pub(super) fn root(&self) -> Digest {
        self.layers[self.layers.len() - 1][0]
    }

    /// Opens leaves at ascending, distinct positions.
    pub(super) fn open(&self, positions: &[usize]) -> Paths {
        let mut siblings = vec![];
        let mut known = positions.to_vec();
        for layer in &self.layers[..self.layers.len() - 1] {
            known = climb(&known, |sibling| siblings.push(layer[sibling]));
        }
        Paths { salts: positions.iter().map(|&at| self.salts[at]).collect(), siblings }
    }
}

impl Paths {
    /// The root that these leaves belong under; none where there are too many or too few digests.
    pub(super) fn root(&self, positions: &[usize], rows: &[Vec<Base>], height: usize) -> Option<Digest> {
        if positions.is_empty() || positions.len() != rows.len() || rows.len() != self.salts.len() {
            return None;
        }
        let mut digests: Vec<Digest> = self.salts.iter().zip(rows).map(|(salt, row)| leaf(salt, row)).collect();
        let mut siblings = self.siblings.iter();
        let mut known = positions.to_vec();
        for _ in 0..height {
            let mut above = Vec::with_capacity(digests.len());
            let mut at = 0;
            while at < known.len() {
                let paired = known[at].is_multiple_of(2) && known.get(at + 1) == Some(&(known[at] + 1));
                above.push(if paired {
                    node(&digests[at], &digests[at + 1])
                } else if known[at].is_multiple_of(2) {
                    node(&digests[at], siblings.next()?)
                } else {
                    node(siblings.next()?, &digests[at])
                });
                at += if paired { 2 } else { 1 };
            }
            known = climb(&known, |_| ());
            digests = above;
        }
        siblings.next().is_none().then(|| digests[0])
    }
}

/// The positions above ascending ones, and the siblings that are not among them.
fn climb(known: &[usize], mut sibling: impl FnMut(usize)) -> Vec<usize> {
    let mut above = Vec::with_capacity(known.len());
    for (i, &at) in known.iter().enumerate() {
        let other = at ^ 1;
        let before = i.checked_sub(1).map(|i| known[i]);
        if before == Some(other) {
            continue;
        }
        if known.get(i + 1) != Some(&other) {
            sibling(other);
        }
        above.push(at / 2);
    }
    above
}

/// Keys keep leaves and nodes apart without a byte more to hash: a node is one block.
const LEAF: [u8; 32] = *b"assay sumcheck-hiding tree: leaf";
const NODE: [u8; 32] = *b"assay sumcheck-hiding tree: node";

fn leaf(salt: &Digest, cells: &[Base]) -> Digest {
    let mut bytes = Vec::with_capacity(32 + 8 * cells.len());
    bytes.extend_from_slice(salt);
    cells.iter().for_each(|cell| bytes.extend_from_slice(&cell.as_canonical_u64().to_le_bytes()));
    *blake3::keyed_hash(&LEAF, &bytes).as_bytes()
}

fn node(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(left);
    bytes[32..].copy_from_slice(right);
    *blake3::keyed_hash(&NODE, &bytes).as_bytes()
}

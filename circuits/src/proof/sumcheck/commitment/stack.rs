//! Blocks of different sizes in one committed polynomial.

use p3_commit::MultilinearPcs;
use p3_field::PrimeCharacteristicRing;
use p3_matrix::dense::RowMajorMatrix;
use p3_multilinear_util::point::Point;
use p3_sumcheck::layout::{Layout as _, Table};
use p3_sumcheck::{OpeningBatch, OpeningProtocol, PrescribedPointPcs, TableShape, TableSpec};
use p3_symmetric::MerkleCap;
use p3_whir::PcsProof;

use super::scheme::{self, Data, FOLDING, Layout, MAX_VARIABLES, MIN_VARIABLES, Pcs};
use super::{Base, Claim, Commitment, Ext, Opening, OpeningError, Transcript, Unfit};

/// A list of blocks of `2^n` cells each, to be committed as one polynomial: what both sides know of it.
pub struct Stack {
    /// Variables of each block.
    sizes: Vec<usize>,
    /// The same, padded to what the scheme commits.
    padded: Vec<usize>,
    pub(super) pcs: Pcs,
}

/// Committed blocks: what the prover keeps to open them, as often as it likes.
pub struct Committed {
    commitment: Commitment,
    data: Data,
}

impl Committed {
    /// What stands for the blocks.
    pub fn commitment(&self) -> Commitment {
        self.commitment
    }

    /// The cells of a block, with the zeros it was padded with.
    ///
    /// # Panics
    /// Where there is no such block.
    pub fn block(&self, block: usize) -> &[Base] {
        self.data.table(block).poly(0).into_slice()
    }
}

impl std::fmt::Debug for Committed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committed").field("commitment", &self.commitment).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

impl Stack {
    /// A stack of blocks of `2^sizes[b]` cells.
    ///
    /// # Errors
    /// [`Unfit`] where there are no blocks, or too many cells.
    pub fn new(sizes: &[usize]) -> Result<Self, Unfit> {
        let Some(largest) = sizes.iter().enumerate().max_by_key(|(_, n)| **n).map(|(b, _)| b) else {
            return Err(Unfit::new("no blocks"));
        };
        let mut padded: Vec<usize> = sizes.iter().map(|n| (*n).max(FOLDING)).collect();
        if variables(&padded)? < MIN_VARIABLES {
            padded[largest] = MIN_VARIABLES;
        }
        let pcs = scheme::pcs(scheme::config(variables(&padded)?)?);
        Ok(Self { sizes: sizes.to_vec(), padded, pcs })
    }

    /// Variables of each block.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Variables of the whole polynomial.
    pub fn variables(&self) -> usize {
        self.pcs.num_vars()
    }

    /// Commits to the blocks: one vector of `2^n` cells each. The same blocks always give the same commitment.
    ///
    /// # Errors
    /// [`Unfit`] where the blocks do not have the stack's sizes.
    pub fn commit(&self, blocks: Vec<Vec<Base>>) -> Result<Committed, Unfit> {
        if blocks.len() != self.sizes.len() {
            return Err(Unfit::new(format!("{} blocks expected, found {}", self.sizes.len(), blocks.len())));
        }
        let mut tables = Vec::with_capacity(blocks.len());
        for (b, mut cells) in blocks.into_iter().enumerate() {
            if cells.len() != 1 << self.sizes[b] {
                return Err(Unfit::new(format!("block {b} has 2^{} cells, found {}", self.sizes[b], cells.len())));
            }
            cells.resize(1 << self.padded[b], Base::ZERO);
            let width = cells.len();
            tables.push(Table::new(RowMajorMatrix::new(cells, width)));
        }
        // The library absorbs the root here; ours is absorbed where the protocol says so.
        let mut aside = Transcript::new("").challenger;
        let (cap, data) =
            self.pcs.commit(Layout::new_witness(tables, FOLDING), &mut aside).map_err(|e| Unfit::new(e.to_string()))?;
        let commitment = Commitment(cap.roots().first().copied().expect("a cap has at least one root"));
        Ok(Committed { commitment, data })
    }

    /// Opens all claims at once. A claim that is not true gives an opening that does not verify.
    ///
    /// Claims and commitment are absorbed here.
    ///
    /// # Errors
    /// [`Unfit`] where the claims do not fit the stack.
    pub fn open(&self, committed: &Committed, claims: &[Claim], transcript: &mut Transcript) -> Result<Opening, Unfit> {
        let asked = self.ask(committed.commitment, claims, transcript)?;
        let mut data = committed.data.clone();
        let challenger = &mut transcript.challenger;
        let ood = (0..self.pcs.commitment_ood_samples())
            .map(|_| data.layout.add_virtual_eval(challenger))
            .collect::<Vec<_>>();
        for ((block, batch), point) in asked.protocol.iter_openings().zip(&asked.points) {
            // Absorbs the block's own value: where the claim says another, the transcripts part here.
            data.layout.eval_at(block, batch, point, challenger);
        }
        self.pcs
            .prove(ood, challenger, data.layout, data.merkle_data, claims.len())
            .map(|proof| Opening { proof })
            .map_err(|e| Unfit::new(e.to_string()))
    }

    /// Checks that all claims hold for what is committed.
    ///
    /// # Errors
    /// [`OpeningError`].
    pub fn verify(
        &self,
        commitment: &Commitment,
        claims: &[Claim],
        opening: &Opening,
        transcript: &mut Transcript,
    ) -> Result<(), OpeningError> {
        let asked = self.ask(*commitment, claims, transcript)?;
        let proof = PcsProof { whir: opening.proof.clone(), evals: asked.values };
        let cap = MerkleCap::new(vec![commitment.0]);
        self.pcs
            .verify_at(&cap, &proof, &asked.protocol, &asked.points, &mut transcript.challenger)
            .map(|_| ())
            .map_err(|e| OpeningError::Invalid(e.to_string()))
    }

    /// The claims in the library's order and terms, after binding them to the transcript.
    fn ask(&self, commitment: Commitment, claims: &[Claim], transcript: &mut Transcript) -> Result<Asked, Unfit> {
        if claims.is_empty() {
            return Err(Unfit::new("nothing to open"));
        }
        let mut sorted: Vec<&Claim> = claims.iter().collect();
        sorted.sort_by_key(|claim| claim.block);
        transcript.absorb_bytes(&commitment.0);
        let mut asked = Asked { protocol: OpeningProtocol::default(), points: Vec::new(), values: Vec::new() };
        let mut schedules = vec![Vec::new(); self.sizes.len()];
        for claim in sorted {
            let Some(&size) = self.sizes.get(claim.block) else {
                return Err(Unfit::new(format!("block {} of {}", claim.block, self.sizes.len())));
            };
            if claim.point.len() != size {
                return Err(Unfit::new(format!(
                    "a point of {size} coordinates for block {}, found {}",
                    claim.block,
                    claim.point.len()
                )));
            }
            transcript.absorb_base(&[Base::from_usize(claim.block)]);
            transcript.absorb_ext(&claim.point);
            transcript.absorb_ext(&[claim.value]);
            // The padding is below the block's cells in the top bits, which are all zero for the cells.
            let mut point = vec![Ext::ZERO; self.padded[claim.block] - size];
            point.extend(&claim.point);
            asked.points.push(Point::new(point));
            asked.values.push(OpeningBatch::new(vec![claim.value], Vec::new()));
            schedules[claim.block].push(OpeningBatch::new(vec![0], Vec::new()));
        }
        asked.protocol = OpeningProtocol::new(
            self.padded.iter().zip(schedules).map(|(n, s)| TableSpec::new(TableShape::new(*n, 1), s)).collect(),
        );
        let count = claims.len().saturating_add(self.pcs.commitment_ood_samples());
        self.pcs.validate_initial_claims(count).map_err(|e| Unfit::new(e.to_string()))?;
        Ok(asked)
    }
}

/// Claims in the order of their blocks.
struct Asked {
    protocol: OpeningProtocol,
    points: Vec<Point<Ext>>,
    values: Vec<OpeningBatch<Ext>>,
}

/// Variables of the polynomial that holds blocks of these sizes one after another.
fn variables(sizes: &[usize]) -> Result<usize, Unfit> {
    let too_large = || Unfit::new(format!("at most 2^{MAX_VARIABLES} cells in all"));
    let mut cells = 0usize;
    for size in sizes {
        if *size > MAX_VARIABLES {
            return Err(too_large());
        }
        cells = cells.checked_add(1 << size).ok_or_else(too_large)?;
    }
    if cells > 1 << MAX_VARIABLES {
        return Err(too_large());
    }
    Ok(cells.next_power_of_two().trailing_zeros() as usize)
}

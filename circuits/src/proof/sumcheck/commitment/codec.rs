//! An opening as bytes.
//!
//! Field elements as eight bytes, lowest first, below the modulus; digests as they are. No lengths are written but that of
//! each list of sibling digests, which the verifier learns only from its challenges: all others follow from the stack.
//! What the decoder returns has exactly the shape that the library expects, so none of its length checks can fail, and
//! holds no more memory than a few times the bytes it was read from.

use p3_field::{BasedVectorSpace, PrimeField64};
use p3_merkle_tree::PrunedMerklePaths;
use p3_multilinear_util::poly::Poly;
use p3_sumcheck::SumcheckData;
use p3_symmetric::MerkleCap;
use p3_whir::{QueryOpenings, RoundConfig, SharedProofOpening, WhirRoundProof};

use super::scheme::{Config, Proof};
use super::{Base, Ext, OpeningError, Stack};

/// A proof that claims hold for what is committed.
#[derive(Clone)]
pub struct Opening {
    pub(super) proof: Proof,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

type Paths = PrunedMerklePaths<u8, 32>;

impl Opening {
    /// The opening as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let proof = &self.proof;
        write_exts(&mut out, &proof.initial_ood_answers);
        write_sumcheck(&mut out, &proof.initial_sumcheck);
        for round in &proof.rounds {
            for root in round.commitment.iter().flat_map(MerkleCap::roots) {
                out.extend(root);
            }
            write_exts(&mut out, &round.ood_answers);
            write_base(&mut out, round.pow_witness);
            write_queries(&mut out, &round.openings);
            write_sumcheck(&mut out, &round.sumcheck);
        }
        write_exts(&mut out, proof.final_poly.iter().flat_map(|poly| poly.as_slice()));
        write_base(&mut out, proof.final_pow_witness);
        write_queries(&mut out, &proof.final_openings);
        if let Some(sumcheck) = &proof.final_sumcheck {
            write_sumcheck(&mut out, sumcheck);
        }
        out
    }

    /// Reads an opening of a commitment to this stack.
    ///
    /// # Errors
    /// [`OpeningError::Malformed`].
    pub fn from_bytes(bytes: &[u8], stack: &Stack) -> Result<Self, OpeningError> {
        let config: &Config = &stack.pcs;
        let mut reader = Reader { bytes };
        let initial_ood_answers = reader.exts(config.commitment_ood_samples())?;
        let initial_sumcheck = reader.sumcheck(config.round_folding_factor(0), config.starting_folding_pow_bits())?;
        let mut rounds = Vec::with_capacity(config.n_rounds());
        for (index, round) in config.round_parameters().iter().enumerate() {
            rounds.push(WhirRoundProof {
                commitment: Some(MerkleCap::new(vec![reader.digest()?])),
                ood_answers: reader.exts(round.ood_samples)?,
                pow_witness: reader.base()?,
                openings: reader.queries(round, index == 0)?,
                sumcheck: reader.sumcheck(config.round_folding_factor(index + 1), round.folding_pow_bits)?,
            });
        }
        let last = config.final_round_config();
        let proof = Proof {
            initial_ood_answers,
            initial_sumcheck,
            rounds,
            final_poly: Some(Poly::new(reader.exts(1 << config.final_sumcheck_rounds())?)),
            final_pow_witness: reader.base()?,
            final_openings: reader.queries(&last, config.n_rounds() == 0)?,
            final_sumcheck: match config.final_sumcheck_rounds() {
                0 => None,
                rounds => Some(reader.sumcheck(rounds, config.final_folding_pow_bits())?),
            },
        };
        if !reader.bytes.is_empty() {
            return Err(OpeningError::Malformed("bytes after the end"));
        }
        Ok(Self { proof })
    }
}

fn write_base(out: &mut Vec<u8>, value: Base) {
    out.extend(value.as_canonical_u64().to_le_bytes());
}

fn write_exts<'a>(out: &mut Vec<u8>, values: impl IntoIterator<Item = &'a Ext>) {
    for value in values {
        for part in BasedVectorSpace::<Base>::as_basis_coefficients_slice(value) {
            write_base(out, *part);
        }
    }
}

fn write_sumcheck(out: &mut Vec<u8>, sumcheck: &SumcheckData<Base, Ext>) {
    write_exts(out, sumcheck.polynomial_evaluations.iter().flatten());
    for witness in &sumcheck.pow_witnesses {
        write_base(out, *witness);
    }
}

fn write_queries(out: &mut Vec<u8>, queries: &QueryOpenings<Base, Ext, Paths>) {
    let paths = match queries {
        QueryOpenings::Base(opening) => {
            for value in opening.rows.iter().flatten() {
                write_base(out, *value);
            }
            &opening.proof
        }
        QueryOpenings::Extension(opening) => {
            write_exts(out, opening.rows.iter().flatten());
            &opening.proof
        }
    };
    let count = u32::try_from(paths.sibling_hashes.len()).expect("fewer siblings than queries times the tree's height");
    out.extend(count.to_le_bytes());
    for digest in &paths.sibling_hashes {
        out.extend(digest);
    }
}

/// Reads fixed-length parts from bytes, strictly.
pub(in crate::proof::sumcheck) struct Reader<'a> {
    pub(in crate::proof::sumcheck) bytes: &'a [u8],
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], OpeningError> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or(OpeningError::Malformed("ends early"))?;
        self.bytes = rest;
        Ok(*head)
    }

    /// Refuses what the rest of the bytes cannot hold, before memory is set aside for it.
    pub(in crate::proof::sumcheck) fn holds(&self, count: usize, size: usize) -> Result<(), OpeningError> {
        match count.checked_mul(size) {
            Some(length) if length <= self.bytes.len() => Ok(()),
            _ => Err(OpeningError::Malformed("ends early")),
        }
    }

    pub(in crate::proof::sumcheck) fn digest(&mut self) -> Result<[u8; 32], OpeningError> {
        self.array()
    }

    /// A number no larger than `most`.
    pub(in crate::proof::sumcheck) fn count(&mut self, most: usize) -> Result<usize, OpeningError> {
        let count = u32::from_le_bytes(self.array()?) as usize;
        if count > most { Err(OpeningError::Malformed("a count beyond what there is")) } else { Ok(count) }
    }

    pub(in crate::proof::sumcheck) fn digests(&mut self, count: usize) -> Result<Vec<[u8; 32]>, OpeningError> {
        self.holds(count, 32)?;
        (0..count).map(|_| self.digest()).collect()
    }

    fn base(&mut self) -> Result<Base, OpeningError> {
        let value = u64::from_le_bytes(self.array()?);
        if value >= Base::ORDER_U64 {
            return Err(OpeningError::Malformed("a field element not below the modulus"));
        }
        Ok(Base::new(value))
    }

    pub(in crate::proof::sumcheck) fn bases(&mut self, count: usize) -> Result<Vec<Base>, OpeningError> {
        self.holds(count, 8)?;
        (0..count).map(|_| self.base()).collect()
    }

    pub(in crate::proof::sumcheck) fn exts(&mut self, count: usize) -> Result<Vec<Ext>, OpeningError> {
        self.holds(count, 16)?;
        (0..count).map(|_| Ok(Ext::new([self.base()?, self.base()?]))).collect()
    }

    fn sumcheck(&mut self, rounds: usize, work: usize) -> Result<SumcheckData<Base, Ext>, OpeningError> {
        let values = self.exts(2 * rounds)?;
        Ok(SumcheckData {
            polynomial_evaluations: values.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect(),
            pow_witnesses: self.bases(if work == 0 { 0 } else { rounds })?,
        })
    }

    fn queries(&mut self, round: &RoundConfig, base: bool) -> Result<QueryOpenings<Base, Ext, Paths>, OpeningError> {
        // Where there are no more positions than queries, each position is opened once.
        let positions = round.domain_size >> round.folding_factor;
        let count = round.num_queries.min(positions);
        let width = 1 << round.folding_factor;
        self.holds(count * width, if base { 8 } else { 16 })?;
        Ok(if base {
            let rows = (0..count).map(|_| self.bases(width)).collect::<Result<_, _>>()?;
            QueryOpenings::Base(SharedProofOpening { rows, proof: self.paths(count, positions)? })
        } else {
            let rows = (0..count).map(|_| self.exts(width)).collect::<Result<_, _>>()?;
            QueryOpenings::Extension(SharedProofOpening { rows, proof: self.paths(count, positions)? })
        })
    }

    fn paths(&mut self, count: usize, positions: usize) -> Result<Paths, OpeningError> {
        let siblings = self.count(count.saturating_mul(positions.ilog2() as usize))?;
        Ok(Paths { sibling_hashes: self.digests(siblings)? })
    }
}

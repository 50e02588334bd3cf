//! The parameters of WHIR, and the library's types by short names.

use p3_blake3::Blake3;
use p3_dft::Radix2DFTSmallBatch;
use p3_merkle_tree::MerkleTreeMmcs;
use p3_sumcheck::layout::PrefixProver;
use p3_symmetric::{CompressionFunctionFromHasher, SerializingHasher};
use p3_whir::{
    FoldingFactor, ProtocolParameters, SecurityAssumption, WhirConfig, WhirProof, WhirProver, WhirProverData,
};

use super::transcript::Challenger;
use super::{Base, Ext, Unfit};

/// Bits of security of every error term.
pub const SECURITY: usize = 100;
/// The most bits of it that are proof of work.
pub const GRINDING: usize = 20;
/// The logarithm of the code's inverse rate.
pub(super) const LOG_INVERSE_RATE: usize = 1;
/// Variables folded at once.
pub(super) const FOLDING: usize = 4;
/// The fewest variables of a committed polynomial; smaller ones are padded.
pub(super) const MIN_VARIABLES: usize = 8;
/// The most: 2^26 cells are 512 MiB.
pub(super) const MAX_VARIABLES: usize = 26;

type LeafHash = SerializingHasher<Blake3>;
type NodeHash = CompressionFunctionFromHasher<Blake3, 2, 32>;
pub(super) type Tree = MerkleTreeMmcs<Base, u8, LeafHash, NodeHash, 2, 32>;
pub(super) type Layout = PrefixProver<Base, Ext>;
pub(super) type Pcs = WhirProver<Ext, Base, Radix2DFTSmallBatch<Base>, Tree, Challenger, Layout>;
pub(super) type Config = WhirConfig<Ext, Base, Challenger>;
pub(super) type Proof = WhirProof<Base, Ext, Tree>;
pub(super) type Data = WhirProverData<Base, Ext, Tree, Layout>;

/// Bits of proof of work for a polynomial of so many variables.
///
/// A term that the field alone does not make small enough is made so by work, and that grows with the polynomial; the
/// rest of the terms need queries or work, and queries are cheaper than work beyond this.
pub(super) const fn grinding(variables: usize) -> usize {
    match variables {
        ..=18 => 12,
        19..=20 => 14,
        21..=22 => 16,
        23..=24 => 18,
        _ => GRINDING,
    }
}

pub(super) fn config(variables: usize) -> Result<Config, Unfit> {
    if variables > MAX_VARIABLES {
        return Err(Unfit::new(format!("at most 2^{MAX_VARIABLES} cells, found 2^{variables}")));
    }
    let parameters = ProtocolParameters {
        starting_log_inv_rate: LOG_INVERSE_RATE,
        round_log_inv_rates: Vec::new(),
        folding_factor: FoldingFactor::Constant(FOLDING),
        soundness_type: SecurityAssumption::JohnsonBound,
        security_level: SECURITY,
        pow_bits: grinding(variables),
    };
    Config::new(variables, parameters).map_err(|e| Unfit::new(format!("2^{variables} cells: {e}")))
}

pub(super) fn pcs(config: Config) -> Pcs {
    let tree = Tree::new(LeafHash::new(Blake3), NodeHash::new(Blake3), 0);
    Pcs::new(config, Radix2DFTSmallBatch::default(), tree)
}

/// Everything above that decides which proofs are accepted, as bytes for a model's id.
pub fn parameter_bytes() -> Vec<u8> {
    let mut bytes = b"assay sumcheck v1: goldilocks^2, blake3, p3-whir 0.8.0, johnson".to_vec();
    bytes.extend([SECURITY, GRINDING, LOG_INVERSE_RATE, FOLDING, MIN_VARIABLES, MAX_VARIABLES].map(|n| n as u8));
    bytes.extend((MIN_VARIABLES..=MAX_VARIABLES).map(|n| grinding(n) as u8));
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_permitted_size_has_parameters_of_full_security() {
        for variables in MIN_VARIABLES..=MAX_VARIABLES {
            let config = config(variables).unwrap();
            assert!(config.check_pow_bits(), "2^{variables}");
            assert!(config.initial_claims_error(1 << 12) >= SECURITY as f64, "2^{variables}");
        }
    }

    #[test]
    fn a_polynomial_beyond_the_limit_is_refused() {
        assert!(config(MAX_VARIABLES + 1).is_err());
    }
}

//! Keys and their bytes.

use std::sync::Arc;

use ark_bn254::{Bn254, G1Affine, G2Affine};
use ark_ec::AffineRepr;
use ark_groth16::{PreparedVerifyingKey, ProvingKey, VerifyingKey};
use ark_serialize::{CanonicalDeserialize, CanonicalSerialize};

use super::{
    NAME, build,
    circuit::{Circuit, Counts},
    public::Layout,
};
use crate::{proof::SetupError, relation::Relations};

/// First byte of a key's bytes.
const VERSION: u8 = 1;

/// Most contributions to a phase of a ceremony.
pub(super) const MOST_CONTRIBUTORS: u32 = 1024;

/// How keys came to be, by their own word: whoever hands out a key vouches for it, or shows the ceremony's transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Provenance {
    /// One party drew the numbers and could prove anything: for development only.
    Dev,
    /// Many did, and a proof is sound unless all of them collude.
    Ceremony {
        /// Hash of the transcript.
        transcript: [u8; 32],
        /// Parties, by name, that contributed to the fewer-attended of both phases.
        contributors: u32,
    },
}

impl Provenance {
    /// Whether one party could forge proofs.
    pub fn is_single_party(self) -> bool {
        match self {
            Self::Dev => true,
            Self::Ceremony { contributors, .. } => contributors < super::ceremony::LEAST_PARTIES,
        }
    }
}

/// What a prover keeps for a model. Holds the weights.
#[derive(Debug)]
pub struct ProverKey {
    pub(super) circuit: Circuit,
    pub(super) key: ProvingKey<Bn254>,
    pub(super) provenance: Provenance,
}

/// What a verifier keeps for a model. Holds no weights.
#[derive(Debug, Clone)]
pub struct VerifierKey {
    pub(super) layout: Layout,
    pub(super) prepared: PreparedVerifyingKey<Bn254>,
    pub(super) provenance: Provenance,
}

/// Both keys of a circuit.
pub(super) fn pair(circuit: Circuit, key: ProvingKey<Bn254>, provenance: Provenance) -> (ProverKey, VerifierKey) {
    let verifier = VerifierKey::new(circuit.layout.clone(), key.vk.clone(), provenance);
    (ProverKey { circuit, key, provenance }, verifier)
}

impl ProverKey {
    /// How big the circuit is.
    pub fn counts(&self) -> Counts {
        self.circuit.counts()
    }

    /// How the keys came to be.
    pub fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// The verifier's key of the same set-up.
    pub fn verifier_key(&self) -> VerifierKey {
        VerifierKey::new(self.circuit.layout.clone(), self.key.vk.clone(), self.provenance)
    }

    /// The key as bytes, without the circuit, which the model gives.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.provenance.write(&mut out);
        self.key.serialize_uncompressed(&mut out).expect("writing to memory does not fail");
        out
    }

    /// Reads a key made for this model. Every point is checked to be one; a key of another circuit gives proofs that do not hold.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn from_bytes(relations: &Arc<Relations>, weights: &[Vec<i64>], bytes: &[u8]) -> Result<Self, SetupError> {
        let keys = |reason: String| SetupError::Keys { system: NAME, reason };
        let circuit = build(relations, weights)?;
        let mut rest = versioned(bytes).map_err(keys)?;
        let provenance = Provenance::read(&mut rest).map_err(keys)?;
        let counts = circuit.counts();
        let lengths = lengths(&circuit);
        let expected = 3 * 64 + 3 * 128 + 64 * (counts.public + 1) + 64 * lengths[0] * 2 + 128 * lengths[0];
        let expected = expected + 64 * (lengths[1] + lengths[2]) + 6 * 8;
        if rest.len() != expected {
            return Err(keys(format!("expected {expected} bytes of points, found {}", rest.len())));
        }
        let key = ProvingKey::<Bn254>::deserialize_uncompressed(&mut rest).map_err(|e| keys(e.to_string()))?;
        let found =
            [key.a_query.len(), key.b_g1_query.len(), key.b_g2_query.len(), key.h_query.len(), key.l_query.len()];
        if found != [lengths[0], lengths[0], lengths[0], lengths[1], lengths[2]] || !rest.is_empty() {
            return Err(keys("a key of a circuit of another size".into()));
        }
        Ok(Self { circuit, key, provenance })
    }
}

/// The lengths of the prover's lists: one for each variable, for each coefficient of the quotient, for each private variable.
fn lengths(circuit: &Circuit) -> [usize; 3] {
    let counts = circuit.counts();
    [counts.variables, circuit.system.domain_size() - 1, counts.variables - counts.public - 1]
}

impl VerifierKey {
    fn new(layout: Layout, key: VerifyingKey<Bn254>, provenance: Provenance) -> Self {
        Self { layout, prepared: ark_groth16::prepare_verifying_key(&key), provenance }
    }

    /// How the keys came to be: a verifier that is not a developer's own refuses [`Provenance::Dev`].
    pub fn provenance(&self) -> Provenance {
        self.provenance
    }

    /// The key as bytes: 194 or 230, and 32 for each public element.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let key = &self.prepared.vk;
        let mut out = vec![VERSION];
        self.provenance.write(&mut out);
        point(&key.alpha_g1, &mut out);
        point(&key.beta_g2, &mut out);
        point(&key.delta_g2, &mut out);
        for element in &key.gamma_abc_g1 {
            point(element, &mut out);
        }
        out
    }

    /// Reads exactly what [`Self::to_bytes`] writes.
    pub(super) fn from_bytes(relations: &Relations, bytes: &[u8]) -> Result<Self, String> {
        let layout = Layout::new(relations);
        let mut rest = versioned(bytes)?;
        let provenance = Provenance::read(&mut rest)?;
        let expected = 32 + 64 + 64 + 32 * (layout.elements() + 1);
        if rest.len() != expected {
            return Err(format!("expected {expected} bytes of points, found {}", rest.len()));
        }
        let alpha_g1: G1Affine = take_point(&mut rest)?;
        let beta_g2: G2Affine = take_point(&mut rest)?;
        let delta_g2: G2Affine = take_point(&mut rest)?;
        let gamma_abc_g1 =
            (0..=layout.elements()).map(|_| take_point(&mut rest)).collect::<Result<Vec<G1Affine>, _>>()?;
        let key = VerifyingKey { alpha_g1, beta_g2, gamma_g2: G2Affine::generator(), delta_g2, gamma_abc_g1 };
        Ok(Self::new(layout, key, provenance))
    }
}

impl Provenance {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Dev => out.push(0),
            Self::Ceremony { transcript, contributors } => {
                out.push(1);
                out.extend_from_slice(transcript);
                out.extend_from_slice(&contributors.to_le_bytes());
            }
        }
    }

    fn read(rest: &mut &[u8]) -> Result<Self, String> {
        match take(rest, 1)? {
            [0] => Ok(Self::Dev),
            [1] => {
                let transcript = take(rest, 32)?.try_into().expect("32 bytes were taken");
                let contributors = u32::from_le_bytes(take(rest, 4)?.try_into().expect("4 bytes were taken"));
                if contributors == 0 || contributors > MOST_CONTRIBUTORS {
                    return Err(format!(
                        "a ceremony of {contributors}; expected 1 to {MOST_CONTRIBUTORS} contributors"
                    ));
                }
                Ok(Self::Ceremony { transcript, contributors })
            }
            other => Err(format!("unknown provenance {other:?}")),
        }
    }
}

fn versioned(bytes: &[u8]) -> Result<&[u8], String> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        Some((other, _)) => Err(format!("expected version {VERSION}, found {other}")),
        None => Err("no bytes".into()),
    }
}

/// The next bytes.
pub(super) fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], String> {
    let (taken, left) = rest.split_at_checked(count).ok_or_else(|| format!("ends {count} bytes too early"))?;
    *rest = left;
    Ok(taken)
}

/// Writes a point, compressed.
pub(super) fn point<P: CanonicalSerialize>(point: &P, out: &mut Vec<u8>) {
    point.serialize_compressed(out).expect("writing to memory does not fail");
}

/// Reads a compressed point: on the curve, in the group, not the identity, and written in the one canonical way.
pub(super) fn take_point<P: AffineRepr>(rest: &mut &[u8]) -> Result<P, String> {
    let bytes = take(rest, P::zero().compressed_size())?;
    let found = P::deserialize_compressed(bytes).map_err(|e| format!("not a point: {e}"))?;
    let mut again = Vec::with_capacity(bytes.len());
    point(&found, &mut again);
    if found.is_zero() || again != bytes {
        return Err("not a point: the identity, or not canonical".into());
    }
    Ok(found)
}

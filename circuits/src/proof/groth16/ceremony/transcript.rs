//! A transcript and its bytes.

use ark_bn254::G1Affine;
use ark_ec::AffineRepr;
use rayon::prelude::*;

use super::{
    CeremonyError, Summary,
    chain::{self, Contribution, Share},
    powers::Powers,
    second::Second,
};
use crate::proof::groth16::{
    circuit::Circuit,
    key::{point, take, take_point},
};

/// What a transcript's bytes start with.
const MAGIC: &[u8; 24] = b"assay/groth16-ceremony/1";

/// A transcript has at most so many contributions in a phase.
const MOST_CONTRIBUTIONS: u32 = 1024;

/// A ceremony so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transcript {
    /// Hash of the constraints.
    circuit: [u8; 32],
    /// Logarithm of the evaluation domain's size.
    log_size: u8,
    /// Private variables.
    private: u32,
    /// The first phase's contributions.
    pub(super) first: Vec<Contribution>,
    /// Its points.
    pub(super) powers: Powers,
    /// The second phase.
    pub(super) second: Option<Second>,
}

impl Transcript {
    /// Of a circuit, with no contributions.
    pub(super) fn start(circuit: &Circuit) -> Self {
        let size = circuit.system.domain_size();
        Self {
            circuit: circuit.system.hash(),
            log_size: u8::try_from(size.trailing_zeros()).expect("a logarithm of 64 bits"),
            private: private(circuit),
            first: Vec::new(),
            powers: Powers::start(size),
            second: None,
        }
    }

    /// Whether it is of this circuit.
    pub(super) fn is_of(&self, circuit: &Circuit) -> bool {
        self.circuit == circuit.system.hash()
            && 1 << self.log_size == circuit.system.domain_size()
            && self.private == private(circuit)
    }

    /// Whether the phase takes no more contributions.
    pub(super) fn is_full(&self) -> bool {
        let phase = self.second.as_ref().map_or(&self.first, |second| &second.contributions);
        phase.len() >= MOST_CONTRIBUTIONS as usize
    }

    /// Digest of the circuit and the first phase's contributions.
    pub(super) fn digest_first(&self) -> [u8; 32] {
        self.first.iter().fold(self.digest_circuit(), |digest, contribution| contribution.digest(&digest))
    }

    /// Digest of everything so far.
    pub(super) fn digest(&self) -> [u8; 32] {
        let second = self.second.iter().flat_map(|second| &second.contributions);
        second.fold(self.digest_first(), |digest, contribution| contribution.digest(&digest))
    }

    fn digest_circuit(&self) -> [u8; 32] {
        let mut bytes = self.circuit.to_vec();
        bytes.push(self.log_size);
        bytes.extend_from_slice(&self.private.to_le_bytes());
        blake3::derive_key("assay groth16 ceremony start 1", &bytes)
    }

    /// Checks the first phase.
    pub(super) fn verify_first(&self) -> Result<(), CeremonyError> {
        let one = G1Affine::generator();
        chain::verify(self.digest_circuit(), &self.first, &[one; 3], &self.powers.heads())?;
        self.powers.verify()
    }

    /// Who contributed.
    pub(super) fn summary(&self, transcript: [u8; 32]) -> Summary {
        let names = |list: &[Contribution]| list.iter().map(|c| c.name.clone()).collect();
        let second = self.second.as_ref().map(|second| names(&second.contributions));
        Summary { first: names(&self.first), second, transcript, verifier_key: None }
    }

    /// The canonical bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.circuit);
        out.push(self.log_size);
        out.extend_from_slice(&self.private.to_le_bytes());
        write_chain(&self.first, &mut out);
        write_points(&self.powers.tau_1, &mut out);
        write_points(&self.powers.tau_2, &mut out);
        write_points(&self.powers.alpha_1, &mut out);
        write_points(&self.powers.beta_1, &mut out);
        point(&self.powers.beta_2, &mut out);
        out.push(u8::from(self.second.is_some()));
        if let Some(second) = &self.second {
            write_chain(&second.contributions, &mut out);
            point(&second.delta_1, &mut out);
            point(&second.delta_2, &mut out);
            write_points(&second.h, &mut out);
            write_points(&second.l, &mut out);
        }
        out
    }

    /// Reads exactly what [`Self::to_bytes`] writes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, CeremonyError> {
        let mut rest = bytes;
        read(&mut rest).map_err(|reason| CeremonyError::Malformed { reason })
    }
}

fn private(circuit: &Circuit) -> u32 {
    let counts = circuit.counts();
    u32::try_from(counts.variables - counts.public - 1).expect("variables are numbered by 32 bits")
}

fn read(rest: &mut &[u8]) -> Result<Transcript, String> {
    if take(rest, MAGIC.len())? != MAGIC {
        return Err("it does not start as one".into());
    }
    let circuit = take(rest, 32)?.try_into().expect("32 bytes were taken");
    let log_size = take(rest, 1)?[0];
    if !(1..=22).contains(&log_size) {
        return Err(format!("a domain of 2^{log_size} points"));
    }
    let size = 1_usize << log_size;
    let private = u32::from_le_bytes(take(rest, 4)?.try_into().expect("4 bytes were taken"));
    let first = read_chain(rest, 3)?;
    let powers = Powers {
        tau_1: read_points(rest, 2 * size - 1, false)?,
        tau_2: read_points(rest, size, false)?,
        alpha_1: read_points(rest, size, false)?,
        beta_1: read_points(rest, size, false)?,
        beta_2: take_point(rest)?,
    };
    let second = match take(rest, 1)? {
        [0] => None,
        [1] => Some(Second {
            contributions: read_chain(rest, 1)?,
            delta_1: take_point(rest)?,
            delta_2: take_point(rest)?,
            h: read_points(rest, size - 1, false)?,
            // A variable that no constraint has is tied to nothing.
            l: read_points(rest, private as usize, true)?,
        }),
        _ => return Err("an unknown phase".into()),
    };
    if !rest.is_empty() {
        return Err(format!("{} bytes too many", rest.len()));
    }
    Ok(Transcript { circuit, log_size, private, first, powers, second })
}

fn write_chain(chain: &[Contribution], out: &mut Vec<u8>) {
    let count = u32::try_from(chain.len()).expect("a transcript has at most 1,024 contributions");
    out.extend_from_slice(&count.to_le_bytes());
    chain.iter().for_each(|contribution| contribution.write(out));
}

fn read_chain(rest: &mut &[u8], shares: usize) -> Result<Vec<Contribution>, String> {
    let count = u32::from_le_bytes(take(rest, 4)?.try_into().expect("4 bytes were taken"));
    if count > MOST_CONTRIBUTIONS {
        return Err(format!("{count} contributions, the most is {MOST_CONTRIBUTIONS}"));
    }
    let mut chain = Vec::new();
    for _ in 0..count {
        let length = usize::from(take(rest, 1)?[0]);
        if length > super::LONGEST_NAME {
            return Err(format!("a name of {length} bytes"));
        }
        let name = std::str::from_utf8(take(rest, length)?).map_err(|e| e.to_string())?.to_owned();
        super::check_name(&name)?;
        let mut all = Vec::with_capacity(shares);
        for _ in 0..shares {
            all.push(Share { after: take_point(rest)?, factor: take_point(rest)?, proof: take_point(rest)? });
        }
        chain.push(Contribution { name, shares: all });
    }
    Ok(chain)
}

fn write_points<P: AffineRepr>(points: &[P], out: &mut Vec<u8>) {
    for point in points {
        point.serialize_uncompressed(&mut *out).expect("writing to memory does not fail");
    }
}

/// Points on the curve and in the group, each written in the one canonical way.
fn read_points<P: AffineRepr>(rest: &mut &[u8], count: usize, identity: bool) -> Result<Vec<P>, String> {
    let each = P::zero().uncompressed_size();
    let bytes = take(rest, count.checked_mul(each).ok_or("too many points")?)?;
    let read = |bytes: &[u8]| -> Option<P> {
        let point = P::deserialize_uncompressed(bytes).ok()?;
        let mut again = Vec::with_capacity(each);
        point.serialize_uncompressed(&mut again).ok()?;
        (again == bytes && (identity || !point.is_zero())).then_some(point)
    };
    bytes.par_chunks(each).map(read).collect::<Option<Vec<P>>>().ok_or_else(|| "a point that is none".into())
}

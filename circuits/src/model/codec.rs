//! Canonical bytes: one encoding a value, anything else is refused.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{MAX_MODEL_BYTES, Model, ModelError, Outline};
use crate::{
    graph::{Graph, MAX_MACS, MAX_MOVES, Work},
    proof::{Commitments, SumcheckCommitment, Systems},
};

pub(super) const MODEL: &str = "model";
pub(super) const OUTLINE: &str = "outline";

const MODEL_TAG: [u8; 4] = *b"ASYM";
const OUTLINE_TAG: [u8; 4] = *b"ASYO";

/// Of a model that is committed for plain `sumcheck` and no other system; it names none. (Version 1 was the first circuit's.)
const PLAIN: u16 = 2;
/// Of every other model.
const COMMITTED: u16 = 3;

/// The data of one constant, in the narrowest type that holds it.
#[derive(BorshSerialize, BorshDeserialize)]
enum Packed {
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Packed {
    fn of(values: &[i64]) -> Self {
        fn all<T: TryFrom<i64>>(values: &[i64]) -> Option<Vec<T>> {
            values.iter().map(|&value| T::try_from(value).ok()).collect()
        }
        None.or_else(|| all(values).map(Self::I8))
            .or_else(|| all(values).map(Self::I16))
            .or_else(|| all(values).map(Self::I32))
            .unwrap_or_else(|| Self::I64(values.to_vec()))
    }

    /// Bytes of a value, and how many there are.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::I8(list) => (1, list.len()),
            Self::I16(list) => (2, list.len()),
            Self::I32(list) => (4, list.len()),
            Self::I64(list) => (8, list.len()),
        }
    }

    fn values(self) -> Vec<i64> {
        match self {
            Self::I8(list) => list.into_iter().map(i64::from).collect(),
            Self::I16(list) => list.into_iter().map(i64::from).collect(),
            Self::I32(list) => list.into_iter().map(i64::from).collect(),
            Self::I64(list) => list,
        }
    }
}

/// Bytes of a value in the narrowest type that holds all of these.
fn width(values: &[i64]) -> usize {
    let fits = |low: i64, high: i64| values.iter().all(|value| (low..=high).contains(value));
    match () {
        () if fits(i64::from(i8::MIN), i64::from(i8::MAX)) => 1,
        () if fits(i64::from(i16::MIN), i64::from(i16::MAX)) => 2,
        () if fits(i64::from(i32::MIN), i64::from(i32::MAX)) => 4,
        () => 8,
    }
}

pub(super) fn check_size(what: &'static str, found: usize) -> Result<(), ModelError> {
    if found > MAX_MODEL_BYTES { Err(ModelError::TooLarge { what, found }) } else { Ok(()) }
}

fn malformed(what: &'static str, reason: impl Into<String>) -> ModelError {
    ModelError::Malformed { what, reason: reason.into() }
}

fn head(tag: [u8; 4], systems: Systems) -> Vec<u8> {
    let version = if systems == Systems::default() { PLAIN } else { COMMITTED };
    [&tag[..], &version.to_le_bytes()].concat()
}

/// Whether the head is that of a plain model, and the bytes after it.
fn body<'a>(what: &'static str, tag: [u8; 4], bytes: &'a [u8]) -> Result<(bool, &'a [u8]), ModelError> {
    check_size(what, bytes.len())?;
    let head = bytes.split_first_chunk::<6>().filter(|(head, _)| head[..4] == tag);
    let Some((head, rest)) = head else {
        return Err(malformed(what, format!("it does not start with {}", String::from_utf8_lossy(&tag))));
    };
    match u16::from_le_bytes([head[4], head[5]]) {
        PLAIN => Ok((true, rest)),
        COMMITTED => Ok((false, rest)),
        version => Err(malformed(what, format!("version {version}; expected {PLAIN} or {COMMITTED}"))),
    }
}

/// One encoding a model: what [`PLAIN`] can say, [`COMMITTED`] does not.
fn check_needed(what: &'static str, systems: Systems) -> Result<(), ModelError> {
    let plain = systems == Systems::default();
    if plain { Err(malformed(what, format!("version {COMMITTED} of what version {PLAIN} can say"))) } else { Ok(()) }
}

fn decode<T: BorshDeserialize>(what: &'static str, bytes: &[u8]) -> Result<T, ModelError> {
    assay_primitives::decode(what, bytes).map_err(|e| malformed(what, e.reason))
}

const SECRET: u8 = 1 << 0;
const HALO2: u8 = 1 << 1;

/// The systems that a model is committed for, as bits.
fn flags(systems: Systems) -> u8 {
    (if systems.secret { SECRET } else { 0 }) | (if systems.halo2 { HALO2 } else { 0 })
}

fn systems(flags: u8) -> Result<Systems, ModelError> {
    let known = SECRET | HALO2;
    if flags & !known != 0 {
        return Err(malformed(MODEL, format!("it is committed for systems that are not known ({flags:#04x})")));
    }
    let systems = Systems { secret: flags & SECRET != 0, halo2: flags & HALO2 != 0 };
    check_needed(MODEL, systems)?;
    Ok(systems)
}

impl Outline {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = head(OUTLINE_TAG, self.commitments.systems());
        let body = match self.commitments {
            Commitments { sumcheck: SumcheckCommitment::Plain(root), halo2: None } => {
                assay_primitives::encode(&(&*self.graph, &root, &self.seal))
            }
            commitments => assay_primitives::encode(&(&*self.graph, &commitments, &self.seal)),
        };
        [head, body].concat()
    }

    /// Reads and checks what [`Self::to_bytes`] wrote, from anyone.
    ///
    /// # Errors
    /// [`ModelError`]; never panics, and allocates no more than a small multiple of the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let (plain, body) = body(OUTLINE, OUTLINE_TAG, bytes)?;
        if plain {
            let (graph, root, seal): (Graph, [u8; 32], [u8; 32]) = decode(OUTLINE, body)?;
            return Self::new(Arc::new(graph), Commitments::plain(root), seal);
        }
        let (graph, commitments, seal): (Graph, Commitments, [u8; 32]) = decode(OUTLINE, body)?;
        check_needed(OUTLINE, commitments.systems())?;
        Self::new(Arc::new(graph), commitments, seal)
    }
}

impl Model {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let weights: Vec<Packed> = self.weights.iter().map(|values| Packed::of(values)).collect();
        let systems = self.outline.commitments.systems();
        let graph = assay_primitives::encode(&(&*self.outline.graph, &self.salt));
        let systems_said = if systems == Systems::default() { vec![] } else { vec![flags(systems)] };
        [head(MODEL_TAG, systems), graph, systems_said, assay_primitives::encode(&weights)].concat()
    }

    /// Reads and checks what [`Self::to_bytes`] wrote, from anyone; commits to the weights anew, for each system that the model
    /// is committed for.
    ///
    /// # Errors
    /// [`ModelError`]; never panics. Allocates a small multiple of the bytes and of the tensors that the graph declares,
    /// whose limits [`crate::graph`] tells.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        Self::read(bytes, Work { macs: MAX_MACS, moves: MAX_MOVES })
    }

    /// [`Self::from_bytes`], in bounded time: of a model whose run takes no more than this, and that is committed for plain
    /// `sumcheck` alone; any other is refused before the checks whose time grows with it.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn from_bytes_within(bytes: &[u8], most: Work) -> Result<Self, ModelError> {
        match body(MODEL, MODEL_TAG, bytes)? {
            (true, _) => Self::read(bytes, most),
            (false, _) => Err(ModelError::Systems),
        }
    }

    fn read(bytes: &[u8], most: Work) -> Result<Self, ModelError> {
        let (plain, body) = body(MODEL, MODEL_TAG, bytes)?;
        let (graph, salt, systems, packed): (Graph, [u8; 32], Systems, Vec<Packed>) = if plain {
            let (graph, salt, packed) = decode(MODEL, body)?;
            (graph, salt, Systems::default(), packed)
        } else {
            let (graph, salt, flags, packed) = decode(MODEL, body)?;
            (graph, salt, systems(flags)?, packed)
        };
        let found = graph.work()?;
        if found.macs > most.macs || found.moves > most.moves {
            return Err(ModelError::Work { found, most });
        }
        let mut weights = Vec::with_capacity(packed.len());
        for (index, packed) in packed.into_iter().enumerate() {
            let (bytes, _) = packed.size();
            let values = packed.values();
            let least = width(&values);
            if bytes != least {
                let reason = format!("constant {index} takes {bytes} bytes a value; {least} are enough");
                return Err(malformed(MODEL, reason));
            }
            weights.push(values);
        }
        Self::committed(graph, weights, salt, systems)
    }

    /// Length of [`Self::to_bytes`].
    pub(super) fn encoded_len(&self) -> usize {
        // An outline holds commitments where a model holds the number of weights, and its flags if it is not plain.
        let weights: usize = self.weights.iter().map(|values| 5 + values.len() * width(values)).sum();
        let commitments = match self.outline.commitments {
            Commitments { sumcheck: SumcheckCommitment::Plain(_), halo2: None } => 32,
            commitments => assay_primitives::encode(&commitments).len() - 1,
        };
        self.outline.to_bytes().len() - commitments + 4 + weights
    }
}

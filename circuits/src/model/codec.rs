//! Canonical bytes: one encoding a value, anything else is refused.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{MAX_MODEL_BYTES, Model, ModelError, Outline};
use crate::graph::{Graph, MAX_MACS, MAX_MOVES, Work};

pub(super) const MODEL: &str = "model";
pub(super) const OUTLINE: &str = "outline";

/// The first circuit's models were `ASYM` version 1.
const MODEL_HEAD: [u8; 6] = *b"ASYM\x02\x00";
const OUTLINE_HEAD: [u8; 6] = *b"ASYO\x02\x00";

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

/// The bytes after the head.
fn body<'a>(what: &'static str, head: [u8; 6], bytes: &'a [u8]) -> Result<&'a [u8], ModelError> {
    check_size(what, bytes.len())?;
    let malformed = |reason: String| ModelError::Malformed { what, reason };
    match bytes.split_first_chunk::<6>() {
        Some((found, rest)) if *found == head => Ok(rest),
        Some((found, _)) if found[..4] == head[..4] => {
            let version = |head: &[u8; 6]| u16::from_le_bytes([head[4], head[5]]);
            Err(malformed(format!("version {}; expected {}", version(found), version(&head))))
        }
        _ => Err(malformed(format!("it does not start with {}", String::from_utf8_lossy(&head[..4])))),
    }
}

fn decode<T: BorshDeserialize>(what: &'static str, bytes: &[u8]) -> Result<T, ModelError> {
    assay_primitives::decode(what, bytes).map_err(|e| ModelError::Malformed { what, reason: e.reason })
}

impl Outline {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = (&*self.graph, &self.commitment, &self.seal);
        [&OUTLINE_HEAD[..], &assay_primitives::encode(&body)].concat()
    }

    /// Reads and checks what [`Self::to_bytes`] wrote, from anyone.
    ///
    /// # Errors
    /// [`ModelError`]; never panics, and allocates no more than a small multiple of the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let body = body(OUTLINE, OUTLINE_HEAD, bytes)?;
        let (graph, commitment, seal): (Graph, [u8; 32], [u8; 32]) = decode(OUTLINE, body)?;
        Self::new(Arc::new(graph), commitment, seal)
    }
}

impl Model {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let weights: Vec<Packed> = self.weights.iter().map(|values| Packed::of(values)).collect();
        let body = (&*self.outline.graph, &self.salt, weights);
        [&MODEL_HEAD[..], &assay_primitives::encode(&body)].concat()
    }

    /// Reads and checks what [`Self::to_bytes`] wrote, from anyone; commits to the weights anew.
    ///
    /// # Errors
    /// [`ModelError`]; never panics. Allocates a small multiple of the bytes and of the tensors that the graph declares,
    /// whose limits [`crate::graph`] tells.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        Self::from_bytes_within(bytes, Work { macs: MAX_MACS, moves: MAX_MOVES })
    }

    /// [`Self::from_bytes`], of a model whose run takes no more than this; one that takes more is refused before the checks
    /// whose time grows with it.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn from_bytes_within(bytes: &[u8], most: Work) -> Result<Self, ModelError> {
        let body = body(MODEL, MODEL_HEAD, bytes)?;
        let (graph, salt, packed): (Graph, [u8; 32], Vec<Packed>) = decode(MODEL, body)?;
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
                return Err(ModelError::Malformed { what: MODEL, reason });
            }
            weights.push(values);
        }
        Self::new(graph, weights, salt)
    }

    /// Length of [`Self::to_bytes`].
    pub(super) fn encoded_len(&self) -> usize {
        // An outline holds the commitment where a model holds its number of weights; each has a type and a length.
        let weights: usize = self.weights.iter().map(|values| 5 + values.len() * width(values)).sum();
        self.outline.to_bytes().len() - 32 + 4 + weights
    }
}

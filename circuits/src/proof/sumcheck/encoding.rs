//! A proof as bytes.
//!
//! ```text
//! version 1 | commitment 32, if any | n u32 | n messages of 16 | length u32 | opening of the witness | opening of the weights
//! ```
//!
//! Integers are little-endian; a message is two canonical field elements of 8 bytes. There is one way to write a
//! proof: anything over, under or not canonical is refused.

use p3_field::{BasedVectorSpace, PrimeCharacteristicRing, PrimeField64};

use super::commitment::{Base, Commitment, Ext};
use super::context::Failure;

/// The format's number; every change of the protocol gets another.
pub(super) const VERSION: u8 = 1;

/// Bytes of one message.
pub(super) const MESSAGE: usize = 16;

/// The parts of a proof.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) commitment: Option<Commitment>,
    pub(super) messages: MessageReader<'a>,
    pub(super) witness_opening: &'a [u8],
    pub(super) weights_opening: &'a [u8],
}

/// Reads messages one by one.
#[derive(Debug, Clone)]
pub(super) struct MessageReader<'a> {
    bytes: &'a [u8],
}

impl MessageReader<'_> {
    /// The next.
    pub(super) fn next(&mut self) -> Result<Ext, Failure> {
        let (message, rest) = self
            .bytes
            .split_first_chunk::<MESSAGE>()
            .ok_or_else(|| Failure::Malformed("it has fewer messages than the protocol".into()))?;
        self.bytes = rest;
        let limb = |at: usize| {
            let limb = u64::from_le_bytes(std::array::from_fn(|i| message[at + i]));
            if limb < Base::ORDER_U64 {
                Ok(Base::from_u64(limb))
            } else {
                Err(Failure::Malformed("a message is not a canonical field element".into()))
            }
        };
        let limbs = [limb(0)?, limb(8)?];
        Ok(Ext::from_basis_coefficients_fn(|i| limbs[i]))
    }

    /// Whether all are read.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Writes a proof.
pub(super) fn write(commitment: Option<&Commitment>, messages: &[Ext], witness: &[u8], weights: &[u8]) -> Vec<u8> {
    let length = |n: usize| u32::try_from(n).expect("a proof is shorter than 4 GiB").to_le_bytes();
    let mut bytes = Vec::with_capacity(41 + messages.len() * MESSAGE + witness.len() + weights.len());
    bytes.push(VERSION);
    bytes.extend(commitment.iter().flat_map(|c| c.0));
    bytes.extend(length(messages.len()));
    for message in messages {
        let limbs: &[Base] = message.as_basis_coefficients_slice();
        limbs.iter().for_each(|limb| bytes.extend(limb.as_canonical_u64().to_le_bytes()));
    }
    bytes.extend(length(witness.len()));
    bytes.extend(witness);
    bytes.extend(weights);
    bytes
}

/// Splits a proof's bytes; the parts are read and checked as the protocol runs.
pub(super) fn split(bytes: &[u8], committed: bool) -> Result<Parts<'_>, String> {
    let mut rest = bytes;
    let version = *take(&mut rest, 1)?.first().ok_or("it is empty")?;
    if version != VERSION {
        return Err(format!("its version is {version}, expected {VERSION}"));
    }
    let commitment = match committed {
        true => Some(Commitment(take(&mut rest, 32)?.try_into().map_err(|_| "its commitment is short")?)),
        false => None,
    };
    let count = length(&mut rest)?;
    let messages = take(&mut rest, count.checked_mul(MESSAGE).ok_or("it has too many messages")?)?;
    let witness = length(&mut rest)?;
    let witness_opening = take(&mut rest, witness)?;
    Ok(Parts { commitment, messages: MessageReader { bytes: messages }, witness_opening, weights_opening: rest })
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Result<&'a [u8], String> {
    let (head, tail) = rest.split_at_checked(n).ok_or_else(|| format!("it ends {} bytes early", n - rest.len()))?;
    *rest = tail;
    Ok(head)
}

fn length(rest: &mut &[u8]) -> Result<usize, String> {
    let bytes = take(rest, 4)?.try_into().map_err(|_| "it ends early")?;
    usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| "a length does not fit".into())
}

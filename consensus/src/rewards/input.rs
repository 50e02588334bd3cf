//! What an epoch may be asked: checked before anything is computed, so that nothing below can index past an end.

use super::layer::{Entropy, OneOut};
use super::{Bonding, Input, Params, Row};
use fixed::types::I32F32;

/// Why an epoch cannot be computed. Each is an error of whoever assembled the input, never of a participant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// A list has not one entry per uid.
    #[error("expected {expected} entries in `{field}`, one per uid as in `stake`, found {found}")]
    Length {
        /// Field of [`Input`].
        field: &'static str,
        /// Length of `stake`.
        expected: usize,
        /// Length found.
        found: usize,
    },
    /// More uids than 16 bits name.
    #[error("expected at most 65536 uids, found {found}; split the subnet")]
    TooManyUids {
        /// Length of `stake`.
        found: usize,
    },
    /// A row names a uid that does not exist.
    #[error("expected uids below {uids} in `{field}` of uid {row}, found {found}; drop entries of removed keys")]
    UnknownUid {
        /// Field of [`Input`].
        field: &'static str,
        /// Row, or for `flagged` the validator.
        row: usize,
        /// Uid named.
        found: u16,
        /// How many uids there are.
        uids: usize,
    },
    /// A row is not strictly ascending.
    #[error("expected strictly ascending uids in `{field}` of uid {row}, found {found} out of order or twice; sort it")]
    RowOrder {
        /// Field of [`Input`].
        field: &'static str,
        /// Row.
        row: usize,
        /// Uid found not above the one before.
        found: u16,
    },
    /// A weight is below 0.
    #[error("expected weights of at least 0, found {found} from uid {validator} to uid {miner}; refuse such rows")]
    NegativeWeight {
        /// Row.
        validator: usize,
        /// Column.
        miner: u16,
        /// The weight.
        found: I32F32,
    },
    /// The moving average would weigh the past more than wholly.
    #[error(
        "expected `bonds_moving_average` of at most 1000000 millionths, found {found}; correct the subnet's parameters"
    )]
    MovingAverage {
        /// Millionths found.
        found: u32,
    },
    /// One side would weigh more than wholly.
    #[error("expected `miner_share` of at most 1000000 millionths, found {found}; correct the subnet's parameters")]
    MinerShare {
        /// Millionths found.
        found: u32,
    },
    /// Ranks would not be discounted, or be worth nothing.
    #[error("expected `one_out.discount` from 1 to 65534 of 65535ths, found {found}; correct the subnet's parameters")]
    Discount {
        /// 65535ths found.
        found: u16,
    },
    /// The exponent of the entropy share is too large.
    #[error("expected `entropy.beta` of at most 1000000 millionths, found {found}; correct the subnet's parameters")]
    Beta {
        /// Millionths found.
        found: u32,
    },
    /// The range of liquid alpha is empty.
    #[error("expected liquid alpha with low <= high, found low {low} and high {high}; correct the subnet's parameters")]
    AlphaRange {
        /// Lower end, in 65535ths.
        low: u16,
        /// Upper end, in 65535ths.
        high: u16,
    },
}

/// Refuses what [`epoch`](super::epoch) could not compute.
pub(super) fn check(params: &Params, input: &Input) -> Result<(), InputError> {
    check_params(params)?;
    let uids = input.stake.len();
    if uids > 1 << 16 {
        return Err(InputError::TooManyUids { found: uids });
    }
    let lengths = [
        ("active", input.active.len()),
        ("permit", input.permit.len()),
        ("new_permit", input.new_permit.len()),
        ("last_update", input.last_update.len()),
        ("registered", input.registered.len()),
        ("weights", input.weights.len()),
        ("bonds", input.bonds.len()),
    ];
    for (field, found) in lengths {
        if found != uids {
            return Err(InputError::Length { field, expected: uids, found });
        }
    }
    check_rows("weights", &input.weights)?;
    check_rows("bonds", &input.bonds)?;
    for (validator, row) in input.weights.iter().enumerate() {
        if let Some((miner, found)) = row.iter().find(|(_, w)| *w < I32F32::ZERO) {
            return Err(InputError::NegativeWeight { validator, miner: *miner, found: *found });
        }
    }
    for (validator, miner) in &input.flagged {
        for uid in [*validator, *miner] {
            known("flagged", usize::from(*validator), uid, uids)?;
        }
    }
    Ok(())
}

fn check_params(params: &Params) -> Result<(), InputError> {
    if params.bonds_moving_average > 1_000_000 {
        return Err(InputError::MovingAverage { found: params.bonds_moving_average });
    }
    if params.miner_share > 1_000_000 {
        return Err(InputError::MinerShare { found: params.miner_share });
    }
    if let Some(OneOut { discount: found @ (0 | u16::MAX) }) = params.layer.one_out {
        return Err(InputError::Discount { found });
    }
    if let Some(Entropy { beta: found @ 1_000_001.. }) = params.layer.entropy {
        return Err(InputError::Beta { found });
    }
    match params.bonding {
        Bonding::Yuma3 { liquid_alpha: Some(alpha) } if alpha.low > alpha.high => {
            Err(InputError::AlphaRange { low: alpha.low, high: alpha.high })
        }
        _ => Ok(()),
    }
}

fn check_rows<T>(field: &'static str, rows: &[Row<T>]) -> Result<(), InputError> {
    for (row, entries) in rows.iter().enumerate() {
        let mut least = 0u32;
        for (uid, _) in entries {
            known(field, row, *uid, rows.len())?;
            if u32::from(*uid) < least {
                return Err(InputError::RowOrder { field, row, found: *uid });
            }
            least = u32::from(*uid) + 1;
        }
    }
    Ok(())
}

fn known(field: &'static str, row: usize, found: u16, uids: usize) -> Result<(), InputError> {
    if usize::from(found) < uids {
        return Ok(());
    }
    Err(InputError::UnknownUid { field, row, found, uids })
}

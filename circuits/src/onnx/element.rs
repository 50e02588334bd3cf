//! The types of elements that are read.

use std::fmt;

use crate::network::Kind;

/// An element type by ONNX's name and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // ONNX's own names.
pub(super) enum Element {
    Float,
    Uint8,
    Int8,
    Uint16,
    Int16,
    Int32,
    Int64,
    Bool,
    Float16,
    Double,
    Uint32,
    Uint64,
    Bfloat16,
    Uint4,
    Int4,
    Uint2,
    Int2,
}

impl Element {
    /// The type of this number in `TensorProto.DataType`; `Err` says which one is not read.
    pub(super) fn from_number(number: i64) -> Result<Self, String> {
        Ok(match number {
            1 => Self::Float,
            2 => Self::Uint8,
            3 => Self::Int8,
            4 => Self::Uint16,
            5 => Self::Int16,
            6 => Self::Int32,
            7 => Self::Int64,
            9 => Self::Bool,
            10 => Self::Float16,
            11 => Self::Double,
            12 => Self::Uint32,
            13 => Self::Uint64,
            16 => Self::Bfloat16,
            21 => Self::Uint4,
            22 => Self::Int4,
            25 => Self::Uint2,
            26 => Self::Int2,
            _ => {
                let name = match number {
                    0 => "undefined",
                    8 => "string",
                    14 | 15 => "complex",
                    17..=20 => "8-bit float",
                    23 => "4-bit float",
                    24 => "8-bit exponent",
                    _ => "unknown",
                };
                return Err(format!(
                    "element type {number} ({name}) is not supported; expected a float of 16 to 64 bits, an integer or a bool"
                ));
            }
        })
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Float | Self::Float16 | Self::Double | Self::Bfloat16 => Kind::Real,
            Self::Bool => Kind::Truth,
            _ => Kind::Integer,
        }
    }

    /// Smallest and largest value of an integer type. The ends of 64-bit types are rounded to `f64`.
    pub(super) fn range(self) -> Option<(f64, f64)> {
        let (signed, bits) = match self {
            Self::Uint2 => (false, 2),
            Self::Int2 => (true, 2),
            Self::Uint4 => (false, 4),
            Self::Int4 => (true, 4),
            Self::Uint8 => (false, 8),
            Self::Int8 => (true, 8),
            Self::Uint16 => (false, 16),
            Self::Int16 => (true, 16),
            Self::Uint32 => (false, 32),
            Self::Int32 => (true, 32),
            Self::Uint64 => (false, 64),
            Self::Int64 => (true, 64),
            _ => return None,
        };
        let end = 2f64.powi(if signed { bits - 1 } else { bits });
        Some((if signed { -end } else { 0.0 }, end - 1.0))
    }

    /// Smallest and largest value of an integer type, as integers.
    pub(super) fn whole(self) -> Option<(i64, u64)> {
        self.range().map(|(low, high)| (low as i64, high as u64))
    }

    /// Bits of one value in `raw_data`.
    pub(super) fn bits(self) -> usize {
        match self {
            Self::Uint2 | Self::Int2 => 2,
            Self::Uint4 | Self::Int4 => 4,
            Self::Uint8 | Self::Int8 | Self::Bool => 8,
            Self::Uint16 | Self::Int16 | Self::Float16 | Self::Bfloat16 => 16,
            Self::Float | Self::Int32 | Self::Uint32 => 32,
            Self::Int64 | Self::Double | Self::Uint64 => 64,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

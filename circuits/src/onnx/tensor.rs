//! Constant tensors: from any of the ways in which a file may hold them to numbers.

use super::{
    External,
    element::Element,
    proto::{StringStringEntryProto, TensorProto},
    short,
};

/// Most elements of one tensor: far over any model for which a proof is practical, and little enough memory.
pub(super) const MAX_ELEMENTS: usize = 1 << 25;

/// A constant, row-major.
pub(super) struct Tensor {
    pub(super) shape: Vec<usize>,
    pub(super) element: Element,
    pub(super) data: Vec<f64>,
}

/// The number of elements of a shape, within bounds.
pub(super) fn count(shape: &[usize]) -> Result<usize, String> {
    if shape.len() > 16 {
        return Err(format!("{} axes; expected at most 16", shape.len()));
    }
    // Beside a zero the other axes still must be of a size that can be walked along.
    let rest = shape.iter().filter(|&&d| d > 0).try_fold(1usize, |n, &d| n.checked_mul(d));
    let count = rest.filter(|&n| n <= MAX_ELEMENTS).map(|n| if shape.contains(&0) { 0 } else { n });
    count.ok_or_else(|| format!("shape {shape:?} has too many elements; expected at most {MAX_ELEMENTS}"))
}

/// Dimensions as ONNX writes them.
pub(super) fn shape(dims: &[i64]) -> Result<Vec<usize>, String> {
    let list: Vec<i64> = dims.iter().copied().take(17).collect();
    let shape = list.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| format!("dimensions {list:?}; expected none to be negative"))?;
    count(&shape)?;
    Ok(shape)
}

/// Reads a tensor; `external` gives the bytes of tensors in other files.
pub(super) fn read(proto: &TensorProto, external: Option<&External>) -> Result<Tensor, String> {
    let element = Element::from_number(i64::from(proto.data_type))?;
    let shape = shape(&proto.dims)?;
    let count = count(&shape)?;
    if proto.segment.is_some() {
        return Err("is a segment of a tensor; expected a whole one".into());
    }
    if listed_too(proto) && (!proto.raw_data.is_empty() || proto.data_location == 1) {
        return Err("holds its values twice, listed and as bytes; expected one of them".into());
    }
    let data = if proto.data_location == 1 {
        let bytes = outside(proto, (count * element.bits()).div_ceil(8), external)?;
        decode(&bytes, element, count)?
    } else if proto.raw_data.is_empty() {
        listed(proto, element, count)?
    } else {
        decode(&proto.raw_data, element, count)?
    };
    if data.len() != count {
        return Err(format!("{} values; expected {count} for shape {shape:?}", data.len()));
    }
    // An infinity may stand for "no bound"; one that is left in the network is refused there.
    if let Some(at) = data.iter().position(|v| v.is_nan()) {
        return Err(format!("holds {} at position {at}; expected finite numbers", data[at]));
    }
    Ok(Tensor { shape, element, data })
}

/// The bytes of a tensor that lies in another file.
fn outside(proto: &TensorProto, bytes: usize, external: Option<&External>) -> Result<Vec<u8>, String> {
    let entry = |key: &str| proto.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let twice = |(at, e): (usize, &StringStringEntryProto)| proto.external_data[..at].iter().any(|b| b.key == e.key);
    if proto.external_data.iter().enumerate().take(64).any(twice) || proto.external_data.len() > 64 {
        return Err("says twice where in another file it lies".into());
    }
    let location = entry("location").ok_or("lies in another file, which it does not name")?;
    let inside = !location.is_empty()
        && !location.contains(['\\', ':', '\0'])
        && location.split('/').all(|part| !part.is_empty() && part != "..");
    if !inside {
        return Err(format!("lies in '{}', outside the model's folder; expected a path within it", short(location)));
    }
    let number = |key: &str| match entry(key) {
        Some(text) => match text.parse::<u64>() {
            Ok(v) => Ok(Some(v)),
            Err(_) => Err(format!("external {key} '{}'; expected a number", short(text))),
        },
        None => Ok(None),
    };
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    if length.is_some_and(|l| l != bytes as u64) {
        return Err(format!("external length {}; expected {bytes} bytes for its shape", length.unwrap_or(0)));
    }
    let read = external.ok_or_else(|| {
        format!("lies in another file, '{}', and none may be read here; export the model as one file", short(location))
    })?;
    let found =
        read(location, offset, bytes as u64).map_err(|e| format!("external file '{}': {e}", short(location)))?;
    if found.len() != bytes {
        return Err(format!("external file '{}' gave {} bytes; expected {bytes}", short(location), found.len()));
    }
    Ok(found)
}

/// Whether values are listed in a typed field.
fn listed_too(proto: &TensorProto) -> bool {
    let TensorProto { float_data, int32_data, int64_data, double_data, uint64_data, .. } = proto;
    let lengths = [float_data.len(), int32_data.len(), int64_data.len(), double_data.len(), uint64_data.len()];
    lengths.iter().any(|&length| length > 0)
}

/// Values in the typed field of their type.
fn listed(proto: &TensorProto, element: Element, count: usize) -> Result<Vec<f64>, String> {
    use Element as E;
    Ok(match element {
        E::Float => proto.float_data.iter().map(|&v| f64::from(v)).collect(),
        E::Double => proto.double_data.clone(),
        E::Int64 => proto.int64_data.iter().map(|&v| v as f64).collect(),
        E::Uint32 | E::Uint64 => proto.uint64_data.iter().map(|&v| v as f64).collect(),
        E::Float16 => proto.int32_data.iter().map(|&v| half(v as u16)).collect(),
        E::Bfloat16 => proto.int32_data.iter().map(|&v| brain(v as u16)).collect(),
        E::Bool => proto.int32_data.iter().map(|&v| f64::from(v != 0)).collect(),
        E::Uint4 | E::Int4 | E::Uint2 | E::Int2 => {
            // Packed, a byte an entry.
            let bytes: Vec<u8> = proto.int32_data.iter().map(|&v| v as u8).collect();
            decode(&bytes, element, count)?
        }
        _ => proto.int32_data.iter().map(|&v| f64::from(v)).collect(),
    })
}

/// Values from little-endian bytes.
fn decode(bytes: &[u8], element: Element, count: usize) -> Result<Vec<f64>, String> {
    use Element as E;
    let expected = (count * element.bits()).div_ceil(8);
    if bytes.len() != expected {
        return Err(format!("{} bytes of values; expected {expected}", bytes.len()));
    }
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&b| value(b)).collect()
    }
    Ok(match element {
        E::Float => each(bytes, |b| f64::from(f32::from_le_bytes(b))),
        E::Double => each(bytes, f64::from_le_bytes),
        E::Uint8 => each(bytes, |[b]| f64::from(b)),
        E::Int8 => each(bytes, |[b]| f64::from(b as i8)),
        E::Bool => each(bytes, |[b]| f64::from(b != 0)),
        E::Uint16 => each(bytes, |b| f64::from(u16::from_le_bytes(b))),
        E::Int16 => each(bytes, |b| f64::from(i16::from_le_bytes(b))),
        E::Float16 => each(bytes, |b| half(u16::from_le_bytes(b))),
        E::Bfloat16 => each(bytes, |b| brain(u16::from_le_bytes(b))),
        E::Int32 => each(bytes, |b| f64::from(i32::from_le_bytes(b))),
        E::Uint32 => each(bytes, |b| f64::from(u32::from_le_bytes(b))),
        E::Int64 => each(bytes, |b| i64::from_le_bytes(b) as f64),
        E::Uint64 => each(bytes, |b| u64::from_le_bytes(b) as f64),
        E::Uint4 | E::Int4 | E::Uint2 | E::Int2 => {
            let (bits, signed) = (element.bits(), matches!(element, E::Int4 | E::Int2));
            let per_byte = 8 / bits;
            (0..count)
                .map(|i| {
                    let value = bytes[i / per_byte] >> (bits * (i % per_byte)) & ((1 << bits) - 1);
                    let wraps = signed && value >> (bits - 1) == 1;
                    f64::from(value) - if wraps { f64::from(1 << bits) } else { 0.0 }
                })
                .collect()
        }
    })
}

/// IEEE 754 half precision: sign, 5 bits of exponent, 10 of fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// The upper half of a single-precision float.
fn brain(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn half_and_brain_floats_are_read() {
        let halves =
            [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0001, 2f64.powi(-24)), (0x3555, 0.333251953125)];
        halves.into_iter().for_each(|(bits, value)| assert_eq!(half(bits), value));
        assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
        assert_eq!((brain(0x3f80), brain(0xc040)), (1.0, -3.0));
    }

    #[test]
    fn packed_integers_are_read_low_bits_first() {
        assert_eq!(decode(&[0x8f, 0x03], Element::Int4, 3), Ok(vec![-1.0, -8.0, 3.0]));
        assert_eq!(decode(&[0x8f], Element::Uint4, 2), Ok(vec![15.0, 8.0]));
        assert_eq!(decode(&[0b11_10_01_00], Element::Int2, 4), Ok(vec![0.0, 1.0, -2.0, -1.0]));
        assert!(decode(&[1, 2, 3], Element::Float, 1).is_err());
    }
}

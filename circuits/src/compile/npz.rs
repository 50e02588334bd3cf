//! Arrays of an `.npz`: a zip of `.npy` files.

use std::io::{Cursor, Read};

use npyz::{NpyFile, Order};
use zip::ZipArchive;

use super::samples::Array;

/// Most arrays of an archive.
const MAX_ARRAYS: usize = 1024;

/// Most axes of an array, as numpy has them.
const MAX_AXES: usize = 64;

/// Longest header of an array: shape, element type and order.
const MAX_HEADER: usize = 1 << 16;

/// The arrays, in the order of the archive.
pub(super) fn read(bytes: &[u8], most: usize) -> Result<Vec<Array>, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    if archive.is_empty() || archive.len() > MAX_ARRAYS {
        return Err(format!("{} files in the archive; expected 1 to {MAX_ARRAYS} arrays", archive.len()));
    }
    // The reader of archives keeps the last of those of one name.
    if announced(bytes).is_some_and(|announced| announced != archive.len()) {
        return Err("an array is there twice".into());
    }
    let mut left = most;
    let mut arrays = Vec::with_capacity(archive.len());
    for at in 0..archive.len() {
        let file = archive.by_index(at).map_err(|e| e.to_string())?;
        let name: String = file.name().chars().take(200).collect();
        let mut data = Vec::new();
        let over = || format!("more than {most} bytes of arrays, at eight a number");
        // Not what the archive says of its size: what it gives.
        file.take(left as u64 + 1).read_to_end(&mut data).map_err(|e| format!("'{}': {e}", name.escape_debug()))?;
        if data.len() > left {
            return Err(over());
        }
        let (shape, data) =
            array(&data, left / size_of::<f64>()).map_err(|reason| format!("'{}': {reason}", name.escape_debug()))?;
        left = left.checked_sub(data.len() * size_of::<f64>()).ok_or_else(over)?;
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        if arrays.iter().any(|before: &Array| before.name == name) {
            return Err(format!("'{}' is there twice", name.escape_debug()));
        }
        arrays.push(Array { name, shape: Some(shape), data });
    }
    Ok(arrays)
}

/// How many files an archive says that it has: in the record at its end.
fn announced(bytes: &[u8]) -> Option<usize> {
    let record = bytes.windows(4).rposition(|window| window == b"PK\x05\x06")?;
    let count = bytes.get(record + 10..record + 12)?;
    Some(usize::from(u16::from_le_bytes([count[0], count[1]])))
}

/// The axes and the numbers of a `.npy`, row-major: so many at most.
fn array(bytes: &[u8], most: usize) -> Result<(Vec<usize>, Vec<f64>), String> {
    let (begin, length) = match (bytes.get(..6), bytes.get(6), bytes.get(8..12)) {
        (Some(b"\x93NUMPY"), Some(1), Some(&[a, b, _, _])) => (10, usize::from(u16::from_le_bytes([a, b]))),
        (Some(b"\x93NUMPY"), Some(2 | 3), Some(&[a, b, c, d])) => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        _ => return Err("not an .npy array".into()),
    };
    if length > MAX_HEADER {
        return Err(format!("a header of {length} bytes; expected at most {MAX_HEADER}"));
    }
    let header = bytes.get(begin..begin + length).ok_or("it ends in its header")?;
    check_header(&String::from_utf8_lossy(header), bytes.len() as u64, most as u64)?;
    let npy = NpyFile::new(bytes).map_err(|e| e.to_string())?;
    let element = npy.dtype().num_bytes().map_or(0, |bytes| bytes as u64);
    let held = (bytes.len() - begin - length) as u64;
    if npy.len().checked_mul(element).is_none_or(|expected| element > 0 && expected != held) {
        return Err(format!("{held} bytes of numbers; expected {} of {element}", npy.len()));
    }
    if npy.order() == Order::Fortran && npy.shape().len() > 1 {
        return Err("column-major order; save it with numpy.ascontiguousarray".into());
    }
    let shape = npy.shape().iter().map(|&axis| usize::try_from(axis).map_err(|e| e.to_string()));
    Ok((shape.collect::<Result<_, _>>()?, numbers(npy)?))
}

/// Refuses what the reader of headers would not survive: brackets in brackets, on which its time grows without bound,
/// and shapes whose product it does not hold. And more than `most` numbers.
fn check_header(header: &str, bytes: u64, most: u64) -> Result<(), String> {
    // As numpy writes an array of numbers: one dictionary, and in it one tuple, the shape.
    let count = |bracket: char| header.matches(bracket).count();
    if count('{') > 1 || count('(') > 1 || count('[') > 0 {
        return Err("a header with nested values; expected an array of plain numbers".into());
    }
    let Some((_, shape)) = header.split_once('(') else { return Err("a header without a shape".into()) };
    let shape = shape.split_once(')').map_or(shape, |(shape, _)| shape);
    if shape.matches(',').count() > MAX_AXES {
        return Err(format!("more than {MAX_AXES} axes"));
    }
    let mut values = Some(1u64);
    for axis in shape.split(',').map(str::trim).filter(|axis| !axis.is_empty()) {
        let axis: u64 = axis.parse().map_err(|_| format!("shape ({shape}); expected whole numbers"))?;
        // Strides are multiplied too, whatever axis is nothing.
        values = values.and_then(|all| all.checked_mul(axis.max(1)));
    }
    // An element has at least one byte, so a shape that promises more than there is is refused before it takes memory.
    match values {
        Some(values) if values > most && values <= bytes => {
            Err(format!("shape ({shape}); there is room for {most} numbers more"))
        }
        Some(values) if values <= bytes => Ok(()),
        _ => Err(format!("shape ({shape}); there are fewer numbers")),
    }
}

fn numbers(mut npy: NpyFile<&[u8]>) -> Result<Vec<f64>, String> {
    macro_rules! any_of {
        ($($element:ty => $convert:expr),* $(,)?) => {
            $(
                npy = match npy.try_data::<$element>() {
                    Ok(data) => {
                        let convert: fn($element) -> f64 = $convert;
                        return data.map(|value| value.map(convert).map_err(|e| e.to_string())).collect();
                    }
                    Err(other) => other,
                };
            )*
        };
    }
    any_of! {
        f32 => f64::from,
        f64 => |value| value,
        i64 => |value| value as f64,
        i32 => f64::from,
        u8 => f64::from,
        i8 => f64::from,
        i16 => f64::from,
        u16 => f64::from,
        u32 => f64::from,
        u64 => |value| value as f64,
        bool => f64::from,
    }
    Err(format!(
        "elements of type {}; expected floats of 32 or 64 bits, integers or booleans: convert it by numpy's astype",
        npy.dtype().descr()
    ))
}

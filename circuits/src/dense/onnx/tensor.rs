//! Values and shapes.

use super::{
    MAX_ONNX_BYTES, OnnxError,
    proto::{TensorProto, ValueInfoProto},
    short,
};
use crate::dense::graph::MAX_WIDTH;

/// ONNX's number of the 32-bit float.
pub(super) const FLOAT: i32 = 1;

/// A constant, row by row.
pub(super) struct Tensor {
    pub(super) dims: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// Reads a constant of at most two dimensions.
pub(super) fn constant(name: &str, tensor: &TensorProto) -> Result<Tensor, OnnxError> {
    let wrong = |reason: String| OnnxError::Tensor { name: short(name), reason };
    if tensor.data_type != FLOAT {
        return Err(wrong(format!("element type {}; expected 1, 32-bit float", tensor.data_type)));
    }
    if tensor.data_location != 0 {
        return Err(wrong("values in another file; export the model as one file".into()));
    }
    let mut dims = Vec::with_capacity(tensor.dims.len().min(8));
    let mut count = 1usize;
    for &dim in &tensor.dims {
        let dim = usize::try_from(dim).ok().filter(|&d| d > 0 && d <= MAX_ONNX_BYTES);
        let next = dim.and_then(|d| count.checked_mul(d)).filter(|&c| c <= MAX_ONNX_BYTES);
        let (Some(dim), Some(next)) = (dim, next) else {
            return Err(wrong(format!("unusable dimensions {:?}", &tensor.dims)));
        };
        dims.push(dim);
        count = next;
    }
    if tensor.dims.len() > 2 {
        return Err(wrong(format!("{} dimensions; expected at most two", tensor.dims.len())));
    }
    let values: Vec<f32> = if tensor.raw_data.is_empty() {
        tensor.float_data.clone()
    } else if tensor.float_data.is_empty() && tensor.raw_data.len().is_multiple_of(4) {
        tensor.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    } else {
        return Err(wrong(format!("{} raw bytes are no floats", tensor.raw_data.len())));
    };
    if values.len() != count {
        return Err(wrong(format!("{} values; expected {count} for {dims:?}", values.len())));
    }
    if values.iter().any(|v| !v.is_finite()) {
        return Err(wrong("holds a value that is not finite".into()));
    }
    Ok(Tensor { dims, values })
}

/// The shape of an input or output without its batch dimension, which may be named, unknown or 1.
pub(super) fn shape_after_batch(value: &ValueInfoProto) -> Result<Vec<usize>, OnnxError> {
    let wrong = |reason: String| OnnxError::Model { reason: format!("'{}' {reason}", short(&value.name)) };
    let tensor = value.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let Some(shape) = tensor.and_then(|t| t.shape.as_ref()) else {
        return Err(wrong("has no tensor shape; expected [batch, length]".into()));
    };
    let element = tensor.map_or(0, |t| t.elem_type);
    if element != FLOAT {
        return Err(wrong(format!("has element type {element}; expected 1, 32-bit float")));
    }
    let [batch, rest @ ..] = &shape.dim[..] else {
        return Err(wrong("has no dimensions; expected [batch, length]".into()));
    };
    if let Some(fixed) = batch.dim_value.filter(|&v| v != 1) {
        return Err(wrong(format!("has a batch of {fixed}; expected a named one or 1")));
    }
    if rest.is_empty() || rest.len() > 4 {
        return Err(wrong(format!("has {} dimensions; expected 2 to 5", shape.dim.len())));
    }
    let mut dims = Vec::with_capacity(rest.len());
    let mut count = 1usize;
    for (at, dim) in rest.iter().enumerate() {
        let known = dim.dim_value.and_then(|v| usize::try_from(v).ok()).filter(|&v| v > 0);
        let Some(known) = known else {
            return Err(wrong(format!(
                "has dimension {} '{}', which is not a positive number; only the batch may vary",
                at + 1,
                short(dim.dim_param.as_deref().unwrap_or("?"))
            )));
        };
        count = count.saturating_mul(known);
        dims.push(known);
    }
    if count > MAX_WIDTH {
        return Err(wrong(format!("has {count} values; expected at most {MAX_WIDTH}")));
    }
    Ok(dims)
}

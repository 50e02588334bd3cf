//! What is fed to a model, and what it gives, as files: `{"input_data": [[..], ..]}`, `.npz`, `{"output_data": [[..], ..]}`.

use serde::{Deserialize, Serialize};

use super::npz;
use crate::{network::Network, quantise::MAX_SAMPLES};

/// Largest file of samples, in bytes.
const MAX_BYTES: usize = 1 << 30;

/// Why samples were not read, or do not fit a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SamplesError {
    /// Neither of the formats.
    #[error("samples: {reason}; expected {{\"input_data\": [[..], ..]}} with one list of numbers an input, or an .npz")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// Well-formed, but not of this model.
    #[error("samples: {reason}")]
    Mismatch {
        /// Expected and found.
        reason: String,
    },
}

/// One list of numbers and where it is from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    /// In an archive; empty in JSON.
    pub(super) name: String,
    /// In an archive; a list of JSON is flat, and says nothing of axes.
    pub(super) shape: Option<Vec<usize>>,
    pub(super) data: Vec<f64>,
}

impl Array {
    /// Refuses an array whose axes are others than an input's. Its samples may lie on the first axis, where the input has
    /// its batch or before that, and what follows may be flat.
    pub(super) fn fits(&self, input: &str, axes: &[usize]) -> Result<(), SamplesError> {
        let Some(shape) = &self.shape else { return Ok(()) };
        let item = axes.get(1..).unwrap_or_default();
        let size: usize = item.iter().product();
        let found = shape.as_slice();
        let fits = found == axes
            || found == item
            || found.get(1..).is_some_and(|rest| rest == axes || rest == item || rest == [size])
            || matches!(found, [all] if *all == size);
        if fits {
            return Ok(());
        }
        let list = |axes: &[usize]| axes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let expected: Vec<String> = ["samples".into()].into_iter().chain(item.iter().map(usize::to_string)).collect();
        let reason =
            format!("input '{input}' as an array of shape ({}); expected ({})", list(found), expected.join(", "));
        Err(mismatch(reason))
    }
}

/// Inputs of a model, one or several of each, as read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    arrays: Vec<Array>,
}

#[derive(Deserialize)]
struct Inputs {
    input_data: Vec<Vec<f64>>,
}

#[derive(Serialize, Deserialize)]
struct Outputs {
    output_data: Vec<Vec<f64>>,
}

fn malformed(reason: impl ToString) -> SamplesError {
    SamplesError::Malformed { reason: reason.to_string() }
}

fn mismatch(reason: String) -> SamplesError {
    SamplesError::Mismatch { reason }
}

fn bounded(bytes: &[u8]) -> Result<&[u8], SamplesError> {
    if bytes.len() > MAX_BYTES {
        return Err(malformed(format!("{} bytes; expected at most {MAX_BYTES}", bytes.len())));
    }
    Ok(bytes)
}

impl Samples {
    /// One row-major list an input, or several rows of the one input.
    pub fn new(lists: Vec<Vec<f64>>) -> Self {
        Self { arrays: lists.into_iter().map(|data| Array { name: String::new(), shape: None, data }).collect() }
    }

    /// Reads JSON or an `.npz`, told apart by how they begin.
    ///
    /// # Errors
    /// [`SamplesError::Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, SamplesError> {
        let bytes = bounded(bytes)?;
        if bytes.starts_with(b"PK") {
            return Ok(Self { arrays: npz::read(bytes, MAX_BYTES).map_err(malformed)? });
        }
        let inputs = serde_json::from_slice::<Inputs>(bytes).map_err(|e| {
            // Python writes them, and no reader of JSON knows them.
            let text = String::from_utf8_lossy(bytes);
            let odd = ["NaN", "Infinity"].into_iter().find(|word| text.contains(word));
            malformed(odd.map_or_else(|| e.to_string(), |word| format!("{word} is no number of JSON ({e})")))
        })?;
        Ok(Self::new(inputs.input_data))
    }

    /// The samples of a network: one vector an input, for each sample. A list may hold several samples, one after another;
    /// a network of one input may have a list a sample. Samples of part of a batch are filled up from the first.
    ///
    /// # Errors
    /// [`SamplesError::Mismatch`].
    pub fn of(&self, network: &Network) -> Result<Vec<Vec<Vec<f64>>>, SamplesError> {
        let arrays = self.arranged(network)?;
        let mut columns = Vec::with_capacity(arrays.len());
        for (&id, data) in network.inputs.iter().zip(arrays) {
            let value = &network.values[id];
            let size: usize = value.shape.iter().product();
            // A batch of items, of which the samples may hold any number; a lone axis is none.
            let item = if value.shape.len() > 1 { size / value.shape[0].max(1) } else { size };
            if data.is_empty() || item == 0 || data.len() % item != 0 {
                let found = data.len();
                let reason = format!("input '{}' of {found} values; expected {size}, or a multiple", value.name);
                return Err(mismatch(reason));
            }
            if data.len() < size && network.inputs.len() > 1 {
                let reason = format!("input '{}' of {} values; expected {size}", value.name, data.len());
                return Err(mismatch(reason));
            }
            let count = data.len().div_ceil(size);
            if count > MAX_SAMPLES {
                return Err(mismatch(format!("{count} samples; expected at most {MAX_SAMPLES}")));
            }
            let sample = |at: usize| (at * size..(at + 1) * size).map(|at| data[at % data.len()]).collect::<Vec<f64>>();
            columns.push((0..count).map(sample).collect::<Vec<_>>());
        }
        let count = columns.first().map_or(0, Vec::len);
        if let Some(at) = columns.iter().position(|column| column.len() != count) {
            let name = &network.values[network.inputs[at]].name;
            let reason = format!("{} samples of input '{name}', {count} of the first", columns[at].len());
            return Err(mismatch(reason));
        }
        let mut samples: Vec<Vec<Vec<f64>>> = (0..count).map(|_| Vec::with_capacity(columns.len())).collect();
        for column in columns {
            samples.iter_mut().zip(column).for_each(|(sample, data)| sample.push(data));
        }
        Ok(samples)
    }

    /// One input each, of exactly these shapes: what a model is run on.
    ///
    /// # Errors
    /// [`SamplesError::Mismatch`].
    pub fn one(&self, shapes: &[Vec<usize>]) -> Result<Vec<Vec<f64>>, SamplesError> {
        if self.arrays.len() != shapes.len() {
            return Err(mismatch(format!("{} inputs; the model takes {}", self.arrays.len(), shapes.len())));
        }
        // A compiled model knows its inputs by their order alone.
        let arrays = self.in_order().ok_or_else(|| {
            let names: Vec<&str> = self.arrays.iter().map(|array| array.name.as_str()).collect();
            let list = names.join("', '");
            mismatch(format!(
                "arrays named '{list}'; a compiled model has its inputs in the order of the ONNX file: save them by \
                 numpy.savez(file, first, second)"
            ))
        })?;
        for (at, (array, shape)) in arrays.iter().zip(shapes).enumerate() {
            array.fits(&at.to_string(), shape)?;
            let length: usize = shape.iter().product();
            if array.data.len() != length {
                let reason = format!("input {at} of {} values; the model takes {length}", array.data.len());
                return Err(mismatch(reason));
            }
            if let Some(value) = array.data.iter().find(|value| !value.is_finite()) {
                return Err(mismatch(format!("input {at} holds {value}; expected finite numbers")));
            }
        }
        Ok(arrays.into_iter().map(|array| array.data.clone()).collect())
    }

    /// The arrays in the order of the inputs, where they have one: lists of JSON, a single array, or several by the names that
    /// numpy gives them, `arr_0`, `arr_1` and so on.
    fn in_order(&self) -> Option<Vec<&Array>> {
        let all = &self.arrays;
        if all.len() < 2 || all.iter().all(|array| array.name.is_empty()) {
            return Some(all.iter().collect());
        }
        let numbered = |at: usize| all.iter().find(|array| array.name == format!("arr_{at}"));
        (0..all.len()).map(numbered).collect()
    }

    /// One list an input, in the network's order.
    fn arranged(&self, network: &Network) -> Result<Vec<Vec<f64>>, SamplesError> {
        let expected = network.inputs.len();
        let named = |id: &usize| self.arrays.iter().find(|array| array.name == network.values[*id].name);
        if let Some(found) = network.inputs.iter().map(named).collect::<Option<Vec<_>>>()
            && expected > 0
        {
            return fitting(&found, network);
        }
        if self.arrays.len() == expected {
            let found = self.in_order().ok_or_else(|| {
                let names = |list: Vec<&str>| list.join("', '");
                let given = names(self.arrays.iter().map(|array| array.name.as_str()).collect());
                let taken = names(network.inputs.iter().map(|&id| network.values[id].name.as_str()).collect());
                mismatch(format!("arrays named '{given}'; the model's inputs are '{taken}'"))
            })?;
            return fitting(&found, network);
        }
        let of_rows = self.arrays.iter().all(|array| array.name.is_empty());
        if expected == 1 && of_rows {
            let shape = &network.values[network.inputs[0]].shape;
            let item: usize = shape.iter().skip(1).product();
            return match self.arrays.iter().position(|array| array.data.len() % item.max(1) != 0) {
                Some(at) => {
                    let found = self.arrays[at].data.len();
                    let reason = format!("row {at} of {found} values; the model's one input has {item} an item");
                    Err(mismatch(reason))
                }
                None => Ok(vec![self.arrays.iter().flat_map(|array| array.data.iter().copied()).collect()]),
            };
        }
        Err(mismatch(format!("{} inputs; the model takes {expected}", self.arrays.len())))
    }
}

/// Arrays in the order of a network's inputs, as flat lists.
fn fitting(arrays: &[&Array], network: &Network) -> Result<Vec<Vec<f64>>, SamplesError> {
    let one = |(array, id): (&&Array, &usize)| {
        let value = &network.values[*id];
        array.fits(&value.name, &value.shape)?;
        Ok(array.data.clone())
    };
    arrays.iter().zip(&network.inputs).map(one).collect()
}

/// Writes `{"output_data": [[..], ..]}`: one flat list an output, in the model's units.
pub fn write_outputs(outputs: &[Vec<f64>]) -> String {
    serde_json::json!(Outputs { output_data: outputs.to_vec() }).to_string()
}

/// Reads what [`write_outputs`] writes.
///
/// # Errors
/// [`SamplesError::Malformed`].
pub fn read_outputs(bytes: &[u8]) -> Result<Vec<Vec<f64>>, SamplesError> {
    let outputs = serde_json::from_slice::<Outputs>(bounded(bytes)?);
    outputs.map(|outputs| outputs.output_data).map_err(|e| SamplesError::Mismatch {
        reason: format!("{e}; expected {{\"output_data\": [[..], ..]}} with one list of numbers an output"),
    })
}

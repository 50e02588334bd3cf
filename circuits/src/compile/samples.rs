//! What is fed to a model, and what it gives, as files: `{"input_data": [[..], ..]}`, `.npz`, `{"output_data": [[..], ..]}`.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::npz;
use crate::{network::Network, quantise::MAX_SAMPLES};

/// Most numbers of a file: they take 512 MiB.
const MAX_NUMBERS: usize = 1 << 26;

/// Largest file of samples, in bytes.
const MAX_BYTES: usize = 1 << 30;

/// Why samples were not read, or do not fit a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SamplesError {
    /// Neither of the formats.
    #[error(
        "samples: {reason}; expected {{\"input_data\": [[..], ..]}} with one list of numbers an input, a list of such \
         lists, one a sample, or an .npz"
    )]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// An `.npz` that is damaged, too large, or of what is not read.
    #[error("samples: {reason}")]
    Archive {
        /// What is wrong.
        reason: String,
    },
    /// Well-formed, but not of this model.
    #[error("samples: {reason}")]
    Mismatch {
        /// Expected and found.
        reason: String,
    },
    /// What should be a model's outputs.
    #[error("outputs: {reason}; expected {{\"output_data\": [[..], ..]}} with one list of numbers an output")]
    Outputs {
        /// What is wrong.
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
        let item = item(axes);
        let size: usize = item.iter().product();
        let found = shape.as_slice();
        let fits = found == axes
            || found == item
            || found.get(1..).is_some_and(|rest| rest == axes || rest == item || rest == [size])
            || matches!(found, [all] if *all == size || size == 1);
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

/// The axes of one item: a batch, the first axis, holds any number of them; a lone axis is none.
fn item(axes: &[usize]) -> &[usize] {
    if axes.len() > 1 { &axes[1..] } else { axes }
}

/// Inputs of a model, one or several of each, as read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    arrays: Vec<Array>,
}

#[derive(Deserialize)]
struct Inputs {
    input_data: Lists,
}

#[derive(Serialize)]
struct Written<'a> {
    output_data: &'a [Vec<f64>],
}

#[derive(Deserialize)]
struct Outputs {
    output_data: Lists,
}

/// Lists of numbers: no more of them than memory may hold.
struct Lists(Vec<Vec<f64>>);

impl<'de> Deserialize<'de> for Lists {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(OfLists).map(Self)
    }
}

struct OfLists;

impl<'de> Visitor<'de> for OfLists {
    type Value = Vec<Vec<f64>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of lists of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let (mut lists, mut left) = (Vec::new(), MAX_NUMBERS);
        while let Some(list) = from.next_element_seed(OfNumbers { left: &mut left })? {
            if lists.len() == MAX_SAMPLES {
                return Err(A::Error::custom(format_args!("more than {MAX_SAMPLES} lists")));
            }
            lists.push(list);
        }
        Ok(lists)
    }
}

/// A list of numbers, or a scan as the digit data has them: an object with such a list as its `pixels`.
struct OfNumbers<'a> {
    left: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for OfNumbers<'_> {
    type Value = Vec<f64>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OfNumbers<'_> {
    type Value = Vec<f64>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = from.next_element()? {
            *self.left = self
                .left
                .checked_sub(1)
                .ok_or_else(|| A::Error::custom(format_args!("more than {MAX_NUMBERS} numbers")))?;
            numbers.push(number);
        }
        Ok(numbers)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut pixels = None;
        while let Some(key) = from.next_key::<Cow<'de, str>>()? {
            if key != "pixels" {
                from.next_value::<IgnoredAny>()?;
            } else if pixels.replace(from.next_value_seed(OfNumbers { left: self.left })?).is_some() {
                return Err(A::Error::duplicate_field("pixels"));
            }
        }
        pixels.ok_or_else(|| A::Error::missing_field("pixels"))
    }
}

fn malformed(reason: impl ToString) -> SamplesError {
    SamplesError::Malformed { reason: reason.to_string() }
}

fn mismatch(reason: String) -> SamplesError {
    SamplesError::Mismatch { reason }
}

/// Reads JSON; the error says what is no number there.
fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| {
        // Python writes them, and no reader of JSON knows them.
        let has = |word: &&str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
        let odd = ["NaN", "Infinity"].into_iter().find(has);
        odd.map_or_else(|| e.to_string(), |word| format!("{word} is no number of JSON ({e})"))
    })
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

    /// Reads an `.npz`, JSON `{"input_data": [[..], ..]}`, or a JSON list of the samples of a model's one input, each a list
    /// of numbers or an object with such a list as its `pixels`: told apart by how they begin.
    ///
    /// # Errors
    /// [`SamplesError::Malformed`].
    pub fn read(bytes: &[u8]) -> Result<Self, SamplesError> {
        let bytes = bounded(bytes)?;
        if bytes.starts_with(b"PK") {
            let arrays = npz::read(bytes, MAX_NUMBERS * size_of::<f64>());
            return Ok(Self { arrays: arrays.map_err(|reason| SamplesError::Archive { reason })? });
        }
        let bare = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        let lists = if bare { json::<Lists>(bytes) } else { json::<Inputs>(bytes).map(|inputs| inputs.input_data) };
        Ok(Self::new(lists.map_err(malformed)?.0))
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
            let item: usize = item(&value.shape).iter().product();
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
            let list = self.names();
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

    /// The arrays' names, for people.
    fn names(&self) -> String {
        let names: Vec<String> = self.arrays.iter().map(|array| array.name.escape_debug().to_string()).collect();
        names.join("', '")
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
    fn arranged(&self, network: &Network) -> Result<Vec<Cow<'_, [f64]>>, SamplesError> {
        let expected = network.inputs.len();
        let named = |id: &usize| self.arrays.iter().find(|array| array.name == network.values[*id].name);
        if let Some(found) = network.inputs.iter().map(named).collect::<Option<Vec<_>>>()
            && expected > 0
        {
            return fitting(&found, network);
        }
        if self.arrays.len() == expected {
            let found = self.in_order().ok_or_else(|| {
                let taken: Vec<&str> = network.inputs.iter().map(|&id| network.values[id].name.as_str()).collect();
                mismatch(format!("arrays named '{}'; the model's inputs are '{}'", self.names(), taken.join("', '")))
            })?;
            return fitting(&found, network);
        }
        let of_rows = self.arrays.iter().all(|array| array.name.is_empty());
        if expected == 1 && of_rows {
            let item: usize = item(&network.values[network.inputs[0]].shape).iter().product();
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
fn fitting<'a>(arrays: &[&'a Array], network: &Network) -> Result<Vec<Cow<'a, [f64]>>, SamplesError> {
    let one = |(array, id): (&&'a Array, &usize)| {
        let value = &network.values[*id];
        array.fits(&value.name, &value.shape)?;
        Ok(array.data.as_slice().into())
    };
    arrays.iter().zip(&network.inputs).map(one).collect()
}

/// Writes `{"output_data": [[..], ..]}`: one flat list an output, in the model's units.
pub fn write_outputs(outputs: &[Vec<f64>]) -> String {
    serde_json::json!(Written { output_data: outputs }).to_string()
}

/// Reads what [`write_outputs`] writes.
///
/// # Errors
/// [`SamplesError::Malformed`].
pub fn read_outputs(bytes: &[u8]) -> Result<Vec<Vec<f64>>, SamplesError> {
    let outputs = json::<Outputs>(bounded(bytes)?);
    outputs.map(|outputs| outputs.output_data.0).map_err(|reason| SamplesError::Outputs { reason })
}

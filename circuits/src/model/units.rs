//! Between a model's integers and the real numbers that they stand for. IEEE-754 double precision, so every machine agrees.

use super::{Model, Outline};
use crate::graph::{Tensor, TensorId};

/// Why numbers are not inputs of the model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputError {
    /// Another number of inputs.
    #[error("{found} inputs; the model takes {expected}")]
    Count {
        /// Inputs the model takes.
        expected: usize,
        /// Inputs given.
        found: usize,
    },
    /// An input of another length.
    #[error("input {input} of {found} values; the model takes {expected} (shape {shape:?})")]
    Length {
        /// Which input.
        input: usize,
        /// Values the model takes.
        expected: usize,
        /// Values given.
        found: usize,
        /// The shape they make.
        shape: Vec<u32>,
    },
    /// A flat list of another length.
    #[error("{found} values; the model takes {expected} in all")]
    Total {
        /// Values of all inputs.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// NaN or infinite.
    #[error("input {input} has {found} at {at}; expected a finite number")]
    NotFinite {
        /// Which input.
        input: usize,
        /// Position.
        at: usize,
        /// Value.
        found: f64,
    },
    /// Beyond what the model was calibrated for.
    #[error("input {input} has {found} at {at}; the model was calibrated for {low} to {high}")]
    Range {
        /// Which input.
        input: usize,
        /// Position.
        at: usize,
        /// Value.
        found: f64,
        /// Smallest value taken.
        low: f64,
        /// Largest value taken.
        high: f64,
    },
}

/// Why numbers are not outputs of the model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OutputError {
    /// Another number of outputs.
    #[error("{found} outputs; the model gives {expected}")]
    Count {
        /// Outputs the model gives.
        expected: usize,
        /// Outputs found.
        found: usize,
    },
    /// An output of another length.
    #[error("output {output} of {found} values; the model gives {expected}")]
    Length {
        /// Which output.
        output: usize,
        /// Values the model gives.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// Not one of the numbers that the output can be.
    #[error("output {output} has {found} at {at}; expected a multiple of {scale} from {low} to {high}")]
    Value {
        /// Which output.
        output: usize,
        /// Position.
        at: usize,
        /// Value.
        found: f64,
        /// What one step is worth.
        scale: f64,
        /// Smallest value it can be.
        low: f64,
        /// Largest value it can be.
        high: f64,
    },
}

/// An input or output of a model, for people.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Port {
    /// Of the node that gives it; inputs are numbered.
    pub name: String,
    /// Sizes of its axes.
    pub shape: Vec<u32>,
    /// What one step is worth.
    pub scale: f64,
    /// Smallest integer.
    pub low: i64,
    /// Largest integer.
    pub high: i64,
}

impl Tensor {
    /// What one step is worth.
    pub fn step(&self) -> f64 {
        f64::from(f32::from_bits(self.scale))
    }
}

impl Outline {
    fn tensor(&self, id: TensorId) -> &Tensor {
        &self.graph.tensors[id as usize]
    }

    fn port(&self, id: TensorId, name: String) -> Port {
        let tensor = self.tensor(id);
        Port { name, shape: tensor.shape.clone(), scale: tensor.step(), low: tensor.low, high: tensor.high }
    }

    /// What it takes.
    pub fn inputs(&self) -> Vec<Port> {
        self.graph.inputs.iter().enumerate().map(|(at, &id)| self.port(id, format!("input {at}"))).collect()
    }

    /// What it gives.
    pub fn outputs(&self) -> Vec<Port> {
        let name = |(at, &id): (usize, &TensorId)| {
            let node = self.graph.nodes.iter().find(|node| node.output == id);
            self.port(id, node.map_or_else(|| format!("output {at}"), |node| node.name.clone()))
        };
        self.graph.outputs.iter().enumerate().map(name).collect()
    }

    /// Values of each input.
    pub fn input_lengths(&self) -> Vec<usize> {
        self.graph.inputs.iter().map(|&id| self.tensor(id).len()).collect()
    }

    /// Axes of each input.
    pub fn input_shapes(&self) -> Vec<Vec<usize>> {
        let axes = |&id: &TensorId| self.tensor(id).shape.iter().map(|&axis| axis as usize).collect();
        self.graph.inputs.iter().map(axes).collect()
    }

    /// Values of each output.
    pub fn output_lengths(&self) -> Vec<usize> {
        self.graph.outputs.iter().map(|&id| self.tensor(id).len()).collect()
    }

    /// Rounds real inputs, one row-major vector each, to the model's integers; halves away from zero.
    ///
    /// # Errors
    /// [`InputError`] on another number or length, NaN, infinity, or a value outside the calibrated range.
    pub fn quantise_inputs(&self, inputs: &[Vec<f64>]) -> Result<Vec<Vec<i64>>, InputError> {
        if inputs.len() != self.graph.inputs.len() {
            return Err(InputError::Count { expected: self.graph.inputs.len(), found: inputs.len() });
        }
        let one = |(input, (&id, values)): (usize, (&TensorId, &Vec<f64>))| {
            let tensor = self.tensor(id);
            if values.len() != tensor.len() {
                let shape = tensor.shape.clone();
                return Err(InputError::Length { input, expected: tensor.len(), found: values.len(), shape });
            }
            let (scale, low, high) = (tensor.step(), tensor.low as f64, tensor.high as f64);
            let round = |(at, &found): (usize, &f64)| {
                let step = (found / scale).round();
                if !found.is_finite() {
                    return Err(InputError::NotFinite { input, at, found });
                }
                if step < low || step > high {
                    return Err(InputError::Range { input, at, found, low: low * scale, high: high * scale });
                }
                // Integral and within an act's bounds, so the conversion is exact.
                Ok(step as i64)
            };
            values.iter().enumerate().map(round).collect()
        };
        self.graph.inputs.iter().zip(inputs).enumerate().map(one).collect()
    }

    /// The real numbers that outputs stand for: each integer times its output's scale, rounded once.
    pub fn dequantise_outputs(&self, outputs: &[Vec<i64>]) -> Vec<Vec<f64>> {
        let scales = self.graph.outputs.iter().map(|&id| self.tensor(id).step());
        scales.zip(outputs).map(|(scale, values)| values.iter().map(|&value| value as f64 * scale).collect()).collect()
    }

    /// The integers whose [`Self::dequantise_outputs`] are exactly these numbers.
    ///
    /// # Errors
    /// [`OutputError`] on another number or length, or a number that no output in bounds stands for.
    pub fn quantise_outputs(&self, outputs: &[Vec<f64>]) -> Result<Vec<Vec<i64>>, OutputError> {
        if outputs.len() != self.graph.outputs.len() {
            return Err(OutputError::Count { expected: self.graph.outputs.len(), found: outputs.len() });
        }
        let one = |(output, (&id, values)): (usize, (&TensorId, &Vec<f64>))| {
            let tensor = self.tensor(id);
            if values.len() != tensor.len() {
                return Err(OutputError::Length { output, expected: tensor.len(), found: values.len() });
            }
            let scale = tensor.step();
            let exact = |(at, &found): (usize, &f64)| {
                // A float becomes the nearest integer that the type has, NaN becomes 0: neither gives `found` back.
                let value = (found / scale).round() as i64;
                if value as f64 * scale == found && (tensor.low..=tensor.high).contains(&value) {
                    return Ok(value);
                }
                let (low, high) = (tensor.low as f64 * scale, tensor.high as f64 * scale);
                Err(OutputError::Value { output, at, found, scale, low, high })
            };
            values.iter().enumerate().map(exact).collect()
        };
        self.graph.outputs.iter().zip(outputs).enumerate().map(one).collect()
    }
}

impl Model {
    /// See [`Outline::quantise_inputs`].
    ///
    /// # Errors
    /// [`InputError`].
    pub fn quantise_inputs(&self, inputs: &[Vec<f64>]) -> Result<Vec<Vec<i64>>, InputError> {
        self.outline.quantise_inputs(inputs)
    }

    /// See [`Outline::dequantise_outputs`].
    pub fn dequantise_outputs(&self, outputs: &[Vec<i64>]) -> Vec<Vec<f64>> {
        self.outline.dequantise_outputs(outputs)
    }
}

//! Inputs and outputs as the network carries them: one flat list, all inputs (or outputs) one after another.

use super::{InputError, Model, Outline};
use crate::{
    exec::{self, ExecError},
    graph::TensorId,
};

impl Outline {
    /// Values of all inputs together.
    pub fn input_len(&self) -> usize {
        self.input_lengths().iter().sum()
    }

    /// Values of all outputs together.
    pub fn output_len(&self) -> usize {
        self.output_lengths().iter().sum()
    }

    /// What one step of the first output is worth.
    pub fn output_scale(&self) -> f32 {
        f32::from_bits(self.graph.tensors[self.graph.outputs[0] as usize].scale)
    }

    /// One list for each input.
    ///
    /// # Errors
    /// [`ExecError`] on another total length or a value outside its input's bounds.
    pub fn split_input(&self, flat: &[i16]) -> Result<Vec<Vec<i64>>, ExecError> {
        let inputs = self.split(&self.graph.inputs, flat, "takes")?;
        exec::check_inputs(&self.graph, &inputs)?;
        Ok(inputs)
    }

    /// One list for each output.
    ///
    /// # Errors
    /// [`ExecError`] on another total length or a value outside its output's bounds.
    pub fn split_output(&self, flat: &[i32]) -> Result<Vec<Vec<i64>>, ExecError> {
        let outputs = self.split(&self.graph.outputs, flat, "gives")?;
        for (output, (&id, values)) in self.graph.outputs.iter().zip(&outputs).enumerate() {
            let (low, high) = (self.graph.tensors[id as usize].low, self.graph.tensors[id as usize].high);
            if let Some(at) = values.iter().position(|value| !(low..=high).contains(value)) {
                return Err(ExecError::OutputRange { output, at, found: values[at], low, high });
            }
        }
        Ok(outputs)
    }

    fn split<T: Copy + Into<i64>>(
        &self,
        ports: &[TensorId],
        flat: &[T],
        does: &'static str,
    ) -> Result<Vec<Vec<i64>>, ExecError> {
        let lengths: Vec<usize> = ports.iter().map(|&id| self.graph.tensors[id as usize].len()).collect();
        let expected = lengths.iter().sum();
        if flat.len() != expected {
            return Err(ExecError::Total { expected, found: flat.len(), does });
        }
        let mut rest = flat.iter().map(|&value| value.into());
        Ok(lengths.into_iter().map(|length| rest.by_ref().take(length).collect()).collect())
    }

    /// As [`Self::quantise_inputs`], on all inputs one after another.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn quantise_flat(&self, flat: &[f32]) -> Result<Vec<i16>, InputError> {
        let (expected, found) = (self.input_len(), flat.len());
        if found != expected {
            return Err(InputError::Total { expected, found });
        }
        let mut rest = flat.iter().map(|&value| f64::from(value));
        let inputs: Vec<Vec<f64>> =
            self.input_lengths().into_iter().map(|length| rest.by_ref().take(length).collect()).collect();
        let act = |value| i16::try_from(value).expect("inputs are acts, and in bounds");
        Ok(self.quantise_inputs(&inputs)?.into_iter().flatten().map(act).collect())
    }
}

impl Model {
    /// See [`Outline::input_len`].
    pub fn input_len(&self) -> usize {
        self.outline.input_len()
    }

    /// See [`Outline::output_len`].
    pub fn output_len(&self) -> usize {
        self.outline.output_len()
    }

    /// See [`Outline::output_scale`].
    pub fn output_scale(&self) -> f32 {
        self.outline.output_scale()
    }

    /// See [`Outline::split_input`].
    ///
    /// # Errors
    /// [`ExecError`].
    pub fn split_input(&self, flat: &[i16]) -> Result<Vec<Vec<i64>>, ExecError> {
        self.outline.split_input(flat)
    }

    /// See [`Outline::split_output`].
    ///
    /// # Errors
    /// [`ExecError`].
    pub fn split_output(&self, flat: &[i32]) -> Result<Vec<Vec<i64>>, ExecError> {
        self.outline.split_output(flat)
    }

    /// See [`Outline::quantise_flat`].
    ///
    /// # Errors
    /// [`InputError`].
    pub fn quantise_flat(&self, flat: &[f32]) -> Result<Vec<i16>, InputError> {
        self.outline.quantise_flat(flat)
    }

    /// [`Self::run`] from one flat list to another.
    ///
    /// # Errors
    /// [`ExecError`] on another total length or a value outside its input's bounds.
    pub fn run_flat(&self, flat: &[i16]) -> Result<Vec<i32>, ExecError> {
        let outputs = self.run(&self.split_input(flat)?)?;
        let word = |value| i32::try_from(value).expect("a model's outputs are checked to fit 32 bits");
        Ok(outputs.into_iter().flatten().map(word).collect())
    }
}

//! ONNX networks in floats, by `tract`: for serving without proofs, and to look at.
//!
//! Provable networks go through `assay_circuits` instead, whose integers are the same on every machine. Floats here are as
//! exact as the machine has them.

use tract_onnx::{
    prelude::*,
    tract_core::model::TypedSimplePlan,
    tract_hir::{infer::Factoid as _, internal::DimLike as _},
};

use crate::guard;

/// Largest file that is read, in bytes.
const MAX_BYTES: usize = 1 << 31;
/// Most values of a tensor.
const MAX_VALUES: u64 = 1 << 31;

/// Why a network does not load, or does not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// It is no ONNX file that can be run.
    #[error("not an ONNX network that can be run: {0}")]
    Model(String),
    /// The input is none of the network's.
    #[error("{0}")]
    Input(String),
    /// It failed on this input.
    #[error("the network failed: {0}")]
    Run(String),
}

impl OnnxError {
    /// True if another input could have worked.
    pub fn is_callers_fault(&self) -> bool {
        matches!(self, Self::Input(_))
    }
}

/// What goes into a network, or comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the file.
    pub name: String,
    /// Its shape; a dimension that the file leaves open, such as the batch, is 1.
    pub shape: Vec<usize>,
    /// The type of its values.
    pub kind: String,
}

/// A network, ready to run.
#[derive(Clone, Debug)]
pub struct OnnxModel {
    plan: Arc<TypedSimplePlan>,
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
    /// Nodes of the file.
    pub nodes: usize,
    /// Constants of the file: its weights.
    pub weights: u64,
}

/// The innermost reason, on one line.
fn why(error: &TractError) -> String {
    let words: Vec<String> = error.chain().map(|cause| cause.to_string().replace('\n', " ")).collect();
    let mut words = words.join(": ");
    if let Some((end, _)) = words.char_indices().nth(400) {
        words.truncate(end);
    }
    words
}

/// Runs what may panic on a hostile graph.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    let done = guard::guarded(work);
    done.map_err(|_| "its nodes make no sense together".to_owned())?.map_err(|e| why(&e))
}

impl OnnxModel {
    /// Reads and optimises a network. Weights outside of the file are not read.
    ///
    /// # Errors
    /// [`OnnxError::Model`], with the reason.
    pub fn load(bytes: &[u8]) -> Result<Self, OnnxError> {
        if bytes.len() > MAX_BYTES {
            return Err(OnnxError::Model(format!("{} bytes; at most {MAX_BYTES} are read", bytes.len())));
        }
        guarded(|| Self::read(bytes)).map_err(OnnxError::Model)
    }

    fn read(bytes: &[u8]) -> TractResult<Self> {
        let mut model = tract_onnx::onnx().model_for_read(&mut std::io::Cursor::new(bytes))?;
        let nodes = model.nodes().len();
        if model.input_outlets()?.is_empty() || model.output_outlets()?.is_empty() {
            return Err(TractError::msg(format!("a graph of {nodes} nodes without inputs or outputs")));
        }
        let mut inputs = Vec::new();
        for at in 0..model.input_outlets()?.len() {
            let fact = model.input_fact(at)?.clone();
            let kind = fact.datum_type.concretize().unwrap_or(f32::datum_type());
            // The batch, as a rule.
            let shape: Vec<usize> = fact
                .shape
                .dims()
                .map(|dim| dim.concretize().and_then(|dim| dim.to_usize().ok()).unwrap_or(1))
                .collect();
            let values = shape.iter().fold(1u64, |all, dim| all.saturating_mul(*dim as u64));
            if values > MAX_VALUES {
                let words = format!("input {at} of {values} values; at most {MAX_VALUES} are taken");
                return Err(TractError::msg(words));
            }
            let name = model.node(model.input_outlets()?[at].node).name.clone();
            inputs.push(Port { name, shape: shape.clone(), kind: format!("{kind:?}") });
            model.set_input_fact(at, InferenceFact::dt_shape(kind, &shape))?;
        }
        let typed = model.into_typed()?;
        let constants =
            typed.nodes().iter().filter_map(|node| node.op_as::<tract_onnx::tract_core::ops::konst::Const>());
        let weights = constants.map(|constant| constant.val().len() as u64).sum();
        let typed = typed.into_decluttered()?;
        let mut outputs = Vec::new();
        for (at, outlet) in typed.output_outlets()?.iter().enumerate() {
            let fact = typed.output_fact(at)?;
            let shape = fact.shape.iter().map(|dim| Ok(dim.to_usize()?)).collect::<TractResult<Vec<usize>>>()?;
            let name = typed.node(outlet.node).name.clone();
            outputs.push(Port { name, shape, kind: format!("{:?}", fact.datum_type) });
        }
        let plan = typed.into_optimized()?.into_runnable()?;
        Ok(Self { plan, inputs, outputs, nodes, weights })
    }

    /// Runs it on one row-major list an input; gives one an output.
    ///
    /// # Errors
    /// [`OnnxError::Input`] on other lengths, [`OnnxError::Run`] if it fails.
    pub fn run(&self, inputs: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, OnnxError> {
        if inputs.len() != self.inputs.len() {
            return Err(OnnxError::Input(format!("{} inputs; the network takes {}", inputs.len(), self.inputs.len())));
        }
        let mut values = tvec!();
        for (port, data) in self.inputs.iter().zip(inputs) {
            let expected: usize = port.shape.iter().product();
            if data.len() != expected {
                let words = format!("input `{}` of {} values; the network takes {expected}", port.name, data.len());
                return Err(OnnxError::Input(words));
            }
            let tensor = guarded(|| {
                let kind = self.plan.model().input_fact(values.len())?.datum_type;
                Ok(Tensor::from_shape(&port.shape, data)?.cast_to_dt(kind)?.into_owned())
            });
            values.push(tensor.map_err(OnnxError::Input)?.into());
        }
        let found = guarded(|| {
            let all = self.plan.run(values)?;
            all.iter()
                .map(|value| Ok(value.cast_to::<f32>()?.to_plain_array_view::<f32>()?.iter().copied().collect()))
                .collect::<TractResult<Vec<_>>>()
        });
        found.map_err(OnnxError::Run)
    }
}

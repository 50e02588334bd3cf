//! The prepared program: everything that depends on the graph and weights alone is worked out once.

use std::{borrow::Cow, sync::Arc};

use pulp::Arch;

use super::{
    ExecError, Options,
    buffer::{Buffer, Width},
    check_inputs, elementwise, plain,
    products::{Conv, MatMul},
    threads::Threads,
    wires::Route,
};
use crate::graph::{Graph, GraphError, Op, TensorId, axes4};

/// A graph with its weights, ready to run any number of times, from any number of threads.
#[derive(Debug)]
pub struct Program {
    graph: Arc<Graph>,
    /// By tensor: constants, and what is computed from constants alone.
    known: Vec<Option<Buffer>>,
    /// By node: what is left to do.
    steps: Vec<Step>,
    /// Tensors that no node after this one reads, by node.
    freed: Vec<Vec<TensorId>>,
    threads: Threads,
    /// The weights for the plain executor, where that is what runs.
    scalar: Option<Vec<Vec<i64>>>,
}

#[derive(Debug)]
enum Step {
    /// Its result is known.
    Done,
    Wire(Route),
    MatMul(MatMul),
    Conv(Conv),
    /// Value by value or row by row.
    Elementwise,
}

impl Program {
    /// Checks graph and weights and prepares them.
    ///
    /// # Errors
    /// [`Graph::check_weights`].
    pub fn new(graph: Arc<Graph>, weights: &[Vec<i64>], options: Options) -> Result<Self, GraphError> {
        graph.check_weights(weights)?;
        Ok(Self::of_checked(graph, weights, options))
    }

    /// Prepares what [`Graph::check_weights`] has passed.
    pub(crate) fn of_checked(graph: Arc<Graph>, weights: &[Vec<i64>], options: Options) -> Self {
        let threads = Threads::of(options.threads);
        let scalar = options.scalar.then(|| weights.to_vec());
        let known = vec![None; graph.tensors.len()];
        let mut freed = vec![Vec::new(); graph.nodes.len()];
        for (id, last) in graph.last_uses().into_iter().enumerate() {
            if let Some(node) = last.filter(|_| !graph.outputs.contains(&(id as TensorId))) {
                freed[node].push(id as TensorId);
            }
        }
        let mut program = Self { graph, known, steps: Vec::new(), freed, threads, scalar };
        if program.scalar.is_none() {
            program.prepare(weights);
        }
        program
    }

    fn prepare(&mut self, weights: &[Vec<i64>]) {
        let graph = Arc::clone(&self.graph);
        for (&id, values) in graph.constants.iter().zip(weights) {
            self.known[id as usize] = Some(Buffer::of(Width::of(&graph.tensors[id as usize]), values));
        }
        for index in 0..graph.nodes.len() {
            let step = self.step(index);
            self.steps.push(step);
            let node = &graph.nodes[index];
            let inputs = node.inputs.iter().map(|&id| self.known[id as usize].as_ref()).collect::<Option<Vec<_>>>();
            if let Some(operands) = inputs {
                self.known[node.output as usize] = Some(self.compute(index, &operands));
                self.steps[index] = Step::Done;
            }
        }
        // What only other constants or a packed product were made from is not read any more.
        let mut read = vec![false; graph.tensors.len()];
        let outputs = graph.outputs.iter();
        outputs.chain(&graph.constants).for_each(|&id| read[id as usize] = true);
        for (node, step) in graph.nodes.iter().zip(&self.steps) {
            if !matches!(step, Step::Done) {
                node.inputs.iter().for_each(|&id| read[id as usize] = true);
            }
        }
        self.known.iter_mut().zip(read).filter(|(_, read)| !read).for_each(|(known, _)| *known = None);
    }

    fn step(&self, index: usize) -> Step {
        let node = &self.graph.nodes[index];
        let shape = |id: TensorId| &*self.graph.tensors[id as usize].shape;
        let sizes = |id| axes4(shape(id)).expect("a checked convolution").map(|axis| axis as usize);
        match &node.op {
            Op::Wire(wire) => Step::Wire(Route::of(wire, self.graph.tensors[node.output as usize].len())),
            Op::MatMul => {
                let mut step = MatMul::of(shape(node.inputs[0]), shape(node.inputs[1]));
                step.packed = self.known[node.inputs[1] as usize].as_ref().map(|right| step.pack(right.acts()));
                Step::MatMul(step)
            }
            Op::Conv(geometry) => {
                let (input, kernel) = (sizes(node.inputs[0]), sizes(node.inputs[1]));
                Step::Conv(Conv { geometry: *geometry, input, kernel, output: sizes(node.output) })
            }
            _ => Step::Elementwise,
        }
    }

    /// The graph.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// The outputs for these inputs, one row-major vector each.
    ///
    /// # Errors
    /// [`ExecError`] on inputs of another number or length, or outside their bounds.
    pub fn run(&self, inputs: &[Vec<i64>]) -> Result<Vec<Vec<i64>>, ExecError> {
        check_inputs(&self.graph, inputs)?;
        let outputs = |of: &dyn Fn(usize) -> Vec<i64>| self.graph.outputs.iter().map(|&id| of(id as usize)).collect();
        if let Some(weights) = &self.scalar {
            let tensors = plain::run(&self.graph, weights, inputs);
            return Ok(outputs(&|id| tensors[id].clone()));
        }
        let tensors = self.execute(inputs, false);
        Ok(outputs(&|id| self.tensor(&tensors, id).values()))
    }

    /// Every tensor for these inputs, by its position: inputs and constants too.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_all(&self, inputs: &[Vec<i64>]) -> Result<Vec<Vec<i64>>, ExecError> {
        check_inputs(&self.graph, inputs)?;
        if let Some(weights) = &self.scalar {
            return Ok(plain::run(&self.graph, weights, inputs));
        }
        let tensors = self.execute(inputs, true);
        Ok((0..tensors.len()).map(|id| self.tensor(&tensors, id).values()).collect())
    }

    fn tensor<'a>(&'a self, computed: &'a [Option<Buffer>], id: usize) -> &'a Buffer {
        let tensor = computed[id].as_ref().or(self.known[id].as_ref());
        tensor.expect("nodes read only what was given or computed before, and it is kept until its last use")
    }

    /// Runs all steps; where not all is kept, what is not read again is let go.
    fn execute(&self, inputs: &[Vec<i64>], keep: bool) -> Vec<Option<Buffer>> {
        let mut tensors: Vec<Option<Buffer>> = vec![None; self.graph.tensors.len()];
        for (&id, values) in self.graph.inputs.iter().zip(inputs) {
            tensors[id as usize] = Some(Buffer::of(Width::of(&self.graph.tensors[id as usize]), values));
        }
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if !matches!(self.steps[index], Step::Done) || (keep && self.known[node.output as usize].is_none()) {
                let operands: Vec<&Buffer> = node.inputs.iter().map(|&id| self.tensor(&tensors, id as usize)).collect();
                let output = self.compute(index, &operands);
                tensors[node.output as usize] = Some(output);
            }
            if !keep {
                self.freed[index].iter().for_each(|&id| tensors[id as usize] = None);
            }
        }
        tensors
    }

    fn compute(&self, index: usize, operands: &[&Buffer]) -> Buffer {
        let node = &self.graph.nodes[index];
        let tensor = &self.graph.tensors[node.output as usize];
        let (width, arch) = (Width::of(tensor), Arch::new());
        let bias = || operands.get(2).map(|bias| Cow::<[i64]>::Owned(bias.values()));
        let fresh;
        let step = match &self.steps[index] {
            // Asked for again, by who wants to see every tensor.
            Step::Done => {
                fresh = self.step(index);
                &fresh
            }
            step => step,
        };
        match step {
            Step::Wire(route) => route.run(&self.threads, operands, (width, tensor.len())),
            Step::MatMul(product) => {
                let (left, right) = (operands[0].acts(), operands[1].acts());
                product.run(&self.threads, arch, left, right, bias().as_deref(), width)
            }
            Step::Conv(conv) => {
                let (input, kernel) = (operands[0].acts(), operands[1].acts());
                conv.run(&self.threads, arch, input, kernel, bias().as_deref(), width)
            }
            Step::Done | Step::Elementwise => {
                let shape = &self.graph.tensors[node.inputs[0] as usize].shape;
                elementwise::run(&self.threads, &node.op, &self.graph.tables, operands, shape, (width, tensor.len()))
            }
        }
    }
}

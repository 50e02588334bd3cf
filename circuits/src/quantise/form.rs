//! From the network to the graph, node by node: what each value is until an operation asks for its act.

use std::sync::Arc;

use super::{
    Options, QuantiseError,
    builder::{Builder, Scaled},
    calibrate::Seen,
    layer::Layer,
    plan::{FINE, Plan, clamp_of},
    rescale::power_above,
};
use crate::{
    graph::{Graph, Op as Step, Wire},
    network::{Function, Kind, Network, Node, Op, Operand, ValueId, apply},
};

/// What is known of a value.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// No input changes it.
    Known(Arc<[f64]>),
    /// A tensor of one scale, an act or wide.
    Tensor(Scaled),
    /// A linear layer, by position, that waits for the scale of its output.
    Layer(usize),
    /// A tensor or layer, clamped.
    Clamped { of: ValueId, low: f64, high: f64 },
}

/// What a value became in the graph: for the report.
pub(super) struct Placed {
    pub(super) value: ValueId,
    pub(super) at: Scaled,
    /// The wide tensor that was rounded to it, if any.
    pub(super) wide: Option<u32>,
    /// The linear layer that it is the act of, if any.
    pub(super) layer: Option<&'static str>,
}

/// A graph, its weights, and where the network's values went.
pub(super) struct Built {
    pub(super) graph: Graph,
    pub(super) weights: Vec<Vec<i64>>,
    pub(super) placed: Vec<Placed>,
}

/// A network on its way to a graph.
pub(super) struct Quantiser<'a> {
    pub(super) network: &'a Network,
    pub(super) seen: &'a [Seen],
    pub(super) options: &'a Options,
    pub(super) plan: Plan,
    pub(super) builder: Builder,
    pub(super) forms: Vec<Option<Form>>,
    pub(super) acts: Vec<Option<Scaled>>,
    pub(super) layers: Vec<Layer>,
    placed: Vec<Placed>,
}

/// Quantises a network whose values reach what was seen.
pub(super) fn build(network: &Network, seen: &[Seen], options: &Options) -> Result<Built, QuantiseError> {
    let count = network.values.len();
    let mut this = Quantiser {
        network,
        seen,
        options,
        plan: Plan::new(network, seen, options),
        builder: Builder::new(),
        forms: vec![None; count],
        acts: vec![None; count],
        layers: Vec::new(),
        placed: Vec::new(),
    };
    for (id, data) in &network.constants {
        this.forms[*id] = Some(Form::Known(data.clone()));
    }
    let real = |id: &&ValueId| network.values[**id].kind == Kind::Real;
    if let Some(&first) = network.inputs.iter().find(real)
        && network.inputs.iter().filter(real).all(|&id| seen[id].reach() == 0.0)
    {
        let name = &network.values[first].name;
        let reason = format!("input '{name}' is 0 on every sample, which tells nothing about its range");
        return Err(QuantiseError::Calibration { reason });
    }
    for &id in &network.inputs {
        this.input(id)?;
    }
    for node in &network.nodes {
        this.builder.node.clone_from(&node.name);
        this.builder.source.clone_from(&node.source);
        let form = this.node(node)?;
        this.forms[node.output] = Some(form);
    }
    for &id in &network.outputs {
        this.output(id)?;
    }
    let Quantiser { builder, placed, .. } = this;
    let Builder { graph, weights, .. } = builder;
    graph
        .check_weights(&weights)
        .map_err(|error| QuantiseError::Network { reason: format!("its integer graph: {error}") })?;
    Ok(Built { graph, weights, placed })
}

impl Quantiser<'_> {
    fn input(&mut self, id: ValueId) -> Result<(), QuantiseError> {
        let value = &self.network.values[id];
        self.builder.node.clone_from(&value.name);
        self.builder.source = "input".into();
        let seen = &self.seen[id];
        let group = self.plan.group(id).clone();
        let (scale, limit) = match value.kind {
            Kind::Truth => (1.0, 1),
            Kind::Integer if seen.reach() > FINE => {
                return Err(self
                    .builder
                    .refuse(format!("whole numbers up to {}; expected at most 32767", seen.reach())));
            }
            Kind::Integer => (1.0, 32767),
            Kind::Real => {
                let reach = group.reach.max(seen.reach());
                let exact = reach / group.levels;
                let scale = group.scale.unwrap_or(if group.dyadic { power_above(exact) } else { exact });
                (scale, power_limit((reach / scale * (1.0 - 1.0 / 4096.0)).ceil() as i64).min(32767))
            }
        };
        // An input is never clamped: its range is all that was seen, and room.
        let (low, high) = match value.kind {
            Kind::Truth => (0, 1),
            Kind::Integer | Kind::Real => {
                let (low, high) = seen.covered();
                // No room beyond what its type holds.
                let (least, most) = value.range.unwrap_or((i64::MIN, u64::MAX));
                let most = i64::try_from(most).unwrap_or(i64::MAX);
                (
                    ((low / scale).floor() as i64).max(-limit).max(least),
                    ((high / scale).ceil() as i64).min(limit).min(most),
                )
            }
        };
        self.plan.settle(id, scale);
        let found = self.builder.input(self.shape(id), low, high, scale)?;
        self.place(id, found, None);
        self.forms[id] = Some(Form::Tensor(found));
        Ok(())
    }

    fn output(&mut self, id: ValueId) -> Result<(), QuantiseError> {
        self.builder.node.clone_from(&self.network.values[id].name);
        self.builder.source = "output".into();
        let mut found = match self.known(id)? {
            // In as many bits as an output has.
            Some(data) if self.plan.whole[id] && data.iter().all(|value| value.abs() <= f64::from(i32::MAX)) => {
                let steps: Vec<i64> = data.iter().map(|value| *value as i64).collect();
                self.builder.spread(&self.shape(id), &steps, 1.0)?
            }
            _ if self.plan.whole[id] => self.uniform(id)?,
            _ => self.act(id)?,
        };
        if self.builder.reach(found.tensor) > i64::from(i32::MAX) {
            found = self.act(id)?;
        }
        if self.network.values[id].kind == Kind::Integer && found.scale != 1.0 {
            let reason =
                format!("whole numbers up to {}; an output holds those up to {}", self.seen[id].reach(), i32::MAX);
            return Err(self.builder.refuse(reason));
        }
        let stored = f64::from(f32::from_bits(self.builder.graph.tensors[found.tensor as usize].scale));
        let computed = self.builder.graph.nodes.iter().any(|node| node.output == found.tensor);
        let taken = self.builder.graph.outputs.contains(&found.tensor);
        let own = computed && !taken && stored == f64::from(found.scale as f32);
        let found = if own { found } else { self.builder.named(found)? };
        self.builder.graph.outputs.push(found.tensor);
        Ok(())
    }

    pub(super) fn shape(&self, id: ValueId) -> Vec<u32> {
        self.network.values[id].shape.iter().map(|&size| size as u32).collect()
    }

    pub(super) fn form(&self, id: ValueId) -> Result<&Form, QuantiseError> {
        let missing = || QuantiseError::Network { reason: format!("value {id} is read before it is made") };
        self.forms.get(id).and_then(Option::as_ref).ok_or_else(missing)
    }

    /// The numbers of a value that no input changes.
    pub(super) fn known(&self, id: ValueId) -> Result<Option<Arc<[f64]>>, QuantiseError> {
        Ok(match self.form(id)? {
            Form::Known(data) => Some(data.clone()),
            _ => None,
        })
    }

    pub(super) fn place(&mut self, value: ValueId, at: Scaled, wide: Option<u32>) {
        self.placed.push(Placed { value, at, wide, layer: None });
    }

    /// The act of a linear layer.
    pub(super) fn place_layer(&mut self, value: ValueId, at: Scaled, wide: u32, layer: &'static str) {
        self.placed.push(Placed { value, at, wide: Some(wide), layer: Some(layer) });
    }

    fn node(&mut self, node: &Node) -> Result<Form, QuantiseError> {
        if let Some(form) = self.fold(node)? {
            return Ok(form);
        }
        let (id, ins) = (node.output, &node.inputs);
        match &node.op {
            Op::Wire(wire) => self.wire(id, ins, wire),
            Op::MatMul => self.matmul(id, ins[0], ins[1]),
            Op::Conv(geometry) => self.conv(id, ins[0], ins[1], *geometry),
            Op::Add => self.sum(id, ins[0], ins[1], 1.0),
            Op::Sub => self.sum(id, ins[0], ins[1], -1.0),
            Op::Mul => self.product(id, ins[0], ins[1]),
            Op::Div => self.quotient(id, ins[0], ins[1]),
            Op::Max => self.extreme(id, ins[0], ins[1], true),
            Op::Min => self.extreme(id, ins[0], ins[1], false),
            Op::Unary(function) => self.unary(id, *function, ins[0]),
            Op::ReduceMax => {
                let x = self.act(ins[0])?;
                self.single(id, Step::ReduceMax, x)
            }
            Op::ArgMax => {
                let x = self.act(ins[0])?;
                self.single(id, Step::ArgMax, Scaled { scale: 1.0, ..x })
            }
            Op::Greater => self.greater(id, ins[0], ins[1]),
            Op::Equal => self.equal(id, ins[0], ins[1]),
            Op::Select => self.select(id, ins[0], ins[1], ins[2]),
        }
    }

    /// What needs no integers: the operands are known.
    fn fold(&self, node: &Node) -> Result<Option<Form>, QuantiseError> {
        let known = node.inputs.iter().map(|&id| self.known(id)).collect::<Result<Option<Vec<_>>, _>>()?;
        let Some(known) = known else { return Ok(None) };
        let operands: Vec<Operand<'_>> = node
            .inputs
            .iter()
            .zip(&known)
            .map(|(&id, data)| Operand { shape: &self.network.values[id].shape, data })
            .collect();
        let result = apply(&node.op, &operands, &self.network.values[node.output].shape);
        result.map(|data| Some(Form::Known(data.into()))).map_err(|reason| self.builder.refuse(reason))
    }

    /// One operand, one result of the scale that is given.
    pub(super) fn single(&mut self, id: ValueId, step: Step, x: Scaled) -> Result<Form, QuantiseError> {
        let found = self.builder.push(step, &[x.tensor], self.shape(id), x.scale)?;
        self.place(id, found, None);
        Ok(Form::Tensor(found))
    }

    fn wire(&mut self, id: ValueId, ins: &[ValueId], wire: &Wire) -> Result<Form, QuantiseError> {
        let shape = self.shape(id);
        let mut sources = Vec::with_capacity(ins.len());
        if let [of] = ins {
            // A wide tensor is moved as it is, unless that would have more of it to round, or others want its act too.
            let x = match *self.form(*of)? {
                Form::Tensor(x) if wire.fan_in > 1 || self.few(*of, id) => x,
                _ => self.act(*of)?,
            };
            sources.push(x);
        } else {
            sources = self.alike(id, ins, false)?;
        }
        let scale = sources[0].scale;
        let tensors: Vec<u32> = sources.iter().map(|source| source.tensor).collect();
        let found = self.builder.push(Step::Wire(wire.clone()), &tensors, shape, scale)?;
        self.place(id, found, None);
        Ok(Form::Tensor(found))
    }

    /// Whether `id`, which alone reads `of`, is no larger.
    fn few(&self, of: ValueId, id: ValueId) -> bool {
        let size = |id: ValueId| self.network.values[id].shape.iter().product::<usize>();
        self.plan.uses[of] == 1 && size(id) <= size(of)
    }

    fn unary(&mut self, id: ValueId, function: Function, x: ValueId) -> Result<Form, QuantiseError> {
        match clamp_of(function) {
            Some((low, high)) => self.clamped(x, low, high),
            None => self.function(id, function, x),
        }
    }

    pub(super) fn clamped(&self, x: ValueId, low: f64, high: f64) -> Result<Form, QuantiseError> {
        Ok(match *self.form(x)? {
            Form::Clamped { of, low: before, high: until } => {
                // What is outside of the later bounds altogether is at the nearer one of them.
                let within = |bound: f64| bound.max(low).min(high);
                Form::Clamped { of, low: within(before), high: within(until) }
            }
            _ => Form::Clamped { of: x, low, high },
        })
    }

    /// The act of a value, made when first asked for.
    pub(super) fn act(&mut self, id: ValueId) -> Result<Scaled, QuantiseError> {
        if let Some(found) = self.acts[id] {
            return Ok(found);
        }
        const FREE: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
        // A scale that was there before, and was not chosen for this value's group.
        let inherited = match *self.form(id)? {
            Form::Tensor(x) => Some(x),
            Form::Clamped { of, .. } => match *self.form(of)? {
                Form::Tensor(x) => Some(x),
                _ => None,
            },
            Form::Known(_) | Form::Layer(_) => None,
        };
        let known = matches!(self.form(id)?, Form::Known(_));
        let found = match self.form(id)?.clone() {
            Form::Known(data) => self.known_act(id, &data)?,
            Form::Tensor(x) => self.round(id, x, FREE)?,
            Form::Layer(layer) => self.emit(id, layer, FREE)?,
            Form::Clamped { of, low, high } => match self.form(of)?.clone() {
                Form::Tensor(x) => self.round(id, x, (low, high))?,
                Form::Layer(layer) => self.emit(id, layer, (low, high))?,
                Form::Known(_) | Form::Clamped { .. } => {
                    return Err(self.builder.refuse("a clamp of a clamp that was not joined with it"));
                }
            },
        };
        self.acts[id] = Some(found);
        let inherited = inherited.filter(|x| self.builder.is_act(x.tensor) && x.scale == found.scale);
        if known || inherited.is_some() {
            self.plan.settle_if_fine(id, found.scale);
        } else {
            self.plan.settle(id, found.scale);
        }
        Ok(found)
    }

    /// A tensor of one scale, an act or wide: what sums and products by numbers take.
    pub(super) fn uniform(&mut self, id: ValueId) -> Result<Scaled, QuantiseError> {
        match self.form(id)? {
            Form::Tensor(x) => Ok(*x),
            _ => self.act(id),
        }
    }

    /// A known value as an act: 16 bits, or whole numbers.
    fn known_act(&mut self, id: ValueId, data: &[f64]) -> Result<Scaled, QuantiseError> {
        let reach = data.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        let whole = reach <= 32767.0 && data.iter().all(|value| value.fract() == 0.0);
        let scale = if whole { 1.0 } else { power_above(reach / 32767.0) };
        self.known_at(id, data, scale)
    }

    /// A known value as an act in steps of this scale.
    pub(super) fn known_at(&mut self, id: ValueId, data: &[f64], scale: f64) -> Result<Scaled, QuantiseError> {
        // Scales that are powers of two are rounded up but for so much.
        let most = if scale == 1.0 { FINE } else { FINE * (1.0 + 1.0 / 2048.0) };
        if let Some(value) = data.iter().find(|value| (*value / scale).round().abs() > most) {
            let reach = FINE * scale;
            return Err(self.builder.refuse(format!("{value} stands beside numbers that reach {reach} at most")));
        }
        let steps: Vec<i64> = data.iter().map(|value| (value / scale).round().clamp(-FINE, FINE) as i64).collect();
        self.builder.spread(&self.shape(id), &steps, scale)
    }
}

/// The least `2^n - 1` that is at least `x`.
pub(super) fn power_limit(x: i64) -> i64 {
    let mut limit = 1;
    while limit < x {
        limit = 2 * limit + 1;
    }
    limit
}

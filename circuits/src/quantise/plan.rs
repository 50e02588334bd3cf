//! Which values share a scale, how many levels each takes and how far it reaches.

use super::{Options, Precision, calibrate::Seen, rescale::power_above};
use crate::{
    graph::Wire,
    network::{Function, Kind, Network, Op, ValueId},
};

/// Room above what was seen, for inputs and values of 16 bits.
pub(super) const ROOM: f64 = 1.25;

/// The same, for what is given: a logit of an input unlike those seen still has its place.
const OUTPUT_ROOM: f64 = 2.0;

/// Signal to noise, in decibels, that an activation keeps before a linear layer.
const ENOUGH: f64 = 36.0;

/// Levels to each side of 16 bits. The lowest `i16` is left out, so that every value can be negated.
pub(super) const FINE: f64 = 32767.0;

/// Values that meet in a concatenation, a maximum or the like.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Whole numbers: the scale is 1.
    pub(super) whole: bool,
    /// Read by more than linear layers: 16 bits.
    pub(super) fine: bool,
    /// Largest magnitude that has a place.
    pub(super) reach: f64,
    /// Levels to each side of 0.
    pub(super) levels: f64,
    /// Prefer a power of two, so that scales are alike and halves stay halves.
    pub(super) dyadic: bool,
    /// Once the first of them has an act.
    pub(super) scale: Option<f64>,
}

/// The groups of a network's values.
pub(super) struct Plan {
    group_of: Vec<usize>,
    groups: Vec<Group>,
    /// How many operands each value is.
    pub(super) uses: Vec<usize>,
    /// Values that hold whole numbers.
    pub(super) whole: Vec<bool>,
}

impl Plan {
    pub(super) fn new(network: &Network, seen: &[Seen], options: &Options) -> Self {
        let count = network.values.len();
        let mut uses = vec![0; count];
        let mut fine = vec![false; count];
        let known = known(network);
        let whole = whole(network, seen);
        network.nodes.iter().flat_map(|node| &node.inputs).for_each(|&id| uses[id] += 1);
        network.outputs.iter().for_each(|&id| uses[id] += 1);
        let mut union = joined(network, seen, &known, &whole, &uses);
        for node in &network.nodes {
            match &node.op {
                Op::Wire(Wire { fan_in: 1, .. }) | Op::Max | Op::Min | Op::ReduceMax => {}
                // Of two activations neither is rounded to few bits unless that was asked for.
                Op::MatMul | Op::Conv(_) if known[node.inputs[1]] || options.precision == Precision::Bits8 => {}
                _ if passes(&node.op, &node.inputs, &known) => {}
                _ => node.inputs.iter().for_each(|&id| fine[id] = true),
            }
        }
        network.outputs.iter().for_each(|&id| fine[id] = true);
        // What only passes through must be as fine as what it becomes.
        loop {
            let mut changed = false;
            for node in network.nodes.iter().rev().filter(|node| passes(&node.op, &node.inputs, &known)) {
                let finer = (union.find(node.output), fine[node.output]);
                for &id in &node.inputs {
                    let root = union.find(id);
                    let needed = finer.1 || fine[finer.0] || fine[root];
                    changed |= needed && !(fine[id] && fine[root]);
                    fine[id] |= needed;
                    fine[root] |= needed;
                }
            }
            if !changed {
                break;
            }
        }
        let nonnegative = nonnegative(network, seen);
        let group_of: Vec<usize> = (0..count).map(|id| union.find(id)).collect();
        let mut members: Vec<Vec<ValueId>> = vec![Vec::new(); count];
        (0..count).for_each(|id| members[group_of[id]].push(id));
        let group = |members: &Vec<ValueId>| {
            let all = |flags: &[bool]| members.iter().all(|&id| flags[id]);
            let any = |ids: &[ValueId]| ids.iter().any(|id| members.contains(id));
            let fine = members.iter().any(|&id| fine[id]) || options.precision == Precision::Bits16;
            let over = |of: &dyn Fn(&Seen) -> f64| members.iter().map(|&id| of(&seen[id])).fold(0.0, f64::max);
            let mut group = Group {
                whole: all(&whole),
                fine,
                reach: over(&Seen::reach),
                levels: FINE,
                dyadic: fine || options.precision == Precision::Auto,
                scale: None,
            };
            if group.whole {
                group.scale = Some(1.0);
            } else if fine {
                group.reach *= if any(&network.outputs) { OUTPUT_ROOM } else { ROOM };
            } else {
                let (reach, levels) = coarse(members, seen, all(&nonnegative), options);
                (group.reach, group.levels) = (reach, levels);
            }
            if group.reach == 0.0 {
                group.reach = 1.0;
            }
            group
        };
        let groups = members.iter().map(group).collect();
        Self { group_of, groups, uses, whole }
    }

    pub(super) fn group(&self, value: ValueId) -> &Group {
        &self.groups[self.group_of[value]]
    }

    /// Whether two values share a scale.
    pub(super) fn together(&self, a: ValueId, b: ValueId) -> bool {
        self.group_of[a] == self.group_of[b]
    }

    /// Gives a value's group its scale, if it has none and all of it has room in it.
    pub(super) fn settle(&mut self, value: ValueId, scale: f64) {
        let group = &mut self.groups[self.group_of[value]];
        if scale * FINE * (1.0 + 1.0 / 4096.0) >= group.reach {
            group.scale.get_or_insert(scale);
        }
    }

    /// The same with a scale that was not chosen for the group: others may need more precision.
    pub(super) fn settle_if_fine(&mut self, value: ValueId, scale: f64) {
        let group = self.group(value);
        // Two bits of sixteen are to spare for not rounding again where values meet.
        let spare = if group.levels == FINE { 4.0 } else { 1.0 };
        if scale <= spare * power_above(group.reach / group.levels) {
            self.settle(value, scale);
        }
    }
}

/// Which values share a scale: those that are moved, and those that meet where none of them loses by it.
fn joined(network: &Network, seen: &[Seen], known: &[bool], whole: &[bool], uses: &[usize]) -> Union {
    let count = network.values.len();
    let mut union = Union((0..count).collect());
    let alike = |id: ValueId, output: ValueId| !known[id] && network.values[id].kind == network.values[output].kind;
    let mut meetings = Vec::new();
    for node in &network.nodes {
        match (&node.op, &node.inputs[..]) {
            (Op::Wire(Wire { fan_in: 1, .. }) | Op::ReduceMax, &[id]) if alike(id, node.output) => {
                union.join(id, node.output);
            }
            (Op::Wire(Wire { fan_in: 1, .. }) | Op::Max | Op::Min, _) => meetings.push(node),
            _ => {}
        }
    }
    // By group: how far it reaches, and how many read it that do more than move it.
    let (mut reach, mut readers) = (vec![0.0_f64; count], vec![0; count]);
    for id in 0..count {
        let root = union.find(id);
        reach[root] = reach[root].max(seen[id].reach());
        readers[root] += uses[id];
    }
    for node in &network.nodes {
        if let (Op::Wire(Wire { fan_in: 1, .. }) | Op::ReduceMax, &[id]) = (&node.op, &node.inputs[..]) {
            readers[union.find(id)] -= 1;
        }
    }
    for node in meetings {
        for &id in node.inputs.iter().filter(|&&id| alike(id, node.output)) {
            let (root, output) = (union.find(id), union.find(node.output));
            // Whole numbers keep a scale of 1, and what is small beside the others would be left few steps for its other readers.
            let keeps = whole[id] != whole[node.output];
            let small = readers[root] > 1 && 2.0 * reach[root] < reach[output];
            // Of a large one the smaller of two may show nothing.
            let large = matches!(node.op, Op::Max | Op::Min) && reach[root] > 2.0 * seen[node.output].reach();
            if root == output || keeps || small || large {
                continue;
            }
            union.join(root, output);
            let both = union.find(root);
            (reach[both], readers[both]) = (reach[root].max(reach[output]), readers[root] - 1 + readers[output]);
        }
    }
    union
}

/// Range and levels of an activation that only linear layers read: the fewest bits that keep the signal.
fn coarse(members: &[ValueId], seen: &[Seen], nonnegative: bool, options: &Options) -> (f64, f64) {
    let bits: &[i32] = if options.precision == Precision::Auto { &[8, 9, 10, 11, 12] } else { &[8] };
    let mut chosen = (0.0, 0.0);
    for bits in bits {
        let levels = f64::from((1 << if nonnegative { *bits } else { bits - 1 }) - 1);
        let range = members.iter().map(|&id| seen[id].range(options.method, levels)).fold(0.0, f64::max);
        chosen = (range, levels);
        // A scale that is rounded up to a power of two leaves fewer levels.
        let kept = if options.precision == Precision::Auto { range / power_above(range / levels) } else { levels };
        if range == 0.0 || members.iter().all(|&id| seen[id].reach() == 0.0 || seen[id].sqnr(range, kept) >= ENOUGH) {
            break;
        }
    }
    chosen
}

/// The bounds of a function that only clamps.
pub(super) fn clamp_of(function: Function) -> Option<(f64, f64)> {
    match function {
        Function::LeakyRelu { slope: 0.0 } => Some((0.0, f64::INFINITY)),
        Function::Clip { low, high } if low <= high => Some((low, high)),
        _ => None,
    }
}

/// Values that are whole whatever the inputs are, and small enough to stay so at scale 1.
fn whole(network: &Network, seen: &[Seen]) -> Vec<bool> {
    let mut whole: Vec<bool> = network.values.iter().map(|value| value.kind != Kind::Real).collect();
    for (id, data) in &network.constants {
        whole[*id] |= data.iter().all(|value| value.fract() == 0.0);
    }
    for node in &network.nodes {
        use Function::{Abs, Ceil, Floor, Not, Round, Sign, Truncate, Wrap};
        let small = seen[node.output].reach() <= FINE;
        let all = node.inputs.iter().all(|&id| whole[id]);
        whole[node.output] |= match &node.op {
            Op::ArgMax | Op::Greater | Op::Equal => true,
            Op::Unary(Floor | Ceil | Round | Truncate | Sign | Not) => small,
            Op::Unary(Abs | Wrap { .. }) => small && all,
            Op::Unary(function) => small && all && clamp_of(*function) == Some((0.0, f64::INFINITY)),
            Op::Select => small && node.inputs[1..].iter().all(|&id| whole[id]),
            Op::Div | Op::Conv(_) | Op::MatMul => false,
            _ => small && all,
        };
    }
    whole
}

/// Values that are nowhere negative. Inputs are, where none of the samples is: another is refused when it is fed.
fn nonnegative(network: &Network, seen: &[Seen]) -> Vec<bool> {
    let mut found = vec![false; network.values.len()];
    network.inputs.iter().for_each(|&id| found[id] = seen[id].nonnegative());
    network.constants.keys().for_each(|&id| found[id] = seen[id].low >= 0.0);
    for node in &network.nodes {
        use Function::{Abs, Exp, HardSigmoid, Not, Sigmoid, Softplus, Sqrt};
        let all = node.inputs.iter().all(|&id| found[id]);
        found[node.output] = match &node.op {
            Op::Wire(_) | Op::MatMul | Op::Conv(_) | Op::Add | Op::Min | Op::Div | Op::ReduceMax => all,
            Op::Mul => all || node.inputs[0] == node.inputs[1],
            Op::Max => node.inputs.iter().any(|&id| found[id]),
            Op::ArgMax | Op::Greater | Op::Equal => true,
            Op::Unary(Abs | Exp | HardSigmoid { .. } | Not | Sigmoid | Softplus | Sqrt) => true,
            Op::Unary(Function::Wrap { low, .. }) => *low >= 0.0,
            Op::Unary(function) => clamp_of(*function).is_some_and(|(low, _)| low >= 0.0),
            Op::Select => node.inputs[1..].iter().all(|&id| found[id]),
            Op::Sub => false,
        };
    }
    found
}

/// Whether an operation leaves its operand's precision to its result: nothing is rounded, or later.
fn passes(op: &Op, inputs: &[ValueId], known: &[bool]) -> bool {
    match op {
        Op::Wire(_) | Op::ReduceMax => true,
        Op::Unary(function) => clamp_of(*function).is_some(),
        Op::Add | Op::Sub | Op::Mul | Op::Max | Op::Min => inputs.iter().any(|&id| known[id]),
        Op::Div => known[inputs[1]],
        _ => false,
    }
}

/// Values that no input changes.
fn known(network: &Network) -> Vec<bool> {
    let mut known: Vec<bool> = (0..network.values.len()).map(|id| network.constants.contains_key(&id)).collect();
    for node in &network.nodes {
        known[node.output] = node.inputs.iter().all(|&id| known[id]);
    }
    known
}

/// Values joined into groups.
struct Union(Vec<usize>);

impl Union {
    fn find(&mut self, id: usize) -> usize {
        let mut root = id;
        while self.0[root] != root {
            root = self.0[root];
        }
        let mut at = id;
        while self.0[at] != root {
            at = std::mem::replace(&mut self.0[at], root);
        }
        root
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

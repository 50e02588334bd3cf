//! The graph in words and numbers: a table that a person reads, and the same for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Geometry, Graph, Multiplier, Node, Op, Tensor, TensorId, Wire};
use crate::relation::{Cost, Relations};

/// A graph, told line by line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// What is fed: `x0`, `x1`, ...
    pub inputs: Vec<Line>,
    /// What is committed: `w0`, `w1`, ...
    pub constants: Vec<Line>,
    /// What is computed: `0`, `1`, ...
    pub nodes: Vec<Step>,
    /// What is given, by those names.
    pub outputs: Vec<String>,
    /// What a proof of all nodes costs.
    pub total: Cost,
}

/// A tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// What other lines call it.
    pub id: String,
    /// Sizes of its axes.
    pub shape: Vec<u32>,
    /// What one step is worth.
    pub scale: f64,
    /// Smallest value.
    pub low: i64,
    /// Largest value.
    pub high: i64,
}

/// A node, its result and its costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Of the ONNX node it comes from.
    pub name: String,
    /// What it does, with its parameters.
    pub op: String,
    /// What it reads.
    pub operands: Vec<String>,
    /// Its result.
    #[serde(flatten)]
    pub result: Line,
    /// What a proof of it costs.
    pub cost: Cost,
}

impl Graph {
    /// Everything a person or program may want to see of a checked graph; no weights.
    pub fn describe(&self, relations: &Relations) -> Description {
        let ids = self.ids();
        let line = |&id: &TensorId| {
            let tensor = &self.tensors[id as usize];
            let Tensor { ref shape, low, high, .. } = *tensor;
            Line { id: ids[id as usize].clone(), shape: shape.clone(), scale: tensor.step(), low, high }
        };
        let name = |&id: &TensorId| ids[id as usize].clone();
        let costs = relations.costs().chain(std::iter::repeat(Cost::default()));
        let nodes = self.nodes.iter().zip(costs).map(|(node, cost)| Step {
            name: node.name.clone(),
            op: self.op_words(node),
            operands: node.inputs.iter().map(name).collect(),
            result: line(&node.output),
            cost,
        });
        Description {
            inputs: self.inputs.iter().map(line).collect(),
            constants: self.constants.iter().map(line).collect(),
            nodes: nodes.collect(),
            outputs: self.outputs.iter().map(name).collect(),
            total: relations.total(),
        }
    }

    /// [`Self::describe`] as a table.
    pub fn show(&self, relations: &Relations) -> String {
        self.describe(relations).to_string()
    }

    /// What each tensor is called: `x` and `w` number inputs and constants, results have their node's number.
    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids = vec![String::new(); self.tensors.len()];
        let mut call = |id: &TensorId, name: String| {
            if let Some(slot) = ids.get_mut(*id as usize) {
                *slot = name;
            }
        };
        self.inputs.iter().enumerate().for_each(|(at, id)| call(id, format!("x{at}")));
        self.constants.iter().enumerate().for_each(|(at, id)| call(id, format!("w{at}")));
        self.nodes.iter().enumerate().for_each(|(at, node)| call(&node.output, at.to_string()));
        ids
    }

    /// What a node does, with its parameters.
    pub(crate) fn op_words(&self, node: &Node) -> String {
        match &node.op {
            Op::Wire(Wire { fan_in: 1, index }) => match index {
                super::Index::Identity if node.inputs.len() == 1 => "Reshape".into(),
                super::Index::Identity => "Join".into(),
                super::Index::Strided { .. } => "Wire strided".into(),
                super::Index::Explicit(_) => "Wire".into(),
            },
            Op::Wire(wire) => format!("Wire, sums of {}", wire.fan_in),
            Op::Conv(geometry) => {
                let kernel = node.inputs.get(1).map(|&id| &*self.tensors[id as usize].shape);
                conv_words(geometry, kernel.unwrap_or_default())
            }
            Op::Linear { coefficients, constant } => linear_words(coefficients, *constant),
            Op::Rescale { multiplier, shift, low, high } => {
                let by = match multiplier {
                    Multiplier::Uniform(m) => m.to_string(),
                    Multiplier::PerAxis(axis) => format!("M[axis {axis}]"),
                };
                format!("Rescale *{by} >>{shift} to {low}..{high}")
            }
            Op::Lookup { table } => {
                let table = &self.tables[*table as usize];
                format!("Lookup {} ({})", short(&printable(&table.name), 24), table.values.len())
            }
            Op::Divide { shift: 0 } => "Divide".into(),
            Op::Divide { shift } => format!("Divide <<{shift}"),
            op => op.name().into(),
        }
    }
}

fn conv_words(geometry: &Geometry, kernel: &[u32]) -> String {
    let pair = |[a, b]: [u32; 2]| if a == b { a.to_string() } else { format!("{a}x{b}") };
    let size = kernel.iter().skip(2).map(u32::to_string).collect::<Vec<_>>().join("x");
    let mut words = format!("Conv {size}");
    if geometry.strides != [1; 2] {
        words += &format!(" step {}", pair(geometry.strides));
    }
    if geometry.dilations != [1; 2] {
        words += &format!(" dilated {}", pair(geometry.dilations));
    }
    match geometry.pads {
        [0, 0, 0, 0] => {}
        [a, b, c, d] if a == b && b == c && c == d => words += &format!(" pad {a}"),
        pads => words += &format!(" pad {pads:?}"),
    }
    if geometry.groups != 1 {
        words += &format!(" groups {}", geometry.groups);
    }
    words
}

fn linear_words(coefficients: &[i64], constant: i64) -> String {
    let mut words = "Linear".to_owned();
    for coefficient in coefficients.iter().take(4) {
        words += &match coefficient {
            1 => " +".to_owned(),
            -1 => " -".to_owned(),
            other => format!(" {other:+}"),
        };
    }
    if coefficients.len() > 4 {
        words += " ..";
    }
    if constant != 0 {
        words += &format!(", {constant:+}");
    }
    words
}

/// A count in at most five characters.
pub(crate) fn count(n: u64) -> String {
    if n < 10_000 {
        return n.to_string();
    }
    let (mut value, mut unit) = (n as f64 / 1e3, "k");
    for next in ["M", "G", "T", "P", "E"] {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1e3, next);
    }
    if value < 10.0 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

/// Names are from anyone: nothing in them may steer a terminal or end a line.
pub(crate) fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// At most so many characters.
pub(crate) fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(2)).chain("..".chars()).collect()
}

pub(crate) fn shape_words(shape: &[u32]) -> String {
    if shape.is_empty() {
        return "scalar".into();
    }
    shape.iter().map(u32::to_string).collect::<Vec<_>>().join("x")
}

impl std::fmt::Display for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tensor = |line: &Line| {
            [shape_words(&line.shape), format!("{:.3e}", line.scale), format!("{}..{}", line.low, line.high)]
        };
        let blank = || vec![String::new(); 4];
        let mut rows: Vec<Vec<String>> = vec![];
        let head = ["", "node", "operation", "of", "shape", "scale", "range", "MACs", "cells", "lookups", "zeros"];
        rows.push(head.map(String::from).to_vec());
        for (lines, what) in [(&self.inputs, "input"), (&self.constants, "constant")] {
            for line in lines {
                let front = [line.id.clone(), what.to_owned(), String::new(), String::new()];
                rows.push([&front[..], &tensor(line), &blank()].concat());
            }
        }
        for step in &self.nodes {
            let operands = short(&step.operands.join(" "), 16);
            let front = [step.result.id.clone(), short(&printable(&step.name), 28), step.op.clone(), operands];
            let cost = &step.cost;
            let back = [cost.macs, cost.committed, cost.lookups, cost.zeros].map(count);
            rows.push([&front[..], &tensor(&step.result), &back].concat());
        }
        let cost = &self.total;
        let back = [cost.macs, cost.committed, cost.lookups, cost.zeros].map(count);
        let given = ["", "given", &self.outputs.join(" "), "", "", "", ""].map(String::from);
        rows.push([&given[..], &back].concat());
        write_table(f, &rows)
    }
}

/// Numbers to the right, words to the left, a line under the head.
fn write_table(f: &mut std::fmt::Formatter<'_>, rows: &[Vec<String>]) -> std::fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for (at, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 | 5.. => write!(line, "{cell:>width$}  ")?,
                _ => write!(line, "{cell:<width$}  ")?,
            }
        }
        writeln!(f, "{}", line.trim_end())?;
        if at == 0 {
            writeln!(f, "{}", "-".repeat(widths.iter().sum::<usize>() + 2 * widths.len() - 2))?;
        }
    }
    Ok(())
}

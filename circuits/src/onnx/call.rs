//! One ONNX node as its lowering sees it: operands by position, attributes by name and type.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    builder::Lowered,
    proto::{AttributeProto, NodeProto},
    short,
    tensor::{self, Tensor},
};
use crate::network::ValueId;

/// See the module.
pub(super) struct Call<'a> {
    pub(super) proto: &'a NodeProto,
    /// Version of ONNX's operators.
    pub(super) opset: i64,
    operands: Vec<Option<ValueId>>,
    attributes: BTreeMap<&'a str, &'a AttributeProto>,
    /// Attributes that were asked for: one that never is would be ignored, which may change the meaning.
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Call<'a> {
    pub(super) fn new(proto: &'a NodeProto, opset: i64, operands: Vec<Option<ValueId>>) -> Lowered<Self> {
        let mut attributes = BTreeMap::new();
        for attribute in &proto.attribute {
            let name = attribute.name.as_str();
            if !attribute.ref_attr_name.is_empty() {
                return Err(format!("attribute '{}' refers to a function's", short(name)));
            }
            if attributes.insert(name, attribute).is_some() {
                return Err(format!("attribute '{}' is given twice", short(name)));
            }
        }
        Ok(Self { proto, opset, operands, attributes, asked: RefCell::default() })
    }

    /// Refuses attributes that nobody asked for.
    pub(super) fn finish(&self) -> Lowered<()> {
        match self.attributes.keys().find(|name| !self.asked.borrow().contains(**name)) {
            Some(name) => Err(format!("attribute '{}' is not known in operator set {}", short(name), self.opset)),
            None => Ok(()),
        }
    }

    /// The number of operands must be in this range.
    pub(super) fn arity(&self, least: usize, most: usize) -> Lowered<()> {
        let found = self.operands.len();
        if (least..=most).contains(&found) {
            return Ok(());
        }
        let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
        Err(format!("{found} inputs; expected {expected}"))
    }

    /// How many operands are given, those left out among them.
    pub(super) fn inputs(&self) -> usize {
        self.operands.len()
    }

    /// The operand of this position.
    pub(super) fn operand(&self, at: usize) -> Lowered {
        self.optional(at).ok_or_else(|| format!("its input {at} is missing"))
    }

    pub(super) fn optional(&self, at: usize) -> Option<ValueId> {
        self.operands.get(at).copied().flatten()
    }

    /// All operands, none left out.
    pub(super) fn operands(&self) -> Lowered<Vec<ValueId>> {
        if self.operands.is_empty() {
            return Err("no inputs; expected at least one".into());
        }
        (0..self.operands.len()).map(|at| self.operand(at)).collect()
    }

    /// How many results are named.
    pub(super) fn outputs(&self) -> usize {
        self.proto.output.len()
    }

    /// Whether the result of this position is named.
    pub(super) fn wants(&self, at: usize) -> bool {
        self.proto.output.get(at).is_some_and(|name| !name.is_empty())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.asked.borrow_mut().insert(name.to_owned());
        self.attributes.get(name).copied()
    }

    /// The attribute, where it is there and of this type (or of none, as old files have it).
    fn typed(&self, name: &str, number: i32, kind: &str) -> Lowered<Option<&'a AttributeProto>> {
        match self.attribute(name) {
            Some(a) if a.r#type != number && a.r#type != 0 => {
                Err(format!("attribute '{name}' is of type {}; expected {number}, {kind}", a.r#type))
            }
            found => Ok(found),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Lowered<Option<i64>> {
        Ok(self.typed(name, 2, "an integer")?.map(|a| a.i))
    }

    pub(super) fn integer_or(&self, name: &str, default: i64) -> Lowered<i64> {
        Ok(self.integer(name)?.unwrap_or(default))
    }

    /// An integer that says yes or no.
    pub(super) fn flag(&self, name: &str, default: bool) -> Lowered<bool> {
        match self.integer_or(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("{name} {other}; expected 0 or 1")),
        }
    }

    pub(super) fn float(&self, name: &str) -> Lowered<Option<f64>> {
        match self.typed(name, 1, "a float")?.map(|a| f64::from(a.f)) {
            Some(v) if v.is_nan() => Err(format!("attribute '{name}' is {v}")),
            found => Ok(found),
        }
    }

    /// A finite number.
    pub(super) fn float_or(&self, name: &str, default: f64) -> Lowered<f64> {
        match self.float(name)? {
            Some(v) if !v.is_finite() => Err(format!("attribute '{name}' is {v}; expected a finite number")),
            found => Ok(found.unwrap_or(default)),
        }
    }

    pub(super) fn integers(&self, name: &str) -> Lowered<Option<&'a [i64]>> {
        Ok(self.typed(name, 7, "integers")?.map(|a| a.ints.as_slice()))
    }

    pub(super) fn floats(&self, name: &str) -> Lowered<Option<&'a [f32]>> {
        Ok(self.typed(name, 6, "floats")?.map(|a| a.floats.as_slice()))
    }

    pub(super) fn text(&self, name: &str, default: &'static str) -> Lowered<&'a str> {
        match self.typed(name, 3, "text")? {
            Some(a) => std::str::from_utf8(&a.s).map_err(|_| format!("attribute '{name}' is not UTF-8")),
            None => Ok(default),
        }
    }

    pub(super) fn tensor(&self, name: &str) -> Lowered<Option<Tensor>> {
        match self.typed(name, 4, "a tensor")? {
            Some(a) => {
                let proto = a.t.as_deref().ok_or_else(|| format!("attribute '{name}' holds no tensor"))?;
                Ok(Some(tensor::read(proto, None).map_err(|e| format!("attribute '{name}' {e}"))?))
            }
            None => Ok(None),
        }
    }
}

/// An axis counted from the front, or from the back where negative.
pub(super) fn axis(axis: i64, rank: usize) -> Lowered<usize> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(at).ok().filter(|&a| a < rank).ok_or_else(|| format!("axis {axis} of a tensor with {rank} axes"))
}

/// Axes, sorted, each once.
pub(super) fn axes(list: &[i64], rank: usize) -> Lowered<Vec<usize>> {
    let found: BTreeSet<usize> = list.iter().map(|&a| axis(a, rank)).collect::<Lowered<_>>()?;
    if found.len() != list.len() {
        return Err("an axis is named twice".into());
    }
    Ok(found.into_iter().collect())
}

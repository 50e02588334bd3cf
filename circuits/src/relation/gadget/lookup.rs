//! A function of an act: the pair lies in its table, which also bounds the operand. Unique: a table is a function.

use std::sync::Arc;

use super::rescale::Unclamped;
use crate::{
    graph,
    relation::{
        ColumnId, Table,
        builder::{Bounds, Builder},
    },
};

/// Adds the gadget.
pub(in crate::relation) fn build(b: &mut Builder, x: ColumnId, table: &graph::Table, bounds: Bounds) -> ColumnId {
    let table = Table::Map { low: table.low, values: Arc::from(table.values.as_slice()) };
    b.looked(table, x, bounds, "value")
}

/// Adds the gadget for a quotient whose clamp was left to it: one table does both.
pub(in crate::relation) fn build_clamped(
    b: &mut Builder,
    x: &Unclamped,
    table: &graph::Table,
    bounds: Bounds,
) -> Result<ColumnId, String> {
    let value = |q: i64| {
        let at = q.clamp(x.low, x.high) - i64::from(table.low);
        usize::try_from(at).ok().and_then(|at| table.values.get(at)).copied()
    };
    let values: Option<Arc<[i16]>> = (x.quotient_low..=x.quotient_high).map(value).collect();
    let values = values.ok_or_else(|| format!("table {} does not cover {} to {}", table.name, x.low, x.high))?;
    Ok(b.looked(Table::Map { low: x.quotient_low as i32, values }, x.quotient, bounds, "value"))
}

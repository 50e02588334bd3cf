//! What relations cost, node by node, before anything is proved.

use super::{Column, Definition, Relations};

/// Counts of what a proof system pays for.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// Cells that the prover commits.
    pub committed: u64,
    /// Cells looked up.
    pub lookups: u64,
    /// Cells looked up in each table that is used: its position and how many.
    pub tables: Vec<(usize, u64)>,
    /// Cells that must vanish.
    pub zeros: u64,
    /// Values taken by wires.
    pub wires: u64,
    /// Products added up in matrices.
    pub macs: u64,
}

impl Cost {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.committed += other.committed;
        self.lookups += other.lookups;
        self.zeros += other.zeros;
        self.wires += other.wires;
        self.macs += other.macs;
        for &(table, count) in &other.tables {
            self.look_up(table, count);
        }
    }

    fn look_up(&mut self, table: usize, count: u64) {
        match self.tables.iter_mut().find(|(known, _)| *known == table) {
            Some((_, sum)) => *sum += count,
            None => self.tables.push((table, count)),
        }
    }
}

impl Relations {
    /// What the node of this position costs.
    pub fn cost(&self, node: usize) -> Cost {
        self.costs().nth(node).unwrap_or_default()
    }

    /// What every node costs, in order, up to the last that costs something.
    pub fn costs(&self) -> impl Iterator<Item = Cost> {
        let nodes = self.columns.iter().filter_map(|column| column.node).max();
        let mut costs = vec![Cost::default(); nodes.map_or(0, |last| last + 1)];
        for column in &self.columns {
            let Some(node) = column.node else { continue };
            let (cost, cells) = (&mut costs[node], column.len() as u64);
            match &column.definition {
                Definition::Witness => cost.committed += cells,
                Definition::Wire { wire, .. } => cost.wires += cells * u64::from(wire.fan_in),
                Definition::MatMul { left, .. } => {
                    cost.macs += cells * self.columns[*left].shape.last().map_or(0, |&k| k as u64);
                }
                Definition::Input(_) | Definition::Weight(_) | Definition::Linear { .. } => {}
            }
        }
        for zero in &self.zeros {
            costs[zero.node].zeros += zero.shape.iter().product::<usize>() as u64;
        }
        for lookup in &self.lookups {
            let count = self.columns.get(lookup.x).map_or(0, Column::len) as u64;
            costs[lookup.node].lookups += count;
            costs[lookup.node].look_up(lookup.table, count);
        }
        costs.into_iter()
    }

    /// What all nodes cost together.
    pub fn total(&self) -> Cost {
        self.costs().fold(Cost::default(), |mut total, cost| {
            total.add(&cost);
            total
        })
    }
}

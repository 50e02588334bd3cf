//! Relations that do not hang together are refused before any work.

use std::sync::Arc;

use crate::graph::{Index, Wire};
use crate::proof::ProofSystem;
use crate::proof::sumcheck::{Sumcheck, digest};
use crate::relation::{Column, Definition, Lookup, Output, Relations, Table, Zero};

fn column(shape: &[usize], definition: Definition) -> Column {
    Column { shape: shape.to_vec(), definition, node: Some(4), role: "it", low: -99, high: 99 }
}

/// An input, a witness looked up in a range, and their sum.
fn good() -> Relations {
    let linear = Definition::Linear { terms: vec![(1, 0), (2, 1)], constant: 3 };
    Relations {
        columns: vec![column(&[3], Definition::Input(0)), column(&[3], Definition::Witness), column(&[3], linear)],
        zeros: vec![Zero { terms: vec![(1, vec![0, 1])], constant: 0, shape: vec![3], node: 4 }],
        tables: vec![Table::Range { bits: 4 }],
        lookups: vec![Lookup { table: 0, x: 1, y: None, node: 4 }],
        outputs: vec![Output { column: 2, tensor: 1 }],
        ..Relations::default()
    }
}

fn wire(fan_in: u32, index: Index) -> Definition {
    Definition::Wire { sources: vec![0], wire: Arc::new(Wire { fan_in, index }) }
}

#[test]
fn each_fault_is_refused_and_changes_the_digest() {
    type Fault = fn(&mut Relations);
    let faults: [Fault; 19] = [
        |r| r.columns[0].shape = vec![],
        |r| r.columns[0].shape = vec![3, 0],
        |r| r.columns[0].shape = vec![1 << 40, 1 << 40],
        |r| r.columns[0].definition = Definition::Input(1),
        |r| r.columns[0].definition = Definition::Weight(usize::MAX),
        |r| r.columns[2].definition = Definition::Linear { terms: vec![(1, 2)], constant: 0 },
        |r| r.columns[2].definition = wire(0, Index::Identity),
        |r| r.columns[2].definition = wire(2, Index::Identity),
        |r| r.columns[2].definition = wire(1, Index::Explicit(vec![0, 1, 3])),
        |r| r.columns[2].definition = wire(1, Index::Strided { offset: 1, loops: vec![(3, 1)] }),
        |r| r.columns[2].definition = wire(1, Index::Strided { offset: 0, loops: vec![(3, -1)] }),
        |r| r.columns[2].definition = wire(1, Index::Strided { offset: 0, loops: vec![(3, 0), (0, 1)] }),
        |r| r.columns[2].definition = Definition::MatMul { left: 0, right: 1 },
        |r| r.zeros[0].terms = vec![(1, vec![])],
        |r| r.zeros[0].terms = vec![(1, vec![0, 0, 1, 1])],
        |r| r.zeros[0].shape = vec![4],
        |r| r.tables[0] = Table::Range { bits: 17 },
        |r| r.lookups[0].y = Some(0),
        |r| r.outputs[0].column = 3,
    ];
    assert_eq!(Sumcheck::supports(&good()), Ok(()));
    for (at, fault) in faults.into_iter().enumerate() {
        let mut relations = good();
        fault(&mut relations);
        assert!(Sumcheck::supports(&relations).is_err(), "{at}");
        assert_ne!(digest::relations(&relations), digest::relations(&good()), "{at}");
    }
}

#[test]
fn the_digest_of_relations_is_pinned() {
    let hex: String = digest::relations(&good()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "f59f5aa32eedc8db954c0dac02d7c29cae466d5a40a9d88657d46184486fe20b");
}

//! The statement as both sides read it, and the transcript's beginning.

use p3_field::PrimeCharacteristicRing;

use super::commitment::{Base, Commitment, Transcript, parameter_bytes};
use super::plan::Plan;
use super::run::Public;
use crate::proof::Statement;
use crate::relation::{ColumnId, Definition};

/// Tag of the transcript; every change of the protocol gets another.
const DOMAIN: &str = "assay/sumcheck/1";

/// The inputs and outputs, if they have the columns' lengths and lie within their bounds. The bounds keep different
/// integers different field elements.
pub(super) fn read(plan: &Plan, statement: &Statement<'_>) -> Result<Public, String> {
    let relations = &plan.relations;
    if statement.inputs.len() != plan.inputs.len() || statement.outputs.len() != relations.outputs.len() {
        return Err(format!(
            "{} inputs and {} outputs, expected {} and {}",
            statement.inputs.len(),
            statement.outputs.len(),
            plan.inputs.len(),
            relations.outputs.len()
        ));
    }
    for (id, column) in relations.columns.iter().enumerate() {
        if let Definition::Input(number) = column.definition {
            within(plan, id, &statement.inputs[number]).map_err(|e| format!("input {number}: {e}"))?;
        }
    }
    for (at, output) in relations.outputs.iter().enumerate() {
        within(plan, output.column, &statement.outputs[at]).map_err(|e| format!("output {at}: {e}"))?;
    }
    let cells = |lists: &[Vec<i64>]| lists.iter().map(|l| l.iter().map(|&v| Base::from_i64(v)).collect()).collect();
    Ok(Public { inputs: cells(statement.inputs), outputs: cells(statement.outputs) })
}

fn within(plan: &Plan, column: ColumnId, values: &[i64]) -> Result<(), String> {
    let (length, column) = (plan.lengths[column], &plan.relations.columns[column]);
    if values.len() != length {
        return Err(format!("{} values, expected {length}", values.len()));
    }
    match values.iter().enumerate().find(|&(_, &v)| v < column.low || v > column.high) {
        Some((at, v)) => Err(format!("value {at} is {v}, expected {} to {}", column.low, column.high)),
        None => Ok(()),
    }
}

/// A transcript that has taken up all that is proved and the prover's commitment.
pub(super) fn transcript(
    plan: &Plan,
    weights: &Commitment,
    statement: &Statement<'_>,
    witness: Option<&Commitment>,
) -> Transcript {
    let mut t = Transcript::new(DOMAIN);
    t.absorb_bytes(&parameter_bytes());
    t.absorb_bytes(&plan.digest);
    t.absorb_bytes(&weights.0);
    t.absorb_bytes(statement.binding);
    for values in statement.inputs.iter().chain(statement.outputs) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        t.absorb_bytes(&bytes);
    }
    t.absorb_bytes(witness.map_or(&[], |c| &c.0));
    t
}

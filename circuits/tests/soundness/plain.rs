//! The proof that hides nothing and saves nothing: all committed cells, checked one by one. It is what the others stand
//! for, and shows that the attacks are turned down for the right reason.

use std::sync::Arc;

use assay_circuits::{
    proof::{
        Commitments, Estimate, ProofSystem, ProveError, SetupError, Statement, Unsupported, VerifyError,
        sumcheck::commitment::weight_commitment,
    },
    relation::{Column, Definition, Relations, Trace},
};

/// See the module.
pub(crate) struct Plain;

pub(crate) struct Key {
    relations: Arc<Relations>,
    weights: Vec<Vec<i64>>,
}

impl Key {
    fn digest(&self, statement: Statement<'_>) -> [u8; 32] {
        let values = (statement.binding, statement.inputs.to_vec(), statement.outputs.to_vec(), &self.weights);
        *blake3::hash(&borsh::to_vec(&values).expect("vectors are encoded without fail")).as_bytes()
    }
}

fn malformed(reason: &str) -> VerifyError {
    VerifyError::Malformed { system: Plain::NAME, reason: reason.to_owned() }
}

impl ProofSystem for Plain {
    type ProverKey = Key;
    type VerifierKey = Key;

    const NAME: &'static str = "plain";

    fn supports(_: &Relations) -> Result<(), Unsupported> {
        Ok(())
    }

    fn estimate(relations: &Relations) -> Estimate {
        let proof_bytes = 8 * relations.total().committed as usize;
        Estimate { setup_s: 0.0, prove_s: 0.0, verify_s: 0.0, memory_mib: 0.0, proof_bytes }
    }

    fn set_up(relations: Arc<Relations>, weights: &[Vec<i64>]) -> Result<(Key, Key), SetupError> {
        let key = || Key { relations: Arc::clone(&relations), weights: weights.to_vec() };
        Ok((key(), key()))
    }

    fn prove(key: &Key, trace: &Trace, statement: Statement<'_>) -> Result<Vec<u8>, ProveError> {
        let committed = key.relations.columns.iter().zip(&trace.columns);
        let committed = committed.filter(|(column, _)| column.definition == Definition::Witness);
        let cells = committed.flat_map(|(_, values)| values).flat_map(|value| value.to_le_bytes());
        Ok(key.digest(statement).into_iter().chain(cells).collect())
    }

    fn verify(key: &Key, statement: Statement<'_>, proof: &[u8]) -> Result<(), VerifyError> {
        let (digest, mut rest) = proof.split_at_checked(32).ok_or_else(|| malformed("too short"))?;
        if digest != key.digest(statement) {
            return Err(VerifyError::Invalid { reason: "of another statement".to_owned() });
        }
        let mut trace = Trace { columns: Vec::new() };
        for column in &key.relations.columns {
            let given = |values: &[Vec<i64>], at: usize| values.get(at).cloned().unwrap_or_default();
            trace.columns.push(match column.definition {
                Definition::Input(at) => given(statement.inputs, at),
                Definition::Weight(at) => given(&key.weights, at),
                Definition::Witness => {
                    let (cells, after) =
                        rest.split_at_checked(8 * column.len()).ok_or_else(|| malformed("too short"))?;
                    rest = after;
                    let cell = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().expect("eight bytes"));
                    cells.chunks_exact(8).map(cell).collect()
                }
                _ => vec![0; column.len()],
            });
        }
        if !rest.is_empty() {
            return Err(malformed("too long"));
        }
        let invalid = |e: &dyn std::fmt::Display| VerifyError::Invalid { reason: e.to_string() };
        if trace.columns.iter().zip(&key.relations.columns).any(|(values, column)| values.len() != column.len()) {
            return Err(VerifyError::Statement { reason: "other sizes".to_owned() });
        }
        let inside =
            |(values, column): (&Vec<i64>, &Column)| values.iter().all(|v| (column.low..=column.high).contains(v));
        let inputs = trace.columns.iter().zip(&key.relations.columns);
        if !inputs.filter(|(_, column)| matches!(column.definition, Definition::Input(_))).all(inside) {
            return Err(VerifyError::Statement { reason: "inputs out of range".to_owned() });
        }
        let trace = key.relations.followed(&trace);
        let checked = key.relations.satisfied(&trace, &key.weights, statement.inputs, statement.outputs);
        checked.map_err(|e| invalid(&e))
    }

    fn committed(commitments: &Commitments) -> Result<(), SetupError> {
        commitments.plain_root().map(drop)
    }

    fn check_key(key: &Key, commitments: &Commitments) -> Result<(), SetupError> {
        let own = weight_commitment(&key.weights) == Ok(commitments.plain_root()?);
        if own { Ok(()) } else { Err(SetupError::OtherModel { system: Self::NAME }) }
    }

    fn verifier_key_to_bytes(key: &Key) -> Vec<u8> {
        key.weights.iter().flatten().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn verifier_key_from_bytes(relations: Arc<Relations>, bytes: &[u8]) -> Result<Key, SetupError> {
        let wrong = || SetupError::Keys { system: Self::NAME, reason: "another length".to_owned() };
        let mut values = bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes")));
        let lens = relations.columns.iter().filter(|c| matches!(c.definition, Definition::Weight(_))).map(|c| c.len());
        let weights: Vec<Vec<i64>> = lens.map(|len| values.by_ref().take(len).collect()).collect();
        if weights.iter().map(Vec::len).sum::<usize>() * 8 != bytes.len() {
            return Err(wrong());
        }
        let key = Key { relations, weights };
        if Self::verifier_key_to_bytes(&key) == bytes { Ok(key) } else { Err(wrong()) }
    }
}

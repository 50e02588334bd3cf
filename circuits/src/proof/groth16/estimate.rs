//! What proving will cost, from the counts of the circuit alone.

use super::{
    PROOF_BYTES,
    circuit::{Circuit, Counts},
    r1cs::domain_size,
};
use crate::{proof::Estimate, relation::Relations};

/// Seconds, MiB and bytes on two cores; infinite where the system does not do the relations.
pub(super) fn estimate(relations: &Relations) -> Estimate {
    let Ok(counts) = Circuit::count(relations) else {
        let never = f64::INFINITY;
        return Estimate {
            setup_s: never,
            prove_s: never,
            verify_s: never,
            memory_mib: never,
            proof_bytes: PROOF_BYTES,
        };
    };
    of_counts(counts)
}

fn of_counts(counts: Counts) -> Estimate {
    let points = domain_size(counts.constraints, counts.public) as f64;
    let (variables, public) = (counts.variables as f64, counts.public as f64);
    Estimate {
        setup_s: 0.06 + (points + 6.0 * variables) * 5e-6,
        prove_s: 0.01 + points * 4.2e-6 + variables * 1.3e-6,
        verify_s: 1.9e-3 + public * 6e-6,
        memory_mib: 56.0 + (points * 417.0 + variables * 973.0) / f64::from(1 << 20),
        proof_bytes: PROOF_BYTES,
    }
}

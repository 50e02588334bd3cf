//! `groth16`: 128-byte proofs on BN254, after a set-up for each circuit.

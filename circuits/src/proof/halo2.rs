//! `halo2`: PLONKish proofs on the Pasta curves without a trusted set-up.

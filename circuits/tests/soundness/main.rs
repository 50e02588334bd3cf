//! Every proof system under attack, operation by operation: whatever a prover alters, nothing untrue is accepted.
//!
//! A case is a small graph of one operation (or of many), with weights and inputs. Each attack alters one thing and must
//! be turned down: by the prover, which finds no proof, or by the verifier. `make test` samples; `make soundness`
//! (`ASSAY_SOUNDNESS=full`) tries every column and many more cells, seeds and bytes, and prints the counts.

mod attacks;
mod cases;
mod plain;
mod relations;
mod systems;
mod tally;
mod teeth;
mod uncounted;

//! One gadget an operation: the columns and demands that hold a prover to its result.
//!
//! Each says why its witnesses are unique: for given operands, whatever they are, at most one choice of field elements
//! satisfies the demands. Operands count as any elements of the field, for they may come from weights that nobody but the
//! committer has seen. `p` is the Goldilocks prime, `2^64 - 2^32 + 1`, the smallest field that the systems use; "as
//! integers" means that both sides of an equation are shorter than `p`, so that it holds over the integers too.

pub(super) mod arg_max;
pub(super) mod conv;
pub(super) mod divide;
pub(super) mod greater;
pub(super) mod halves;
pub(super) mod lookup;
pub(super) mod mat_mul;
pub(super) mod mul;
pub(super) mod reduce_max;
pub(super) mod rescale;
pub(super) mod sqrt;

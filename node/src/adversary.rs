//! Miners that cheat, so that everyone can see them lose. They run in the devnet and in tests only.
//!
//! | adversary | what it does | what becomes of it |
//! |---|---|---|
//! | [`Lazy`] | signs the same output for every input, without work and without a proof | re-execution refutes it |
//! | [`Tamper`] | alters the output after proving; or replays another task's proof beside the right output | both are refuted |
//! | [`struct@Copy`] | has another miner do the work, and relays its answer and proof as its own | the proof is bound to the other miner and request |
//!
//! Each stands behind [`Answerer`], like the honest miner, and is driven by [`crate::roles::serve`]. They live apart
//! from the roles: no honest code path knows them.

mod copy;
mod lazy;
mod tamper;

pub use copy::Copy;
pub use lazy::Lazy;
pub use tamper::Tamper;

#[cfg(doc)]
use crate::roles::Answerer;
use assay_primitives::{
    Hash32, Keypair, Signed,
    task::{Output, Request, Response},
};

/// Signs an output for a request, whatever it is.
fn sign(
    genesis: &Hash32,
    key: &Keypair,
    request: &Signed<Request>,
    output: Output,
    proof: Option<&[u8]>,
) -> Box<Signed<Response>> {
    let body = Response {
        miner: key.account(),
        request: request.id(genesis),
        model: request.body.model,
        input: request.body.input.hash(),
        output,
        proof: proof.map(Hash32::digest),
    };
    Box::new(Signed::new(body, genesis, key))
}

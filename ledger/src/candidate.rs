//! Transactions that may come to stand in a block, with or without their signature checked.
//!
//! ```text
//! SignedTransaction ──admit: every check, the signature last──> Verified ──build, execute: every check but the signature
//! ```
//!
//! Checking a signature costs more than all else that is done about a small transaction. What a node admitted to its pool it
//! need not check again when it builds a block or judges another's.

use std::sync::Arc;

use assay_primitives::{Hash32, SignatureError};

use crate::SignedTransaction;

mod sealed {
    /// What only this crate can be: another's [`super::Candidate`] could say that a signature holds which does not.
    pub trait Sealed {}
}

/// What [`crate::execute`] and [`crate::build`] take. No other crate can implement it.
pub trait Candidate: sealed::Sealed + Clone {
    /// What it is.
    fn transaction(&self) -> &SignedTransaction;

    /// Its id on the chain.
    fn id(&self, genesis: &Hash32) -> Hash32 {
        self.transaction().id(genesis)
    }

    /// Checks its signature for the chain, unless that is done.
    ///
    /// # Errors
    /// [`SignatureError`].
    fn check(&self, genesis: &Hash32) -> Result<(), SignatureError> {
        self.transaction().verify(genesis)
    }

    /// Itself, with its signature checked.
    ///
    /// # Errors
    /// [`SignatureError`].
    fn verified(&self, genesis: &Hash32) -> Result<Verified, SignatureError>;
}

impl sealed::Sealed for SignedTransaction {}
impl sealed::Sealed for Arc<SignedTransaction> {}
impl sealed::Sealed for Verified {}

impl Candidate for SignedTransaction {
    fn transaction(&self) -> &SignedTransaction {
        self
    }

    fn verified(&self, genesis: &Hash32) -> Result<Verified, SignatureError> {
        Verified::new(Arc::new(self.clone()), genesis)
    }
}

impl Candidate for Arc<SignedTransaction> {
    fn transaction(&self) -> &SignedTransaction {
        self
    }

    fn verified(&self, genesis: &Hash32) -> Result<Verified, SignatureError> {
        Verified::new(Arc::clone(self), genesis)
    }
}

/// A transaction whose signature was found to hold on a chain. There is no other way to make one. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    transaction: Arc<SignedTransaction>,
    genesis: Hash32,
    id: Hash32,
}

impl Verified {
    /// Checks the signature.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn new(transaction: Arc<SignedTransaction>, genesis: &Hash32) -> Result<Self, SignatureError> {
        transaction.verify(genesis)?;
        let id = transaction.id(genesis);
        Ok(Self { transaction, genesis: *genesis, id })
    }
}

impl Candidate for Verified {
    fn transaction(&self) -> &SignedTransaction {
        &self.transaction
    }

    fn id(&self, genesis: &Hash32) -> Hash32 {
        if *genesis == self.genesis { self.id } else { self.transaction.id(genesis) }
    }

    fn check(&self, genesis: &Hash32) -> Result<(), SignatureError> {
        if *genesis == self.genesis { Ok(()) } else { self.transaction.verify(genesis) }
    }

    fn verified(&self, genesis: &Hash32) -> Result<Self, SignatureError> {
        if *genesis == self.genesis { Ok(self.clone()) } else { Self::new(Arc::clone(&self.transaction), genesis) }
    }
}

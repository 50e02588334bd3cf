//! `sumcheck`: multilinear sumchecks, logUp-GKR and WHIR over Goldilocks. The default.

pub mod commitment;

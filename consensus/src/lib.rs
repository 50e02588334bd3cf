//! How the network agrees: on scores, on pay, on blocks.
//!
//! ```text
//! validators' scores ──aggregate──> one score a miner ──rewards──> incentives, dividends, bonds
//! blocks ──bft──> certificates
//! ```
//!
//! [`aggregate`] and [`rewards`] are pure functions over integers and fixed point, the same bits on every machine; the
//! ledger calls them. [`bft`] is the one place that names the block engine, Malachite; it knows the application only
//! through its trait [`bft::Executor`] and never what a transaction means.

pub mod aggregate;
pub mod bft;
pub mod rewards;

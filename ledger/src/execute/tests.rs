//! Blocks of transactions on [`crate::world::World`], by family.

mod admission;
mod conservation;
mod evidence;
mod governance;
mod proposals;
mod proxies;
mod registry;
mod scores;
mod stake;

//! Blocks of transactions on [`crate::world::World`], by family.

mod admission;
mod conservation;
mod evidence;
mod governance;
mod jail;
mod judgement;
mod price;
mod proposals;
mod proxies;
mod redelegation;
mod registry;
mod scores;
mod stake;
mod usage;

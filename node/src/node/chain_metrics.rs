//! What blocks did to validators and miners, as metrics: counters of the chain's events since the node started.

use std::sync::Arc;

use assay_ledger::Event;
use assay_primitives::AccountId;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::chain::Committed;

/// Labels are operator accounts: there are no more series than validators, each of which has staked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Validator {
    validator: String,
}

impl Validator {
    fn of(account: &AccountId) -> Self {
        Self { validator: account.to_string() }
    }
}

/// Counters of what happened in blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct ChainMetrics {
    reveals_missed: Family<Validator, Counter>,
    reveals_mismatched: Family<Validator, Counter>,
    validators_jailed: Family<Validator, Counter>,
    validators_unjailed: Family<Validator, Counter>,
    slashes: Counter,
    slashed_grains: Counter,
    miners_registered: Counter,
    miners_pruned: Counter,
}

impl ChainMetrics {
    /// Adds the counters to a registry, under `assay_chain_`.
    pub(super) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("assay_chain");
        let of_validators = [
            ("reveals_missed", "Commitments that were never opened", &self.reveals_missed),
            ("reveals_mismatched", "Reveals that did not open their commitment", &self.reveals_mismatched),
            ("validators_jailed", "Validators jailed for absence", &self.validators_jailed),
            ("validators_unjailed", "Validators let out of jail", &self.validators_unjailed),
        ];
        for (name, help, family) in of_validators {
            r.register(name, help, family.clone());
        }
        let counters = [
            ("slashes", "Slashes of validators and miners", &self.slashes),
            ("slashed_grains", "Money burned by slashes, in grain", &self.slashed_grains),
            ("miners_registered", "Miners that entered a market", &self.miners_registered),
            ("miners_pruned", "Miners whose place a newcomer took", &self.miners_pruned),
        ];
        for (name, help, counter) in counters {
            r.register(name, help, counter.clone());
        }
    }

    fn count(&self, event: &Event) {
        let of = |family: &Family<Validator, Counter>, account| {
            family.get_or_create(&Validator::of(account)).inc();
        };
        match event {
            Event::RevealMissed { validator, .. } => of(&self.reveals_missed, validator),
            Event::RevealMismatched { validator, .. } => of(&self.reveals_mismatched, validator),
            Event::ValidatorJailed { validator, .. } => of(&self.validators_jailed, validator),
            Event::ValidatorUnjailed { validator } => of(&self.validators_unjailed, validator),
            Event::Slashed { slash } => {
                self.slashes.inc();
                self.slashed_grains.inc_by(slash.amount.0);
            }
            Event::MinerRegistered { .. } => drop(self.miners_registered.inc()),
            Event::MinerPruned { .. } => drop(self.miners_pruned.inc()),
            _ => {}
        }
    }

    /// Counts until `stop`, and tells this validator what concerns it.
    pub(super) async fn watch(
        self,
        me: AccountId,
        mut committed: broadcast::Receiver<Arc<Committed>>,
        stop: CancellationToken,
    ) -> eyre::Result<()> {
        loop {
            let block = tokio::select! {
                block = committed.recv() => block,
                () = stop.cancelled() => return Ok(()),
            };
            match block {
                Ok(block) => block.events.iter().for_each(|event| {
                    self.count(event);
                    tell(&me, event);
                }),
                Err(broadcast::error::RecvError::Lagged(blocks)) => {
                    tracing::warn!(blocks, "events of blocks came faster than they were counted; metrics lack some");
                }
                Err(broadcast::error::RecvError::Closed) => {
                    stop.cancelled().await;
                    return Ok(());
                }
            }
        }
    }
}

/// What the operator of this node must know.
fn tell(me: &AccountId, event: &Event) {
    match event {
        Event::RevealMissed { validator, epoch, subnet, mismatches } if validator == me => {
            tracing::warn!(
                epoch,
                subnet,
                mismatches,
                "this validator did not open its commitment in time: no dividend"
            );
        }
        Event::ValidatorJailed { validator, missed, until } if validator == me => {
            tracing::error!(
                missed,
                until,
                "this validator is jailed for absence; run `assay validator unjail` from epoch {until} on"
            );
        }
        Event::MinerPruned { miner, subnet, .. } if miner == me => {
            tracing::error!(
                subnet,
                "a newcomer took this miner's place; what is left of its bond is on its way to its owner"
            );
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_primitives::Hash32;

    use super::*;

    #[test]
    fn events_about_validators_are_counted_by_validator() {
        let (metrics, mut registry) = (ChainMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let validator = AccountId([1; 32]);
        let (committed, found) = (Hash32::ZERO, Hash32([1; 32]));
        metrics.count(&Event::RevealMissed { epoch: 1, subnet: 1, validator, mismatches: 0 });
        metrics.count(&Event::RevealMissed { epoch: 2, subnet: 1, validator, mismatches: 0 });
        metrics.count(&Event::RevealMismatched { epoch: 1, subnet: 1, validator, committed, found });
        metrics.count(&Event::ValidatorJailed { validator, missed: 3, until: 9 });
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for (name, count) in [("reveals_missed", 2), ("reveals_mismatched", 1), ("validators_jailed", 1)] {
            let line = format!("assay_chain_{name}_total{{validator=\"{validator}\"}} {count}");
            assert!(text.contains(&line), "{line} is missing in {text}");
        }
    }
}

//! Counters of the roles.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        /// Counters of the roles, since the node started. Clones share them.
        #[derive(Clone, Debug, Default)]
        pub struct RoleMetrics {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }

        impl RoleMetrics {
            /// Adds the counters to a registry, under `assay_role_`.
            pub fn register(&self, registry: &mut Registry) {
                let registry = registry.sub_registry_with_prefix("assay_role");
                $(registry.register(stringify!($name), concat!($($doc),+).trim_ascii().trim_end_matches('.'), self.$name.clone());)+
            }
        }
    };
}

counters! {
    /// Asks that this miner answered.
    miner_answers;
    /// Asks that this miner refused.
    miner_refusals;
    /// Proofs that this miner made.
    miner_proofs;
    /// Challenges on chain that this miner answered.
    miner_challenges_answered;
    /// Tasks that this validator sent.
    validator_tasks;
    /// Valid signed answers that this validator received.
    validator_responses;
    /// Proofs that this validator verified.
    validator_proofs_verified;
    /// Proofs that did not hold, or were missing.
    validator_proofs_rejected;
    /// Refutations that this validator submitted.
    validator_refutations;
    /// Challenges that this validator submitted.
    validator_challenges;
    /// Challenged texts that this validator judged.
    validator_judgements;
    /// Score commitments that this validator submitted.
    validator_commits;
    /// Score reveals that this validator submitted.
    validator_reveals;
    /// Verified answers that this gateway handed out.
    gateway_answers;
    /// Miners' replies that this gateway did not hand out.
    gateway_rejections;
    /// Payments for texts that this gateway submitted.
    gateway_payments;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_shows_in_the_registry_and_clones_share_it() {
        let (metrics, mut registry) = (RoleMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        metrics.clone().miner_proofs.inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("assay_role_miner_proofs_total 1"), "{text}");
    }
}

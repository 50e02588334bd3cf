//! Counts and times of the roles.

use assay_inference::llm::Usage;
use prometheus_client::{
    metrics::{
        counter::Counter,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {
        /// Counts and times of the roles, since the node started. Clones share them.
        #[derive(Clone, Debug, Default)]
        pub struct RoleMetrics {
            $($(#[doc = $doc])+ pub $name: Counter,)+
            /// Times of the texts that this miner told.
            pub miner_texts: TextTimes,
        }

        impl RoleMetrics {
            /// Adds them to a registry, under `assay_role_`.
            pub fn register(&self, registry: &mut Registry) {
                let registry = registry.sub_registry_with_prefix("assay_role");
                $(registry.register(stringify!($name), concat!($($doc),+).trim_ascii().trim_end_matches('.'), self.$name.clone());)+
                self.miner_texts.register(registry);
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

/// How long the stages of a text took, from the arrival of what was asked. Clones share them.
#[derive(Clone, Debug)]
pub struct TextTimes {
    queued: Histogram,
    first: Histogram,
    whole: Histogram,
}

impl Default for TextTimes {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 18));
        Self { queued: seconds(), first: seconds(), whole: seconds() }
    }
}

impl TextTimes {
    fn register(&self, registry: &mut Registry) {
        let stages = [
            ("miner_text_queue_seconds", "Until the first step of a text", &self.queued),
            ("miner_text_first_token_seconds", "Until the first token of a text", &self.first),
            ("miner_text_seconds", "Until the end of a text", &self.whole),
        ];
        stages.into_iter().for_each(|(name, help, times)| registry.register(name, help, times.clone()));
    }

    /// Notes the times of one text.
    pub fn observe(&self, usage: &Usage) {
        self.queued.observe(usage.queued.as_secs_f64());
        self.first.observe(usage.first.as_secs_f64());
        self.whole.observe(usage.total.as_secs_f64());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

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

    #[test]
    fn the_stages_of_a_text_are_timed() {
        let (metrics, mut registry) = (RoleMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let [queued, first, total] = [2, 30, 500].map(Duration::from_millis);
        metrics.miner_texts.observe(&Usage { prompt: 3, cached: 0, completion: 5, queued, first, total });
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in ["queue_seconds_sum 0.002", "first_token_seconds_sum 0.03", "miner_text_seconds_sum 0.5"] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}

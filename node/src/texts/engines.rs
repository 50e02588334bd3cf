//! What engines do, as metrics: read off their counters when somebody looks.
//!
//! What vLLM has a name for, and the API has not counted on its side already, has that name.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use assay_inference::llm::Counters;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The label of a model's metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Model {
    model_name: String,
}

impl Model {
    /// Of a name, whatever it is: the encoder writes it as it comes.
    pub fn named(name: &str) -> Self {
        Self { model_name: name.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n") }
    }
}

/// Writes the metrics of engines, each under its model's name, to the end of a text in Prometheus' form, without the mark of
/// the end.
pub fn write_metrics<'a>(text: &mut String, engines: impl IntoIterator<Item = (String, &'a Counters)>) {
    type Read = fn(&Counters) -> &AtomicUsize;
    type Count = Family<Model, Counter<u64, AtomicU64>>;
    type Level = Family<Model, Gauge<f64, AtomicU64>>;

    let counts: [(&str, &str, Read, Count); 5] = [
        ("vllm:num_preemptions", "Answers that lost their pages to others", |c| &c.preemptions, Family::default()),
        ("assay_engine_prompt_tokens", "Tokens of prompts that were computed", |c| &c.prompt_tokens, Family::default()),
        (
            "assay_engine_cached_tokens",
            "Tokens of prompts that were computed before",
            |c| &c.cached_tokens,
            Family::default(),
        ),
        ("assay_engine_generated_tokens", "Tokens drawn", |c| &c.generated_tokens, Family::default()),
        ("assay_engine_steps", "Batches computed", |c| &c.steps, Family::default()),
    ];
    let levels: [(&str, &str, Read, Level); 2] = [
        ("assay_engine_waiting", "Sequences that wait for a place", |c| &c.waiting, Family::default()),
        (
            "assay_engine_running",
            "Sequences that have a place and are computed in turn",
            |c| &c.running,
            Family::default(),
        ),
    ];
    let used = Level::default();
    for (name, counters) in engines {
        let model = Model::named(&name);
        let read = |what: &AtomicUsize| what.load(Ordering::Relaxed) as u64;
        for (_, _, of, family) in &counts {
            family.get_or_create(&model).inc_by(read(of(counters)));
        }
        for (_, _, of, family) in &levels {
            family.get_or_create(&model).set(read(of(counters)) as f64);
        }
        let share = read(&counters.pages_used) as f64 / read(&counters.pages).max(1) as f64;
        used.get_or_create(&model).set(share);
    }
    let mut registry = Registry::default();
    registry.register("vllm:kv_cache_usage_perc", "Share of the pages for keys and values that is used", used);
    counts.into_iter().for_each(|(name, help, _, family)| registry.register(name, help, family));
    levels.into_iter().for_each(|(name, help, _, family)| registry.register(name, help, family));
    // Writing to a String fails only if an encoder does; what is missing then shows in the text itself.
    let _ = prometheus_client::encoding::text::encode_registry(text, &registry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_shows_what_it_does_under_its_models_name() {
        let busy = Counters { pages: 8.into(), pages_used: 2.into(), preemptions: 3.into(), ..Counters::default() };
        let idle = Counters { generated_tokens: 7.into(), waiting: 1.into(), ..Counters::default() };
        let mut text = String::new();
        write_metrics(&mut text, [("a \"quoted\" one".to_owned(), &busy), ("idle".to_owned(), &idle)]);
        for line in [
            "vllm:kv_cache_usage_perc{model_name=\"a \\\"quoted\\\" one\"} 0.25",
            "vllm:kv_cache_usage_perc{model_name=\"idle\"} 0.0",
            "vllm:num_preemptions_total{model_name=\"a \\\"quoted\\\" one\"} 3",
            "assay_engine_generated_tokens_total{model_name=\"idle\"} 7",
            "assay_engine_waiting{model_name=\"idle\"} 1.0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("# EOF"));
    }
}

//! What the network's gateway counts and times, and its queue.

use std::sync::{Arc, atomic::AtomicI64};

use prometheus_client::{
    metrics::{gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers that may wait while every miner is busy.
const QUEUE: usize = 1024;
/// Bounds of the overhead's buckets, in seconds.
const OVERHEAD: [f64; 14] = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0];

#[derive(Debug)]
pub(super) struct Measures {
    registry: Registry,
    /// From a request's arrival to its answer's end, less what the miner's engine took.
    pub(super) overhead: Histogram,
    waiting: Gauge<i64, AtomicI64>,
    places: Arc<Semaphore>,
}

/// A place in the queue, until it is dropped.
pub(super) struct Place {
    waiting: Gauge<i64, AtomicI64>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.dec();
    }
}

impl Measures {
    pub(super) fn new() -> Self {
        let (overhead, waiting) = (Histogram::new(OVERHEAD), Gauge::default());
        let mut registry = Registry::default();
        registry.register(
            "assay_gateway_overhead_seconds",
            "From a request to its answer's end, less what the engine of its miner took",
            overhead.clone(),
        );
        registry.register("assay_gateway_queue", "Answers that wait while every miner is busy", Gauge::clone(&waiting));
        Self { registry, overhead, waiting, places: Arc::new(Semaphore::new(QUEUE)) }
    }

    /// A place in the queue; `None` if it is full.
    pub(super) fn queue(&self) -> Option<Place> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.waiting.inc();
        Some(Place { waiting: self.waiting.clone(), _place: place })
    }

    /// Writes all to the end of a text in Prometheus' form, without the mark of its end.
    pub(super) fn encode(&self, text: &mut String) {
        // Writing to a String fails only if an encoder does; what is missing then shows in the text itself.
        let _ = prometheus_client::encoding::text::encode_registry(text, &self.registry);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_has_an_end_and_shows_in_the_metrics() {
        let measures = Measures::new();
        let places: Vec<_> = (0..QUEUE).map(|_| measures.queue().unwrap()).collect();
        assert!(measures.queue().is_none());
        let shown = || {
            let mut text = String::new();
            measures.encode(&mut text);
            text
        };
        assert!(shown().contains("assay_gateway_queue 1024"), "{}", shown());
        drop(places);
        assert!(shown().contains("assay_gateway_queue 0"));
        assert!(measures.queue().is_some());
    }
}

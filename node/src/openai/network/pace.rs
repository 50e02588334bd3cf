//! For how long tokens of an answer wait for more: the longer, the more answers are streamed.
//!
//! What comes from a miner at once costs a gateway about as much with ten tokens as with one. A gateway that passes on each token
//! of two hundred texts by itself is busy with that whenever one of them ends, and the end comes late.

use std::sync::Arc;

/// Tokens of an answer that is read as it comes may wait so long, in milliseconds: nobody reads faster.
const SMOOTH_MS: u16 = 40;
/// However many are streamed, they wait no longer: five times a second a text still flows.
const LONGEST_MS: u16 = 200;
/// Those of an answer that is given as a whole; not so long that the miner seems silent, and little is lost with it.
const WHOLE_MS: u16 = 200;

/// The answers of one gateway that are streamed, or wait to be: each holds it, too.
#[derive(Debug, Default)]
pub(super) struct Pace(Arc<()>);

/// For how long tokens of one answer wait, until it is dropped.
#[derive(Debug)]
pub(super) struct Wait {
    ms: u16,
    /// It counts among those that are streamed while it has this.
    _stream: Option<Arc<()>>,
}

impl Pace {
    /// The wait of one more answer, which stays as it is: a millisecond for each that is streamed by now, so that the tokens of 40
    /// to 200 come about a thousand times a second.
    pub(super) fn wait(&self, stream: bool) -> Wait {
        if !stream {
            return Wait { ms: WHOLE_MS, _stream: None };
        }
        let stream = Arc::clone(&self.0);
        let streams = u16::try_from(Arc::strong_count(&stream) - 1).unwrap_or(u16::MAX);
        Wait { ms: streams.clamp(SMOOTH_MS, LONGEST_MS), _stream: Some(stream) }
    }
}

impl Wait {
    pub(super) fn ms(&self) -> u16 {
        self.ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_are_streamed_the_longer_their_tokens_wait_within_bounds() {
        let pace = Pace::default();
        let begin = |count: usize| -> Vec<Wait> { (0..count).map(|_| pace.wait(true)).collect() };
        let few = begin(40);
        assert!(few.iter().all(|w| w.ms() == SMOOTH_MS));
        let whole: Vec<Wait> = (0..500).map(|_| pace.wait(false)).collect();
        assert!(whole.iter().all(|w| w.ms() == WHOLE_MS));
        let more = begin(60);
        assert_eq!(more.last().map(Wait::ms), Some(100), "those that are given as a whole do not count");
        let crowd = begin(70_000);
        assert_eq!(crowd.last().map(Wait::ms), Some(LONGEST_MS));
        drop((few, whole, more, crowd));
        assert_eq!(pace.wait(true).ms(), SMOOTH_MS);
    }
}

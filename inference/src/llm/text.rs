//! Tokens to text, as they come.

use std::sync::Arc;

use tokenizers::{Tokenizer, step_decode_stream};

use crate::guard::guarded;

/// Turns one sequence's tokens into pieces of text, and ends it at a stop string.
///
/// A token may end in the middle of a character, and text may end in the middle of a stop string: such text is held
/// back until it is clear what it is.
#[derive(Debug)]
pub struct TextStream {
    tokenizer: Arc<Tokenizer>,
    stops: Vec<String>,
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
    held: String,
}

/// What a token brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Text, perhaps none.
    Text(String),
    /// The text up to a stop string, and the string.
    Stop(String, String),
}

impl TextStream {
    /// A stream at its beginning.
    pub fn new(tokenizer: Arc<Tokenizer>, stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|s| !s.is_empty()).collect();
        Self { tokenizer, stops, ids: Vec::new(), prefix: String::new(), prefix_index: 0, held: String::new() }
    }

    /// Takes the next token.
    pub fn push(&mut self, token: u32) -> Step {
        let (ids, prefix, index) = (&mut self.ids, &mut self.prefix, &mut self.prefix_index);
        match guarded(|| step_decode_stream(&self.tokenizer, vec![token], true, ids, prefix, index)) {
            Ok(Ok(Some(text))) => self.held.push_str(&text),
            Ok(Ok(None)) => {}
            Ok(Err(_)) | Err(_) => {
                // The decoder changed its mind about earlier text: start anew from this token.
                (self.ids, self.prefix_index) = (vec![token], 0);
                self.prefix.clear();
            }
        }
        let found = self.stops.iter().filter_map(|s| Some((self.held.find(s)?, s))).min();
        if let Some((at, stop)) = found {
            return Step::Stop(self.held[..at].to_owned(), stop.clone());
        }
        let keep = self.stops.iter().map(|s| overlap(&self.held, s)).max().unwrap_or(0);
        let free = self.held.len() - keep;
        Step::Text(self.held.drain(..free).collect())
    }

    /// What is held back, at the end: with what of a character there is.
    pub fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        if let Ok(Ok(all)) = guarded(|| self.tokenizer.decode(&self.ids, true))
            && let Some(rest) = all.strip_prefix(&self.prefix)
        {
            text.push_str(rest);
        }
        text
    }
}

/// Bytes of the longest end of `text` that begins `stop`, less than all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let ends = stop.char_indices().map(|(i, _)| i).skip(1).filter(|n| *n <= text.len());
    ends.filter(|n| text.ends_with(&stop[..*n])).max().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_of_a_stop_string_is_held_back() {
        assert_eq!(overlap("abc", "cde"), 1);
        assert_eq!(overlap("abcd", "cde"), 2);
        assert_eq!(overlap("abcde", "cde"), 0);
        assert_eq!(overlap("a", "xyz"), 0);
        assert_eq!(overlap("né", "éa"), 2);
    }
}

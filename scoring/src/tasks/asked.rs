//! What was asked before.

use std::collections::{BTreeSet, VecDeque};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::text::Reading;

/// Prompts that a validator asked, by hash; it survives restarts as bytes. Beyond its capacity the oldest is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    order: VecDeque<[u8; 16]>,
    known: BTreeSet<[u8; 16]>,
    capacity: usize,
}

impl Default for Asked {
    /// Remembers a million prompts: 16 MB as bytes.
    fn default() -> Self {
        Self::with_capacity(1_000_000)
    }
}

impl Asked {
    /// Remembers so many prompts; at least one.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { order: VecDeque::new(), known: BTreeSet::new(), capacity: capacity.max(1) }
    }

    /// Remembers a prompt; false if it is known, whatever its case, marks and blanks.
    pub fn add(&mut self, prompt: &str) -> bool {
        let words: Vec<String> = Reading::new(prompt).tokens;
        let hash = assay_primitives::Hash32::digest(words.join(" ").as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hash.0[..16]);
        self.insert(key)
    }

    fn insert(&mut self, key: [u8; 16]) -> bool {
        if !self.known.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Prompts that are remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl BorshSerialize for Asked {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        (self.capacity as u64, self.order.iter().copied().collect::<Vec<_>>()).serialize(writer)
    }
}

impl BorshDeserialize for Asked {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let (capacity, keys) = <(u64, Vec<[u8; 16]>)>::deserialize_reader(reader)?;
        let mut asked = Self::with_capacity(usize::try_from(capacity).unwrap_or(usize::MAX));
        for key in keys {
            asked.insert(key);
        }
        Ok(asked)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_new_once_whatever_its_case_and_blanks() {
        let mut asked = Asked::default();
        assert!(asked.add("What is 1 + 2?") && !asked.add("what  IS 1 + 2?") && asked.add("What is 1 - 2?"));
    }

    #[test]
    fn the_oldest_is_forgotten_and_the_rest_survives_as_bytes() {
        let mut asked = Asked::with_capacity(2);
        assert!(asked.add("a") && asked.add("b") && asked.add("c"));
        assert_eq!(asked.len(), 2);
        let mut again: Asked = borsh::from_slice(&borsh::to_vec(&asked).unwrap()).unwrap();
        assert_eq!(asked, again);
        assert!(!again.add("c") && again.add("a"));
    }
}

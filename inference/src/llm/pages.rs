//! Which sequence has which pages, and which full pages are kept for those that begin alike.
//!
//! A full page is known by a hash of everything its keys and values depend on: the adapter, all tokens up to its end,
//! by a chain over the pages. A sequence that begins with the same pages takes them instead of computing them. Pages
//! that nobody uses stay until room is needed; the least recently used goes first, and of a chain the end before the
//! beginning.

use std::collections::{BTreeMap, HashMap};

use super::arena::{Arena, PAGE, PageId};

/// A page's content, by hash.
pub(crate) type Key = [u8; 32];

/// The chain's beginning for sequences under an adapter, or none.
pub(crate) fn root(adapter: Option<&blake3::Hash>) -> Key {
    blake3::derive_key("assay prefix cache v1", adapter.map_or(b"" as &[u8], |digest| digest.as_bytes()))
}

/// The key of a page of tokens after another.
pub(crate) fn next(before: &Key, tokens: &[u32]) -> Key {
    debug_assert_eq!(tokens.len(), PAGE, "only full pages have keys");
    let mut hasher = blake3::Hasher::new_keyed(before);
    tokens.iter().for_each(|t| {
        hasher.update(&t.to_le_bytes());
    });
    *hasher.finalize().as_bytes()
}

#[derive(Debug)]
struct Cached {
    key: Key,
    users: u32,
    /// Its place in the order of eviction, while it has no users.
    since: u64,
}

/// The arena with its cache.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) arena: Arena,
    by_key: HashMap<Key, PageId>,
    cached: HashMap<PageId, Cached>,
    unused: BTreeMap<u64, PageId>,
    clock: u64,
}

impl Pages {
    /// All pages of an arena, none of them used.
    pub(crate) fn new(arena: Arena) -> Self {
        Self { arena, by_key: HashMap::new(), cached: HashMap::new(), unused: BTreeMap::new(), clock: 0 }
    }

    /// Pages that could be taken now.
    pub(crate) fn available(&self) -> usize {
        self.arena.free() + self.unused.len()
    }

    /// Pages that sequences use.
    pub(crate) fn used(&self) -> usize {
        self.arena.pages() - self.available()
    }

    /// Takes a page to write to, evicting the least recently used if need be.
    pub(crate) fn take(&mut self) -> Option<PageId> {
        self.arena.take().or_else(|| {
            let (_, page) = self.unused.pop_first()?;
            let cached = self.cached.remove(&page)?;
            self.by_key.remove(&cached.key);
            Some(page)
        })
    }

    /// Takes the cached pages of a chain, as many from its beginning as there are.
    pub(crate) fn take_cached(&mut self, chain: &[Key]) -> Vec<PageId> {
        let mut taken = Vec::new();
        for key in chain {
            let Some(page) = self.by_key.get(key).copied() else { break };
            let cached = self.cached.get_mut(&page).expect("pages with keys are cached");
            if cached.users == 0 {
                self.unused.remove(&cached.since);
            }
            cached.users += 1;
            taken.push(page);
        }
        taken
    }

    /// How many of a chain's pages are cached, from its beginning.
    pub(crate) fn count_cached(&self, chain: &[Key]) -> usize {
        chain.iter().take_while(|k| self.by_key.contains_key(*k)).count()
    }

    /// Makes a page that has become full known under its key; its owner goes on using it. Where another page is known
    /// under that key already, this one stays its owner's alone.
    pub(crate) fn publish(&mut self, page: PageId, key: Key) {
        if self.by_key.contains_key(&key) || self.cached.contains_key(&page) {
            return;
        }
        self.by_key.insert(key, page);
        self.cached.insert(page, Cached { key, users: 1, since: 0 });
    }

    /// Gives a sequence's pages back, in the order of its positions.
    pub(crate) fn release(&mut self, pages: &[PageId]) {
        // The end first, so that it is evicted before what it hangs on.
        for page in pages.iter().rev() {
            let Some(cached) = self.cached.get_mut(page) else {
                self.arena.give(*page);
                continue;
            };
            cached.users -= 1;
            if cached.users == 0 {
                self.clock += 1;
                cached.since = self.clock;
                self.unused.insert(self.clock, *page);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::{super::arena::KvForm, *};

    fn pages(n: usize) -> Pages {
        Pages::new(Arena::new(KvForm::F16, n, 1, 1, 16))
    }

    fn chain(seed: u32, n: usize) -> Vec<Key> {
        let mut key = root(None);
        (0..n)
            .map(|i| {
                key = next(&key, &[seed.wrapping_add(i as u32); PAGE]);
                key
            })
            .collect()
    }

    #[test]
    fn what_was_published_is_found_by_who_begins_alike() {
        let mut p = pages(4);
        let keys = chain(0, 3);
        let mine: Vec<PageId> = (0..2).map(|_| p.take().unwrap()).collect();
        mine.iter().zip(&keys).for_each(|(page, key)| p.publish(*page, *key));
        p.release(&mine);
        assert_eq!((p.available(), p.used()), (4, 0));
        assert_eq!(p.take_cached(&keys), mine);
        assert_eq!(p.used(), 2);
        assert!(p.take_cached(&chain(1, 3)).is_empty());
        assert_ne!(root(None), root(Some(&blake3::hash(b"a"))));
    }

    #[test]
    fn the_end_of_a_chain_is_evicted_before_its_beginning() {
        let mut p = pages(3);
        let keys = chain(0, 3);
        let mine: Vec<PageId> = (0..3).map(|_| p.take().unwrap()).collect();
        mine.iter().zip(&keys).for_each(|(page, key)| p.publish(*page, *key));
        assert_eq!(p.take(), None);
        p.release(&mine);
        assert_eq!(p.take(), Some(mine[2]));
        assert_eq!(p.count_cached(&keys), 2);
    }

    proptest! {
        #[test]
        fn no_page_is_lost_or_had_twice(steps in proptest::collection::vec((0u8..4, 0u32..4, 1usize..5), 1..200)) {
            let mut p = pages(8);
            // Sequences: pages with the chain they stand for.
            let mut sequences: Vec<(Vec<PageId>, Vec<Key>)> = Vec::new();
            for (what, seed, n) in steps {
                match what {
                    0 | 1 => {
                        let keys = chain(seed, n);
                        let mut mine = p.take_cached(&keys);
                        while mine.len() < n {
                            let Some(page) = p.take() else { break };
                            p.publish(page, keys[mine.len()]);
                            mine.push(page);
                        }
                        sequences.push((mine, keys));
                    }
                    _ if !sequences.is_empty() => {
                        let (mine, _) = sequences.remove(seed as usize % sequences.len());
                        p.release(&mine);
                    }
                    _ => {}
                }
                let mut held: Vec<PageId> = sequences.iter().flat_map(|(m, _)| m).copied().collect();
                held.sort_unstable();
                held.dedup();
                prop_assert_eq!(held.len(), p.used());
                prop_assert_eq!(p.used() + p.available(), 8);
                // One page, one content: where two sequences hold a page, it stands for the same.
                for (a, keys_a) in &sequences {
                    for (b, keys_b) in &sequences {
                        for (i, page) in a.iter().enumerate() {
                            if let Some(j) = b.iter().position(|x| x == page) {
                                prop_assert_eq!(keys_a[i], keys_b[j]);
                            }
                        }
                    }
                }
            }
        }
    }
}

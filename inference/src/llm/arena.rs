//! Keys and values of all sequences, in pages.
//!
//! The arena is made once, of as many *pages* as fit the memory given to it. A page holds the keys and values of
//! [`PAGE`] consecutive positions of one sequence, in all layers. A sequence owns a list of pages; full pages may be
//! shared by sequences that begin with the same tokens (see `prefix`).
//!
//! For a layer and a head the memory is `[page][2][head size][16]` values: keys by dimension, so that sixteen positions'
//! scores are sixteen lanes; values by position, so that sixteen dimensions are. A head size that is no multiple of
//! sixteen is padded with zeros.

use super::lanes::{LANES, Lanes};

/// Positions in a page.
pub(crate) const PAGE: usize = LANES;

/// A page's number.
pub(crate) type PageId = u32;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvForm {
    /// Single precision.
    F32,
    /// Half precision: half the memory, and a little less exact.
    F16,
}

/// What a key or value is kept as.
pub(crate) trait Element: Copy + Send + Sync + Default {
    /// Sixteen of them as lanes.
    fn lanes<L: Lanes>(l: L, from: &[Self; LANES]) -> L::F;
    /// Sixteen lanes, each rounded to what is kept.
    fn keep<L: Lanes>(l: L, x: L::F) -> [Self; LANES];
}

impl Element for f32 {
    #[inline(always)]
    fn lanes<L: Lanes>(l: L, from: &[f32; LANES]) -> L::F {
        l.load(from)
    }
    #[inline(always)]
    fn keep<L: Lanes>(l: L, x: L::F) -> [f32; LANES] {
        let mut kept = [0.0; LANES];
        l.store(x, &mut kept);
        kept
    }
}

impl Element for u16 {
    #[inline(always)]
    fn lanes<L: Lanes>(l: L, from: &[u16; LANES]) -> L::F {
        l.load_half(from)
    }
    #[inline(always)]
    fn keep<L: Lanes>(l: L, x: L::F) -> [u16; LANES] {
        // Beyond half precision's range the largest value it has, rather than infinity.
        let x = l.min(l.splat(65504.0), l.max(l.splat(-65504.0), x));
        let mut kept = [0; LANES];
        l.store_half(x, &mut kept);
        kept
    }
}

/// One head's keys and values in one layer.
#[derive(Debug)]
pub(crate) struct Head<E> {
    values: Vec<E>,
    /// Head size, padded.
    dims: usize,
}

impl<E: Element> Head<E> {
    /// Keys of a page: `[dims][16 positions]`.
    #[inline(always)]
    pub(crate) fn keys(&self, page: PageId) -> &[[E; LANES]] {
        let size = self.dims * PAGE;
        self.values[page as usize * 2 * size..][..size].as_chunks().0
    }

    /// Values of a page: `[16 positions][dims]`.
    #[inline(always)]
    pub(crate) fn values(&self, page: PageId) -> &[[E; LANES]] {
        let size = self.dims * PAGE;
        self.values[(page as usize * 2 + 1) * size..][..size].as_chunks().0
    }

    /// Puts a position's key and value; both as long as the head, padded with zeros.
    #[inline(always)]
    pub(crate) fn put<L: Lanes>(&mut self, l: L, page: PageId, slot: usize, key: &[f32], value: &[f32]) {
        let size = self.dims * PAGE;
        let (keys, values) = self.values[page as usize * 2 * size..][..2 * size].split_at_mut(size);
        let keys = keys.as_chunks_mut::<PAGE>().0;
        for (keys, key) in keys.chunks_exact_mut(LANES).zip(key.as_chunks().0) {
            for (keys, key) in keys.iter_mut().zip(E::keep(l, l.load(key))) {
                keys[slot] = key;
            }
        }
        let values = values[slot * self.dims..][..self.dims].as_chunks_mut().0;
        for (to, value) in values.iter_mut().zip(value.as_chunks().0) {
            *to = E::keep(l, l.load(value));
        }
    }

    /// Head size, padded.
    pub(crate) fn dims(&self) -> usize {
        self.dims
    }
}

/// One layer's heads.
pub(crate) type Heads<E> = Vec<Head<E>>;

/// All layers, in one of the forms.
#[derive(Debug)]
pub(crate) enum Layers {
    /// Single precision.
    F32(Vec<Heads<f32>>),
    /// Half precision.
    F16(Vec<Heads<u16>>),
}

/// Pages and who has them.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) layers: Layers,
    free: Vec<PageId>,
    pages: usize,
}

/// Bytes of a page.
pub(crate) fn page_bytes(form: KvForm, layers: usize, kv_heads: usize, head_dim: usize) -> u64 {
    let element = if form == KvForm::F32 { 4 } else { 2 };
    (layers * kv_heads * 2 * head_dim.next_multiple_of(LANES) * PAGE * element) as u64
}

impl Arena {
    /// An arena of `pages` pages, all free.
    pub(crate) fn new(form: KvForm, pages: usize, layers: usize, kv_heads: usize, head_dim: usize) -> Self {
        fn heads<E: Element>(pages: usize, layers: usize, kv_heads: usize, dims: usize) -> Vec<Heads<E>> {
            let head = || Head { values: vec![E::default(); pages * 2 * dims * PAGE], dims };
            (0..layers).map(|_| (0..kv_heads).map(|_| head()).collect()).collect()
        }
        let dims = head_dim.next_multiple_of(LANES);
        let layers = match form {
            KvForm::F32 => Layers::F32(heads(pages, layers, kv_heads, dims)),
            KvForm::F16 => Layers::F16(heads(pages, layers, kv_heads, dims)),
        };
        // The lowest number is given out first.
        let free = (0..u32::try_from(pages).expect("fewer pages than 2^32")).rev().collect();
        Self { layers, free, pages }
    }

    /// Pages in all.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Pages that nobody has.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a page.
    pub(crate) fn take(&mut self) -> Option<PageId> {
        self.free.pop()
    }

    /// Gives a page back.
    pub(crate) fn give(&mut self, page: PageId) {
        debug_assert!(!self.free.contains(&page), "page {page} was given back twice");
        self.free.push(page);
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;
    use crate::llm::lanes::{Kernel, Level};

    struct Halves([f32; LANES]);

    impl Kernel for Halves {
        type Output = [u16; LANES];

        #[inline(always)]
        fn with<L: Lanes>(self, l: L) -> [u16; LANES] {
            u16::keep(l, l.load(&self.0))
        }
    }

    #[test]
    fn what_is_beyond_half_precision_is_its_largest_value() {
        let values = [
            0.0,
            -0.0,
            1.0,
            65504.0,
            65519.0,
            65520.0,
            1e30,
            -1e30,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            6e-8,
            2e-8,
            -3e-5,
            f32::MIN_POSITIVE,
            0.1,
        ];
        for level in Level::all() {
            let expected = values.map(|x| f16::from_f32(x.clamp(-65504.0, 65504.0)).to_bits());
            assert_eq!(level.run(Halves(values)), expected, "{level:?}");
        }
    }

    proptest! {
        #[test]
        fn halves_are_rounded_to_the_nearest(values in proptest::array::uniform16(-7e4f32..7e4)) {
            for level in Level::all() {
                let expected = values.map(|x| f16::from_f32(x.clamp(-65504.0, 65504.0)).to_bits());
                prop_assert_eq!(level.run(Halves(values)), expected);
            }
        }
    }
}

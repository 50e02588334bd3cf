//! The transcript that turns the conversation into a proof: who sends is absorbed, challenges are squeezed.

use p3_blake3::Blake3;
use p3_challenger::{CanObserve, FieldChallenger, HashChallenger, SerializingChallenger64};
use p3_symmetric::Hash;

use super::{Base, Ext};

/// The sponge below: bytes into BLAKE3, field elements by rejection sampling from it.
pub(super) type Challenger = SerializingChallenger64<Base, HashChallenger<u8, Blake3, 32>>;

/// What both sides have said so far.
///
/// Nothing here separates one value from the next: the protocol fixes how many there are, or absorbs their number.
/// Bytes of any length are safe, as their digest is absorbed.
#[derive(Debug, Clone)]
pub struct Transcript {
    pub(super) challenger: Challenger,
}

impl Transcript {
    /// A transcript for `domain`, a name that no other protocol uses.
    pub fn new(domain: &str) -> Self {
        let mut transcript = Self { challenger: Challenger::new(HashChallenger::new(Vec::new(), Blake3)) };
        transcript.absorb_bytes(domain.as_bytes());
        transcript
    }

    /// Absorbs bytes of any length.
    pub fn absorb_bytes(&mut self, bytes: &[u8]) {
        self.challenger.observe(Hash::<Base, u8, 32>::from(*blake3::hash(bytes).as_bytes()));
    }

    /// Absorbs field elements.
    pub fn absorb_base(&mut self, values: &[Base]) {
        self.challenger.observe_slice(values);
    }

    /// Absorbs elements of the extension.
    pub fn absorb_ext(&mut self, values: &[Ext]) {
        for value in values {
            self.challenger.observe_algebra_element(*value);
        }
    }

    /// A challenge that depends on everything absorbed.
    pub fn challenge(&mut self) -> Ext {
        self.challenger.sample_algebra_element()
    }

    /// `n` of them.
    pub fn challenges(&mut self, n: usize) -> Vec<Ext> {
        (0..n).map(|_| self.challenge()).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use p3_field::PrimeCharacteristicRing;

    use super::*;

    fn first(domain: &str, said: impl FnOnce(&mut Transcript)) -> Ext {
        let mut transcript = Transcript::new(domain);
        said(&mut transcript);
        transcript.challenge()
    }

    #[test]
    fn a_challenge_depends_on_the_domain_and_on_everything_absorbed() {
        let plain = first("a", |_| ());
        assert_eq!(plain, first("a", |_| ()));
        assert_ne!(plain, first("b", |_| ()));
        assert_ne!(plain, first("a", |t| t.absorb_bytes(b"")));
        assert_ne!(first("a", |t| t.absorb_bytes(b"xy")), first("a", |t| t.absorb_bytes(b"xz")));
        assert_ne!(first("a", |t| t.absorb_base(&[Base::ONE])), first("a", |t| t.absorb_base(&[Base::TWO])));
        assert_ne!(first("a", |t| t.absorb_ext(&[Ext::ONE])), first("a", |t| t.absorb_ext(&[Ext::TWO])));
    }

    #[test]
    fn challenges_do_not_repeat() {
        let challenges = Transcript::new("a").challenges(100);
        for (i, a) in challenges.iter().enumerate() {
            assert!(!challenges[..i].contains(a));
        }
    }
}

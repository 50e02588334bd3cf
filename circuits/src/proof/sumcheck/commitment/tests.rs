//! A commitment is complete, binds, and refuses every altered opening.

use p3_field::{BasedVectorSpace, PrimeCharacteristicRing};
use proptest::prelude::*;

use super::*;

/// Random numbers from a seed: the same on every machine.
struct Seed(u64);

impl Seed {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn base(&mut self) -> Base {
        Base::from_u64(self.next())
    }

    fn ext(&mut self) -> Ext {
        Ext::from_basis_coefficients_fn(|_| self.base())
    }
}

/// The value of a block at a point, by its definition.
fn evaluate(cells: &[Base], point: &[Ext]) -> Ext {
    let mut folded: Vec<Ext> = cells.iter().map(|c| Ext::from(*c)).collect();
    for coordinate in point {
        let (low, high) = folded.split_at(folded.len() / 2);
        folded = low.iter().zip(high).map(|(l, h)| *l + *coordinate * (*h - *l)).collect();
    }
    folded[0]
}

struct Case {
    stack: Stack,
    committed: Committed,
    claims: Vec<Claim>,
}

impl Case {
    fn new(sizes: &[usize], claims: usize, seed: u64) -> Self {
        let mut seed = Seed(seed);
        let stack = Stack::new(sizes).unwrap();
        let blocks: Vec<Vec<Base>> = sizes.iter().map(|n| (0..1 << n).map(|_| seed.base()).collect()).collect();
        let claims = (0..claims)
            .map(|_| {
                let block = seed.below(sizes.len());
                let point: Vec<Ext> = (0..sizes[block]).map(|_| seed.ext()).collect();
                let value = evaluate(&blocks[block], &point);
                Claim { block, point, value }
            })
            .collect();
        let committed = stack.commit(blocks).unwrap();
        Self { stack, committed, claims }
    }

    fn open(&self) -> Vec<u8> {
        self.stack.open(&self.committed, &self.claims, &mut Transcript::new("test")).unwrap().to_bytes()
    }

    fn verify(&self, bytes: &[u8]) -> Result<(), OpeningError> {
        self.verify_for(&self.committed.commitment(), &self.claims, bytes)
    }

    fn verify_for(&self, commitment: &Commitment, claims: &[Claim], bytes: &[u8]) -> Result<(), OpeningError> {
        let opening = Opening::from_bytes(bytes, &self.stack)?;
        self.stack.verify(commitment, claims, &opening, &mut Transcript::new("test"))
    }
}

#[test]
fn true_claims_on_blocks_of_any_sizes_verify() {
    for (seed, sizes) in [
        &[0][..],
        &[0, 0, 0],
        &[3],
        &[8],
        &[9, 2, 5, 0],
        &[10],
        &[10, 10, 10],
        &[11, 4],
        &[12, 12, 3, 3, 7],
        &[13],
        &[14, 1],
    ]
    .into_iter()
    .enumerate()
    {
        for claims in [1, 2, 7] {
            let case = Case::new(sizes, claims, seed as u64);
            assert_eq!(case.verify(&case.open()), Ok(()), "{sizes:?}, {claims} claims");
        }
    }
}

#[test]
fn prover_and_verifier_leave_the_transcript_in_the_same_state() {
    let case = Case::new(&[9, 6], 3, 1);
    let (mut proving, mut verifying) = (Transcript::new("test"), Transcript::new("test"));
    let opening = case.stack.open(&case.committed, &case.claims, &mut proving).unwrap();
    case.stack.verify(&case.committed.commitment(), &case.claims, &opening, &mut verifying).unwrap();
    assert_eq!(proving.challenge(), verifying.challenge());
}

#[test]
fn a_commitment_is_opened_again_and_again() {
    let case = Case::new(&[9], 1, 2);
    let commitment = case.committed.commitment();
    for seed in 0..3 {
        let mut seed = Seed(seed);
        let point: Vec<Ext> = (0..9).map(|_| seed.ext()).collect();
        let value = evaluate(case.committed.block(0), &point);
        let claims = [Claim { block: 0, point, value }];
        let opening = case.stack.open(&case.committed, &claims, &mut Transcript::new("again")).unwrap();
        assert_eq!(case.stack.verify(&commitment, &claims, &opening, &mut Transcript::new("again")), Ok(()));
    }
}

#[test]
fn the_same_cells_give_the_same_commitment_and_others_another() {
    let one = Case::new(&[9, 3], 1, 3).committed.commitment();
    assert_eq!(one, Case::new(&[9, 3], 1, 3).committed.commitment());
    assert_ne!(one, Case::new(&[9, 3], 1, 4).committed.commitment());
}

#[test]
fn the_commitment_to_weights_is_pinned() {
    let weights = [vec![1, -2, 3], vec![127; 300], vec![]];
    assert_eq!(
        blake3::Hash::from_bytes(weight_commitment(&weights).unwrap()).to_hex().as_str(),
        "b37db5b8a27fa8ed2a20138ab95f4410a1b7333ed86ea248d781a40a712a98ae"
    );
    assert_ne!(weight_commitment(&weights), weight_commitment(&[vec![1, -2, 4], vec![127; 300], vec![]]));
    assert!(weight_commitment(&[]).is_ok());
}

#[test]
fn an_untrue_value_does_not_verify_even_when_the_prover_insists() {
    let mut case = Case::new(&[9, 5], 4, 5);
    for at in 0..case.claims.len() {
        case.claims[at].value += Ext::ONE;
        assert!(matches!(case.verify(&case.open()), Err(OpeningError::Invalid(_))));
        case.claims[at].value -= Ext::ONE;
    }
    assert_eq!(case.verify(&case.open()), Ok(()));
}

#[test]
fn an_opening_is_for_its_commitment_claims_and_transcript_only() {
    let case = Case::new(&[9, 5], 2, 6);
    let bytes = case.open();
    let commitment = case.committed.commitment();
    let other = Case::new(&[9, 5], 2, 7);
    assert!(case.verify_for(&other.committed.commitment(), &case.claims, &bytes).is_err());
    assert!(case.verify_for(&commitment, &other.claims, &bytes).is_err());
    assert!(case.verify_for(&commitment, &case.claims[..1], &bytes).is_err());
    for change in 0..3 {
        let mut claims = case.claims.clone();
        match change {
            0 => claims[0].value += Ext::ONE,
            1 => claims[0].point[0] += Ext::ONE,
            _ => claims.push(claims[0].clone()),
        }
        assert!(case.verify_for(&commitment, &claims, &bytes).is_err());
    }
    let opening = Opening::from_bytes(&bytes, &case.stack).unwrap();
    let mut elsewhere = Transcript::new("elsewhere");
    assert!(case.stack.verify(&commitment, &case.claims, &opening, &mut elsewhere).is_err());
}

#[test]
fn claims_that_do_not_fit_the_stack_are_refused() {
    let case = Case::new(&[9, 5], 1, 8);
    let opening = Opening::from_bytes(&case.open(), &case.stack).unwrap();
    let point = vec![Ext::ZERO; 5];
    let bad = [
        vec![],
        vec![Claim { block: 2, point: point.clone(), value: Ext::ZERO }],
        vec![Claim { block: 0, point, value: Ext::ZERO }],
    ];
    for claims in bad {
        assert!(case.stack.open(&case.committed, &claims, &mut Transcript::new("test")).is_err());
        let refused = case.stack.verify(&case.committed.commitment(), &claims, &opening, &mut Transcript::new("test"));
        assert!(matches!(refused, Err(OpeningError::Claims(_))));
    }
}

#[test]
fn sizes_beyond_the_limit_are_refused_without_memory() {
    for sizes in [&[][..], &[27], &[63], &[64], &[usize::MAX], &[26, 0], &[25, 25, 25]] {
        assert!(Stack::new(sizes).is_err(), "{sizes:?}");
    }
}

#[test]
fn the_encoding_is_canonical_and_every_length_but_the_right_one_is_refused() {
    let case = Case::new(&[11, 4], 2, 9);
    let bytes = case.open();
    assert_eq!(Opening::from_bytes(&bytes, &case.stack).unwrap().to_bytes(), bytes);
    for length in (0..bytes.len()).step_by(61).chain(bytes.len() - 40..bytes.len()) {
        assert!(matches!(Opening::from_bytes(&bytes[..length], &case.stack), Err(OpeningError::Malformed(_))));
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Opening::from_bytes(&longer, &case.stack).unwrap_err(), OpeningError::Malformed("bytes after the end"));
}

#[test]
fn no_altered_byte_is_accepted() {
    for sizes in [&[8][..], &[11, 4]] {
        let case = Case::new(sizes, 2, 10);
        let bytes = case.open();
        for at in (0..bytes.len()).step_by(37) {
            for bit in [0, 7] {
                let mut altered = bytes.clone();
                altered[at] ^= 1 << bit;
                assert!(case.verify(&altered).is_err(), "byte {at} of {}", bytes.len());
            }
        }
    }
}

#[test]
fn the_opening_of_another_stack_is_refused() {
    let (small, large) = (Case::new(&[9], 1, 11), Case::new(&[12], 1, 11));
    assert!(small.verify(&large.open()).is_err());
    assert!(large.verify(&small.open()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40_000)) {
        prop_assert!(Case::new(&[8], 1, 12).verify(&bytes).is_err());
    }

    #[test]
    fn a_proof_with_a_part_of_it_overwritten_is_refused(at in any::<prop::sample::Index>(), with in any::<[u8; 24]>()) {
        let case = Case::new(&[11, 4], 2, 13);
        let mut bytes = case.open();
        let at = at.index(bytes.len() - with.len());
        prop_assume!(bytes[at..at + with.len()] != with);
        bytes[at..at + with.len()].copy_from_slice(&with);
        prop_assert!(case.verify(&bytes).is_err());
    }
}

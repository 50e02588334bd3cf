//! For the fuzzer: blocks, and what certifies them, as proposers and peers give them.

use assay_primitives::{
    Certificate, Hash32, Header, Keypair, Signed, SignedHeader, Validator, ValidatorSet, VoteContent, decode, encode,
    light::{Fork, SetChange, verify_path},
};
use borsh::{BorshDeserialize, BorshSerialize};

use super::Block;
use crate::node::Told;

const GENESIS: Hash32 = Hash32([9; 32]);

/// Reads what the first byte chooses. Whether it is one.
///
/// # Panics
/// If what was read is written otherwise, or something holds that nobody has signed.
pub fn block(bytes: &[u8]) -> bool {
    let Some((&kind, bytes)) = bytes.split_first() else { return false };
    match kind % 8 {
        0 => read::<Block>(bytes).is_some_and(|block| {
            // A node asks this of any bytes that are said to be a block.
            let _ = block.binds_its_body(&GENESIS);
            let _ = block.header.id(&GENESIS);
            block.encode() == bytes
        }),
        1 => read::<Header>(bytes).is_some(),
        2 => read::<Certificate>(bytes).is_some_and(|certificate| {
            certifies_nothing(&certificate);
            true
        }),
        3 => read::<SignedHeader>(bytes).is_some_and(|signed| {
            certifies_nothing(&signed.certificate);
            true
        }),
        4 => read::<ValidatorSet>(bytes).is_some_and(|set| {
            if set.check().is_ok() {
                assert!(set.total_power() < ValidatorSet::POWER_LIMIT);
                assert!(set.iter().all(|one| set.power_of(&one.account) == Some(one.power)), "a member is not found");
            }
            true
        }),
        5 => read::<Vec<SetChange>>(bytes).is_some_and(|changes| {
            let trusted = Validator { account: Keypair::from_secret([1; 32]).account(), power: 1 };
            let trusted = ValidatorSet::new(vec![trusted]).expect("one validator");
            if let Some((target, path)) = changes.split_last() {
                let followed = verify_path(&GENESIS, &trusted, path, &target.signed);
                assert!(followed.is_err(), "nobody signed this");
            }
            true
        }),
        6 => read::<Signed<VoteContent>>(bytes).is_some(),
        _ => read::<Told>(bytes).is_some_and(|told| {
            match told {
                Told::Header(signed) => certifies_nothing(&signed.certificate),
                Told::Fork { fork, .. } => proves_nothing(&fork),
            }
            true
        }),
    }
}

fn read<T: BorshDeserialize + BorshSerialize>(bytes: &[u8]) -> Option<T> {
    let value: T = decode("value", bytes).ok()?;
    assert_eq!(encode(&value), bytes, "a value has one encoding");
    Some(value)
}

/// Those named in a certificate, if they can be a set.
fn named(certificate: &Certificate) -> Option<ValidatorSet> {
    let members = certificate.signatures.iter().map(|(account, _)| Validator { account: *account, power: 1 });
    ValidatorSet::new(members.collect()).ok()
}

/// Whoever is named in a certificate has not signed it.
fn certifies_nothing(certificate: &Certificate) {
    if let Some(set) = named(certificate) {
        assert!(certificate.verify(&GENESIS, &set).is_err(), "nobody signed this");
    }
}

/// Nor is a fork proven by it.
fn proves_nothing(fork: &Fork) {
    let _ = fork.conflicting_votes();
    if let Some(set) = named(&fork.first.certificate) {
        assert!(fork.verify(&GENESIS, &set).is_err(), "nobody signed this");
    }
}

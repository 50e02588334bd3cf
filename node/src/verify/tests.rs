#![allow(clippy::unwrap_used)]

use assay_primitives::{Signed, task::Output};

use super::*;
use crate::rpc::fixture::{self, MINER, PAYER, key};

const NAMES: [&str; 10] = [
    "canonical form",
    "genesis",
    "request signature",
    "response signature",
    "header certificate",
    "model commitment",
    "miner registration",
    "input binding",
    "output binding",
    "proof",
];

/// The name of the check that fails.
fn failing(receipt: &Receipt, genesis: &Hash32) -> &'static str {
    verify_receipt(receipt, genesis, &Demands::default()).unwrap_err().name
}

#[test]
fn a_true_receipt_passes_every_check_by_name() {
    let (receipt, genesis) = fixture::receipt();
    let checks = verify_text(&receipt.to_json(), genesis, &Demands::default()).unwrap();
    assert_eq!(checks.iter().map(|check| check.name).collect::<Vec<_>>(), NAMES);
    assert_eq!(verify_receipt(receipt, genesis, &Demands::default()).unwrap().len(), NAMES.len() - 1);
    let sumcheck = fixture::sumcheck_receipt();
    assert_eq!(verify_text(&sumcheck.to_json(), genesis, &Demands::default()).unwrap().len(), NAMES.len());
}

#[test]
fn a_receipt_of_another_chain_is_refused() {
    let (receipt, genesis) = fixture::receipt();
    assert_eq!(failing(receipt, &Hash32::digest(&genesis.0)), "genesis");
}

/// Long hexadecimal strings: genesis, model, proof, Merkle paths.
fn in_blob(text: &str) -> Vec<bool> {
    let mut blob = vec![false; text.len()];
    for (start, part) in text.split('"').scan(0, |at, part| {
        let start = *at;
        *at += part.len() + 1;
        Some((start, part))
    }) {
        if part.len() > 200 {
            blob[start..start + part.len()].fill(true);
        }
    }
    blob
}

#[test]
fn no_byte_of_a_receipt_can_be_changed() {
    let (receipt, genesis) = fixture::receipt();
    let text = receipt.to_json();
    let blob = in_blob(&text);
    let blobs: Vec<usize> = (0..text.len()).filter(|&at| blob[at]).collect();
    let step = (blobs.len() / 400).max(1);
    // Every byte of structure, names, numbers, hashes and signatures, and four hundred of the long strings.
    let mut places: Vec<usize> = (0..text.len()).filter(|&at| !blob[at]).collect();
    places.extend(blobs.iter().step_by(step));
    let try_all = |places: &[usize]| {
        for &at in places {
            let mut bytes = text.clone().into_bytes();
            // Another digit where there is one, so that the change survives the parser and reaches the checks.
            bytes[at] = match bytes[at] {
                b'9' => b'0',
                b'f' => b'a',
                digit @ (b'0'..=b'8' | b'a'..=b'e') => digit + 1,
                other => other ^ 1,
            };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(
                verify_text(&changed, genesis, &Demands::default()).is_err(),
                "byte {at} of {} can be changed",
                text.len()
            );
        }
    };
    let (left, right) = places.split_at(places.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| try_all(left));
        scope.spawn(|| try_all(right));
    });
}

#[test]
fn bytes_taken_away_or_added_are_found() {
    let (receipt, genesis) = fixture::receipt();
    let text = receipt.to_json();
    let check = |text: &str| verify_text(text, genesis, &Demands::default());
    assert!(check(&text[..text.len() - 1]).is_err());
    assert!(check(&format!("{text}\n")).is_err());
    assert!(check(&text.replacen("  ", "   ", 1)).is_err());
    assert!(check("").is_err());
}

fn outputs(receipt: &mut Receipt) -> &mut Vec<i32> {
    let Output::Numbers(numbers) = &mut receipt.response.body.output else { panic!("a receipt of numbers") };
    numbers
}

/// Signs the response again after `change`, as a cheating miner would.
fn resigned(change: impl FnOnce(&mut Receipt)) -> Receipt {
    let (receipt, genesis) = fixture::receipt();
    let mut receipt = receipt.clone();
    change(&mut receipt);
    receipt.request = Signed::new(receipt.request.body, genesis, &key(PAYER));
    receipt.response = Signed::new(receipt.response.body, genesis, &key(MINER));
    receipt
}

#[test]
fn what_a_cheating_miner_signs_anew_is_found_by_the_check_it_is_for() {
    let genesis = fixture::receipt().1;
    let other_output = resigned(|r| outputs(r)[0] += 1);
    assert_eq!(failing(&other_output, genesis), "proof");
    let no_output = resigned(|r| outputs(r).truncate(9));
    assert_eq!(failing(&no_output, genesis), "output binding");
    let other_input = resigned(|r| r.response.body.input = Hash32([1; 32]));
    assert_eq!(failing(&other_input, genesis), "input binding");
    let sumcheck = |change: fn(&mut Vec<u8>)| {
        resigned(|r| {
            *r = fixture::sumcheck_receipt().clone();
            let ReceiptProof::Sumcheck { proof } = &mut r.proof else { panic!("a sumcheck receipt") };
            change(&mut proof.0);
            r.response.body.proof = Some(Hash32::digest(&proof.0));
        })
    };
    assert!(verify_receipt(&sumcheck(|_| ()), genesis, &Demands::default()).is_ok());
    assert_eq!(failing(&sumcheck(|proof| proof[40] ^= 1), genesis), "proof");
    let unnamed = resigned(|r| {
        *r = fixture::sumcheck_receipt().clone();
        r.response.body.proof = None;
    });
    assert_eq!(failing(&unnamed, genesis), "proof");
    let other_request = resigned(|r| r.request.body.nonce = [8; 16]);
    assert_eq!(failing(&other_request, genesis), "response signature");
}

#[test]
fn a_proof_of_another_request_does_not_pass_for_this_one() {
    let genesis = fixture::receipt().1;
    let replayed = resigned(|r| {
        r.request.body.nonce = [8; 16];
        let request = Signed::new(r.request.body.clone(), genesis, &key(PAYER));
        r.response.body.request = request.id(genesis);
    });
    assert_eq!(failing(&replayed, genesis), "proof");
}

#[test]
fn facts_of_other_entries_and_headers_without_quorum_are_refused() {
    let (receipt, genesis) = fixture::receipt();
    let swapped = Receipt { miner_fact: receipt.model_fact.clone(), ..receipt.clone() };
    assert_eq!(failing(&swapped, genesis), "miner registration");
    let swapped = Receipt { model_fact: receipt.miner_fact.clone(), ..receipt.clone() };
    assert_eq!(failing(&swapped, genesis), "model commitment");
    let mut richer = receipt.clone();
    *richer.miner_fact.value.0.last_mut().unwrap() ^= 1;
    let failure = verify_receipt(&richer, genesis, &Demands::default()).unwrap_err();
    assert!(failure.reason.contains("does not lead to the header's state root"), "{failure}");
    let mut short = receipt.clone();
    short.header.certificate.signatures.truncate(2);
    assert_eq!(failing(&short, genesis), "header certificate");
}

#[test]
fn a_key_other_than_the_registered_one_does_not_count() {
    let (receipt, genesis) = fixture::receipt();
    let mut forged = receipt.clone();
    let ReceiptProof::Groth16 { key, .. } = &mut forged.proof else { panic!("a groth16 receipt") };
    *key.0.last_mut().unwrap() ^= 1;
    let failure = verify_receipt(&forged, genesis, &Demands::default()).unwrap_err();
    assert!(failure.reason.contains("the state registers key"), "{failure}");
}

#[test]
fn a_single_partys_key_is_told_of_and_refused_on_demand() {
    let (receipt, genesis) = fixture::receipt();
    let checks = verify_receipt(receipt, genesis, &Demands::default()).unwrap();
    assert!(checks.iter().any(|check| check.warning.is_some()), "{checks:?}");
    let strict = Demands { ceremony: true, ..Demands::default() };
    assert_eq!(verify_receipt(receipt, genesis, &strict).unwrap_err().name, "ceremony");
    verify_receipt(fixture::sumcheck_receipt(), genesis, &strict).unwrap();
}

#[test]
fn with_the_model_at_hand_its_run_is_repeated() {
    let (receipt, genesis) = fixture::receipt();
    let with = |model| Demands { model: Some(model), ..Demands::default() };
    let checks = verify_receipt(receipt, genesis, &with(Whole::Exact(fixture::digits()))).unwrap();
    assert_eq!(checks.last().unwrap().name, "re-execution");
    let cnn = Model::from_bytes(include_bytes!("../../../assets/digits-cnn/digits-cnn.assay")).unwrap();
    assert_eq!(verify_receipt(receipt, genesis, &with(Whole::Exact(cnn))).unwrap_err().name, "re-execution");
}

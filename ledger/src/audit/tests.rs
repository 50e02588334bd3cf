use assay_primitives::{
    Keypair, ModelId, Score,
    task::{Input, Output},
};
use proptest::prelude::*;

use super::*;
use crate::{
    query,
    records::RevealStatus,
    tx::Action,
    world::{World, key, quick_params, ratio, sheet},
};

const GENESIS: Hash32 = Hash32([9; 32]);

type Exchange = (Signed<Request>, Signed<Response>);

fn exchange(genesis: &Hash32, validator: &Keypair, miner: &Keypair, epoch: u64, nonce: u8) -> Exchange {
    let request = Request {
        requester: validator.account(),
        miner: miner.account(),
        subnet: 0,
        model: ModelId([6; 32]),
        epoch,
        nonce: [nonce; 16],
        input: Input::Numbers(vec![1, -2]),
    };
    let request = Signed::new(request, genesis, validator);
    let response = Response {
        miner: miner.account(),
        request: request.id(genesis),
        model: ModelId([6; 32]),
        input: request.body.input.hash(),
        output: Output::Numbers(vec![5, -6]),
        proof: None,
    };
    (request, Signed::new(response, genesis, miner))
}

/// A sheet on these miners with two exchanges each, honestly made.
fn judged(genesis: &Hash32, validator: &Keypair, miners: &[Keypair], epoch: u64) -> (ScoreSheet, Vec<Exchange>) {
    let exchanges: Vec<_> =
        miners.iter().flat_map(|m| [1, 2].map(|n| exchange(genesis, validator, m, epoch, n))).collect();
    let scores: Vec<_> = miners.iter().map(|m| (m.account(), ratio(9, 10))).collect();
    let mut sheet = sheet(validator, epoch, &scores);
    for entry in &mut sheet.scores {
        let of = exchanges.iter().filter(|(request, _)| request.body.miner == entry.miner);
        entry.evidence = evidence_of(genesis, of.map(|(_, response)| response));
    }
    (sheet, exchanges)
}

fn miners(count: u64) -> Vec<Keypair> {
    (0..count).map(|n| key("miner", n)).collect()
}

#[test]
fn what_was_kept_of_an_honest_epoch_passes_its_audit_and_nothing_else_does() {
    let (validator, miners) = (key("validator", 0), miners(5));
    let (sheet, exchanges) = judged(&GENESIS, &validator, &miners, 7);
    let drawn = draw(&Hash32([1; 32]), &sheet, 3);
    let good = exhibits(&GENESIS, &sheet, &drawn, &exchanges).unwrap();
    check(&GENESIS, &sheet, &drawn, &good).unwrap();
    let refused = |edit: &dyn Fn(&mut Vec<Exhibit>)| {
        let mut bad = good.clone();
        edit(&mut bad);
        check(&GENESIS, &sheet, &drawn, &bad).unwrap_err().to_string()
    };
    assert!(refused(&|e| e.truncate(2)).contains("asks for 3 exhibits, found 2"));
    assert!(refused(&|e| e.swap(0, 1)).contains("not those that were committed to"));
    assert!(refused(&|e| e[0].responses.reverse()).contains("do not ascend"));
    assert!(refused(&|e| e[0].responses.truncate(1)).contains("2 responses were counted, 1 are listed"));
    assert!(refused(&|e| e[0].response.body.output = Output::Numbers(vec![6, -6])).contains("this is another"));
    assert!(refused(&|e| e[0].request.body.nonce[0] += 1).contains("does not answer the request"));
    assert!(refused(&|e| e[0].request.signature = e[0].response.signature).contains("signature"));
    assert!(refused(&|e| e[0].response.signature = e[0].request.signature).contains("signature"));
    assert!(refused(&|e| e[0].request.body.requester = miners[0].account()).contains("not of this validator"));
    assert!(refused(&|e| e[0].request.body.epoch += 1).contains("not of this validator, miner, subnet and epoch"));
}

#[test]
fn another_validators_exchanges_and_those_of_another_epoch_pass_for_none() {
    let miners = miners(3);
    let (honest, exchanges) = judged(&GENESIS, &key("validator", 0), &miners, 7);
    let mut copied = ScoreSheet { validator: key("validator", 1).account(), ..honest.clone() };
    let drawn = draw(&Hash32([1; 32]), &copied, 2);
    let shown = exhibits(&GENESIS, &copied, &drawn, &exchanges).unwrap();
    assert!(check(&GENESIS, &copied, &drawn, &shown).unwrap_err().to_string().contains("not of this validator"));
    copied = ScoreSheet { epoch: 8, ..honest };
    let drawn = draw(&Hash32([1; 32]), &copied, 2);
    let shown = exhibits(&GENESIS, &copied, &drawn, &exchanges).unwrap();
    assert!(check(&GENESIS, &copied, &drawn, &shown).is_err());
}

#[test]
fn scores_that_pass_no_audit_are_not_revealed_and_earn_nothing() {
    let mut world = World::with(assay_chain_spec::Params { audit_samples: 2, tempo: 8, ..quick_params() });
    let miners = miners(3);
    for miner in &miners {
        world.register_miner(4, miner).unwrap();
    }
    world.advance_to_epoch(world.epoch() + 1);
    let epoch = world.epoch();
    let judged: Vec<_> = world.validators.iter().map(|v| judged(&world.genesis, v, &miners, epoch)).collect();
    for (validator, (sheet, _)) in world.validators.clone().iter().zip(&judged) {
        let commitment = sheet.commitment(&world.genesis);
        world.run(validator, Action::CommitScores { subnet: 0, epoch, commitment }).unwrap();
    }
    world.advance_to_epoch(epoch + 1);
    assert_eq!(query::audit_seed(&world.state, epoch).unwrap(), None, "not while commitments may still be made");
    world.block(&[]);
    let seed = query::audit_seed(&world.state, epoch).unwrap().unwrap();
    for (v, (sheet, exchanges)) in judged.iter().enumerate() {
        let drawn = draw(&seed, sheet, 2);
        let exhibits = exhibits(&world.genesis, sheet, &drawn, exchanges).unwrap();
        let reveal = |exhibits| Action::RevealScores { sheet: sheet.clone(), exhibits };
        if v == 0 {
            // It shows what another validator was answered.
            let others = super::exhibits(&world.genesis, sheet, &drawn, &judged[1].1).unwrap();
            let error = world.run(&world.validators[0].clone(), reveal(others)).unwrap_err();
            assert!(error.contains("not those that were committed to"), "{error}");
        } else {
            world.run(&world.validators[v].clone(), reveal(exhibits)).unwrap();
        }
    }
    world.advance_to_epoch(epoch + 2);
    let report = query::epoch_report(&world.state, epoch, 0).unwrap().unwrap();
    let line = |v: usize| report.validators.iter().find(|l| l.account == world.validators[v].account()).unwrap();
    assert_eq!((line(0).reveal, line(0).reward.0), (RevealStatus::Missed, 0));
    assert!((1..4).all(|v| line(v).reveal == RevealStatus::Revealed && line(v).reward.0 > 0));
    assert!(report.miners.iter().all(|m| m.reports.len() == 3 && m.score == ratio(9, 10)));
    assert_eq!(query::audit_seed(&world.state, epoch).unwrap(), None, "kept only until settled");
}

#[test]
fn a_score_above_nothing_without_a_response_is_malformed() {
    let mut world = World::new();
    let miner = key("miner", 0);
    world.register_miner(4, &miner).unwrap();
    world.advance_to_epoch(world.epoch() + 1);
    let validator = world.validators[0].clone();
    let mut sheet = sheet(&validator, world.epoch(), &[(miner.account(), Score::ONE)]);
    sheet.scores[0].responses = 0;
    let (epoch, commitment) = (world.epoch(), sheet.commitment(&world.genesis));
    world.run(&validator, Action::CommitScores { subnet: 0, epoch, commitment }).unwrap();
    world.advance_to_epoch(epoch + 1);
    let error = world.run(&validator, Action::RevealScores { sheet, exhibits: Vec::new() }).unwrap_err();
    assert!(error.contains("without a response"), "{error}");
}

proptest! {
    #[test]
    fn a_draw_takes_each_claiming_entry_at_most_once_and_a_response_it_has(
        responses in prop::collection::vec(0u32..5, 0..40),
        samples in 0u64..20,
        seed: [u8; 32],
    ) {
        let miners: Vec<_> = (0..responses.len() as u64).map(|n| (key("miner", n).account(), Score::ONE)).collect();
        let mut sheet = sheet(&key("validator", 0), 3, &miners);
        for (entry, responses) in sheet.scores.iter_mut().zip(&responses) {
            entry.responses = *responses;
        }
        let drawn = draw(&Hash32(seed), &sheet, samples);
        let claims = responses.iter().filter(|n| **n > 0).count();
        prop_assert_eq!(drawn.len(), claims.min(samples as usize));
        let mut entries: Vec<_> = drawn.iter().map(|d| d.entry).collect();
        entries.sort_unstable();
        entries.dedup();
        prop_assert_eq!(entries.len(), drawn.len());
        prop_assert!(drawn.iter().all(|d| d.response < sheet.scores[d.entry].responses as usize));
        prop_assert_eq!(draw(&Hash32(seed), &sheet, samples), drawn);
    }
}

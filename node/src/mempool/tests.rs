//! The pool's promises.

use assay_chain_spec::{GenesisAccount, GenesisSubnet, GenesisValidator, presets::Preset};
use assay_ledger::{
    Candidates as _, MemoryState,
    records::Account,
    tx::{Action, Ballot, Transaction},
};
use assay_primitives::{Keypair, Signed, encode};

use super::*;

const GENESIS: Hash32 = Hash32([5; 32]);
/// Bytes of a large proof.
const PROOF: usize = 260_000;
/// Keys of the genesis validator's operator and owner.
const VALIDATOR: u8 = 250;
const OWNER: u8 = 251;

fn key(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

fn state(senders: &[u8]) -> MemoryState {
    let fund = |n: &u8| GenesisAccount { account: key(*n).account(), balance: Amount::asy(10) };
    let (operator, owner) = (key(VALIDATOR).account(), key(OWNER).account());
    let validator = GenesisValidator { operator, owner, stake: Amount::asy(1000), take: 0 };
    let subnet = GenesisSubnet { id: 1, name: "vision".into(), models: Vec::new() };
    let accounts = senders.iter().chain(&[OWNER]).map(fund).collect();
    let spec = Preset::Dev.spec("pool".into(), 1, accounts, vec![validator], vec![subnet]);
    let mut state = MemoryState::default();
    state.apply(&assay_ledger::genesis::genesis(&spec).unwrap());
    state
}

fn transfer(n: u8, nonce: u64, fee: u64) -> SignedTransaction {
    let action = Action::Transfer { to: AccountId([9; 32]), amount: Amount(1) };
    Signed::new(Transaction { signer: key(n).account(), nonce, fee: Amount(fee), action }, &GENESIS, &key(n))
}

fn advance(state: &mut MemoryState, n: u8, nonce: u64) {
    let record = Account { balance: Amount::asy(10), nonce };
    let entry = (assay_ledger::keys::account(&key(n).account()), Some(encode(&record)));
    state.apply(&[entry].into_iter().collect());
}

#[test]
fn lanes_keep_nonce_order_and_blocks_take_the_highest_fee_first() {
    let (pool, state) = (Mempool::new(GENESIS), state(&[1, 2]));
    for tx in [transfer(1, 0, 1000), transfer(1, 1, 9000), transfer(2, 0, 5000)] {
        pool.submit(|| state.clone(), &encode(&tx)).unwrap();
    }
    let mut selection = pool.selection(&state).unwrap();
    let order: Vec<_> = std::iter::from_fn(|| selection.next()).map(|tx| (tx.body.nonce, tx.body.fee.0)).collect();
    assert_eq!(order, [(0, 5000), (0, 1000), (1, 9000)]);
    let mut selection = pool.selection(&state).unwrap();
    selection.pass_over(&key(1).account());
    assert_eq!(selection.next().unwrap().body.signer, key(2).account());
    assert!(selection.next().is_none(), "the lane that was passed over is left alone");
}

/// A large transaction to no effect.
fn bulk(n: u8, nonce: u64, fee: u64, proof: usize) -> SignedTransaction {
    let action = Action::Answer { challenge: Hash32::ZERO, proof: vec![7; proof] };
    Signed::new(Transaction { signer: key(n).account(), nonce, fee: Amount(fee), action }, &GENESIS, &key(n))
}

/// The scores that `state`'s validator is waited for.
fn scores(nonce: u64) -> SignedTransaction {
    let action = Action::CommitScores { subnet: 1, epoch: 0, commitment: Hash32([nonce as u8; 32]) };
    let validator = key(VALIDATOR);
    Signed::new(Transaction { signer: validator.account(), nonce, fee: Amount(1000), action }, &GENESIS, &validator)
}

#[test]
fn who_floods_blocks_with_bulk_keeps_nobody_waiting() {
    let (pool, state) = (Mempool::new(GENESIS), state(&[1, 2]));
    for tx in [bulk(1, 0, 50_000, PROOF), transfer(2, 0, 1000), scores(0), scores(1)] {
        pool.submit(|| state.clone(), &encode(&tx)).unwrap();
    }
    let mut selection = pool.selection(&state).unwrap();
    let order: Vec<_> = std::iter::from_fn(|| selection.next()).map(|tx| tx.body.signer).collect();
    let [bulky, plain, validator] = [1, 2, VALIDATOR].map(|n| key(n).account());
    // Only the first of a sender's has the rank; the second pays as much for a byte as is usual.
    assert_eq!(order, [validator, plain, validator, bulky]);
}

#[test]
fn scores_come_before_answers_and_these_by_deadline_then_fees_for_a_byte() {
    let answer = |until| Rank::new(&bulk(1, 0, 50_000, 10).body, 150, until);
    let paid = |fee| Rank::new(&transfer(1, 0, fee).body, 200, None);
    let ranks =
        [paid(1000), paid(u64::MAX), answer(Some(9)), answer(Some(8)), Rank::new(&scores(0).body, 200, Some(99))];
    assert!(ranks.is_sorted_by(|lower, higher| lower < higher));
    let vote = Action::Vote { proposal: 0, ballot: Ballot::Yes };
    let vote = Transaction { signer: key(1).account(), nonce: 0, fee: Amount(1000), action: vote };
    let vote = |until| Rank::new(&vote, 200, until);
    assert!(paid(u64::MAX) < vote(Some(9)) && vote(Some(9)) < vote(Some(8)) && vote(Some(1)) < answer(Some(99)));
    assert!(vote(None) < paid(u64::MAX), "one that changes a vote pays its way");
    assert!(answer(None) < answer(Some(u64::MAX)));
}

#[test]
fn what_stands_before_scores_in_their_lane_keeps_them_from_no_block() {
    let (pool, state) = (Mempool::new(GENESIS), state(&[1]));
    let first = |txs: &[&SignedTransaction]| {
        for tx in txs {
            pool.submit(|| state.clone(), &encode(*tx)).unwrap();
        }
        pool.selection(&state).unwrap().next().unwrap().body.signer
    };
    let [payer, validator] = [1, VALIDATOR].map(|n| key(n).account());
    assert_eq!(first(&[&bulk(VALIDATOR, 0, 1000, PROOF), &transfer(1, 0, 1000)]), payer);
    assert_eq!(first(&[&scores(1)]), validator);
    // Two such are too much to go first with.
    let (pool, state) = (Mempool::new(GENESIS), state.clone());
    for tx in [bulk(VALIDATOR, 0, 1000, PROOF), bulk(VALIDATOR, 1, 1000, PROOF), scores(2), transfer(1, 0, 1000)] {
        pool.submit(|| state.clone(), &encode(&tx)).unwrap();
    }
    assert_eq!(pool.selection(&state).unwrap().next().unwrap().body.signer, payer);
}

#[test]
fn many_small_ones_of_one_sender_make_room_for_a_large_one_of_higher_rank() {
    let (pool, state) = (Mempool::new(GENESIS), state(&[1, 2, 3]));
    let submit = |tx: &SignedTransaction| pool.submit(|| state.clone(), &encode(tx));
    let next = |n| pool.next_nonce(|| state.clone(), &key(n).account()).unwrap();
    while submit(&bulk(1, next(1), 1000, 20_000)).is_ok() {}
    let many = next(1);
    assert!(many < MAX_LANE as u64, "the pool is full before the lane");
    // What pays well behind them keeps them no place.
    let shield = transfer(1, many, 1_000_000);
    submit(&shield).unwrap();
    submit(&bulk(2, 0, 1_000_000, PROOF)).unwrap();
    assert!(!pool.contains(&shield));
    assert!(many - next(1) >= (PROOF / 20_100) as u64 && pool.lanes().bytes <= MAX_BYTES);
    // Nothing is evicted for what gets no room in the end.
    let before = pool.len();
    assert!(matches!(submit(&bulk(3, 0, 1000, PROOF)), Err(SubmitError::Full(..))));
    assert_eq!(pool.len(), before);
}

#[test]
fn a_full_pool_makes_room_for_what_is_awaited_and_for_what_pays_more_for_a_byte() {
    let (pool, state) = (Mempool::new(GENESIS), state(&[1, 2]));
    let next = |n| pool.next_nonce(|| state.clone(), &key(n).account()).unwrap();
    let submit = |tx: &SignedTransaction| pool.submit(|| state.clone(), &encode(tx));
    let refused = |tx: &SignedTransaction| assert!(matches!(submit(tx), Err(SubmitError::Full(..))));
    while submit(&bulk(1, next(1), 50_000, PROOF)).is_ok() {}
    let (size, large) = (encode(&bulk(1, 0, 50_000, PROOF)).len(), next(1));
    assert_eq!(large, (MAX_BYTES / size) as u64);
    submit(&bulk(2, 0, 1000, MAX_BYTES % size - (size - PROOF))).unwrap();
    assert_eq!(pool.lanes().bytes, MAX_BYTES);

    refused(&bulk(1, large, 50_000, PROOF));
    submit(&scores(0)).unwrap();
    assert_eq!((next(1), next(2)), (large, 0), "the one that pays least for a byte is pushed out");
    submit(&transfer(2, 0, 1000)).unwrap();
    refused(&bulk(2, 1, 50_000, PROOF));
    submit(&bulk(2, 1, 60_000, PROOF)).unwrap();
    assert_eq!((next(1), next(2)), (large - 1, 2));
    assert!(pool.contains(&scores(0)), "what is awaited stays");
}

#[test]
fn gaps_repeats_and_junk_are_refused_and_change_nothing() {
    let (pool, state) = (Mempool::new(GENESIS), state(&[1]));
    pool.submit(|| state.clone(), &encode(&transfer(1, 0, 1000))).unwrap();
    let refused = |tx: &SignedTransaction| pool.submit(|| state.clone(), &encode(tx)).unwrap_err();
    assert!(matches!(refused(&transfer(1, 0, 1000)), SubmitError::Known(_)));
    assert!(matches!(refused(&transfer(1, 2, 1000)), SubmitError::Refused(_)), "a gap");
    assert!(
        matches!(refused(&transfer(1, 0, 1099)), SubmitError::Underpriced { .. }),
        "hardly more for the same nonce"
    );
    let mut unsigned = transfer(1, 1, 1000);
    unsigned.signature = assay_primitives::Signature::EMPTY;
    assert!(refused(&unsigned).is_senders_fault());
    assert!(pool.submit(|| state.clone(), b"junk").unwrap_err().is_senders_fault());
    assert_eq!(pool.len(), 1);
}

#[test]
fn a_block_between_commit_and_upkeep_refuses_no_honest_transaction() {
    let (pool, mut state) = (Mempool::new(GENESIS), state(&[1]));
    let block: Vec<_> = (0..3).map(|nonce| transfer(1, nonce, 1000)).collect();
    for tx in &block {
        pool.submit(|| state.clone(), &encode(tx)).unwrap();
    }
    advance(&mut state, 1, 3);
    pool.submit(|| state.clone(), &encode(&transfer(1, 3, 1000))).unwrap();
    pool.committed(&state, &block);
    assert_eq!(pool.next_nonce(|| state.clone(), &key(1).account()).unwrap(), 4);
    pool.submit(|| state.clone(), &encode(&transfer(1, 4, 1000))).unwrap();
    assert_eq!(pool.len(), 2);
}

#[test]
fn gossip_that_overtook_its_predecessor_waits_for_it() {
    let (pool, state) = (Mempool::new(GENESIS), state(&[1]));
    let gossip = |nonce| pool.submit_gossiped(|| state.clone(), &encode(&transfer(1, nonce, 1000)));
    assert!(gossip(2).is_err());
    assert!(gossip(1).is_err());
    assert_eq!(pool.len(), 0, "held aside, not in a lane");
    gossip(0).unwrap();
    assert_eq!(pool.len(), 3);
    assert!(gossip(3 + MAX_GAP + 1).is_err());
    gossip(3).unwrap();
    assert_eq!(pool.len(), 4);
}

#[test]
fn nobody_queues_more_fees_than_it_can_pay() {
    let (pool, state) = (Mempool::new(GENESIS), state(&[1]));
    let half = Amount::asy(5).0;
    pool.submit(|| state.clone(), &encode(&transfer(1, 0, half))).unwrap();
    pool.submit(|| state.clone(), &encode(&transfer(1, 1, half - 1))).unwrap();
    let refused = pool.submit(|| state.clone(), &encode(&transfer(1, 2, 1000))).unwrap_err();
    assert!(matches!(refused, SubmitError::Overdrawn { .. }), "{refused}");
}

#[test]
fn a_lane_whose_owner_ran_out_of_money_is_swept() {
    let (pool, mut state) = (Mempool::new(GENESIS), state(&[1]));
    pool.submit(|| state.clone(), &encode(&transfer(1, 0, 1000))).unwrap();
    let broke = (assay_ledger::keys::account(&key(1).account()), Some(encode(&Account::default())));
    state.apply(&[broke].into_iter().collect());
    pool.sweep(&state);
    assert!(pool.is_empty());
}

#[test]
fn who_offers_a_tenth_more_replaces_what_waits_and_what_follows_keeps_its_place() {
    let (pool, state) = (Mempool::new(GENESIS), state(&[1, 2]));
    let submit = |tx: &SignedTransaction| pool.submit(|| state.clone(), &encode(tx));
    let old = transfer(1, 1, 1000);
    for tx in [&transfer(1, 0, 5000), &old, &transfer(1, 2, 9000), &transfer(2, 0, 3000)] {
        submit(tx).unwrap();
    }
    let before = pool.lanes().bytes;
    let new = transfer(1, 1, 1100);
    submit(&new).unwrap();
    assert!(pool.contains(&new) && !pool.contains(&old));
    assert_eq!((pool.len(), pool.lanes().bytes), (4, before));
    assert!(matches!(submit(&old), Err(SubmitError::Underpriced { .. })), "it does not come back");
    let ranks: Vec<Rank> = pool.lanes().by_sender[&key(1).account()].values().map(|w| w.rank).collect();
    assert!(ranks[0] > ranks[1] && ranks[1] == ranks[2], "none ranks above what stands before it");
    submit(&transfer(1, 1, 9000)).unwrap();
    let ranks: Vec<Rank> = pool.lanes().by_sender[&key(1).account()].values().map(|w| w.rank).collect();
    assert!(ranks[0] == ranks[1] && ranks[1] == ranks[2]);
    // The fees of all must be there, without that of the one replaced.
    let rest = Amount::asy(10).0 - 5000 - 9000;
    assert!(matches!(submit(&transfer(1, 1, rest + 1)), Err(SubmitError::Overdrawn { .. })));
    submit(&transfer(1, 1, rest)).unwrap();
    let mut selection = pool.selection(&state).unwrap();
    let order: Vec<_> = std::iter::from_fn(|| selection.next()).map(|tx| tx.body.fee.0).collect();
    assert_eq!(order, [5000, rest, 9000, 3000]);
}

#[test]
fn what_has_waited_too_long_is_given_up() {
    let (pool, mut state) = (Mempool::new(GENESIS), state(&[1, 2]));
    let at = |state: &mut MemoryState, height| {
        let chain = assay_ledger::records::Chain { height, ..query::chain(state).unwrap() };
        state.apply(&[(assay_ledger::keys::chain(), Some(encode(&chain)))].into_iter().collect());
    };
    pool.submit(|| state.clone(), &encode(&transfer(1, 0, 1000))).unwrap();
    at(&mut state, MAX_WAIT);
    pool.submit(|| state.clone(), &encode(&transfer(2, 0, 1000))).unwrap();
    pool.sweep(&state);
    assert_eq!(pool.len(), 2);
    at(&mut state, MAX_WAIT + 1);
    pool.sweep(&state);
    assert!(pool.contains(&transfer(2, 0, 1000)) && pool.len() == 1);
}

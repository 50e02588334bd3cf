//! The malicious prover: it may choose every cell of the table, and must not get through.

use std::sync::OnceLock;

use assay_primitives::{AccountId, Hash32};
use halo2_proofs::{
    dev::MockProver,
    pasta::group::ff::Field,
    plonk::{Circuit, ConstraintSystem},
};
use proptest::prelude::*;

use super::{
    layout::{ABOVE_LOW, BELOW_HIGH, BLINDING_ROWS, Block, EXCESS, REMAINDER, blocks},
    witness::{ACCUMULATOR, COLUMNS, LIMBS, SELECTOR, VALUE, field},
    *,
};
use crate::dense::{
    graph::{Dense, Node},
    hash_input, hash_output,
    proof::{prove, verify},
};

/// 10 -> 5 -> 3; some neurons are clamped on either side, and 10 is no multiple of a row's terms.
fn small() -> &'static CompiledModel {
    static MODEL: OnceLock<CompiledModel> = OnceLock::new();
    MODEL.get_or_init(|| {
        let weights = |n: usize, step: i32| (0..n as i32).map(|i| ((i * step) % 251 - 125) as i8).collect();
        let hidden = Dense {
            inputs: 10,
            outputs: 5,
            weights: weights(50, 37),
            bias: vec![500, -70_000, 90_000, 0, 12],
            multiplier: vec![70_000, 90_000, 80_000, 100_000, 60_000],
            low: 0,
            high: 127,
        };
        let last = Dense {
            inputs: 5,
            outputs: 3,
            weights: weights(15, 91),
            bias: vec![-5, 3_000_000, 77],
            multiplier: vec![1 << 23, 1 << 24, 1 << 22],
            low: i16::MIN,
            high: i16::MAX,
        };
        let graph = Graph { input_len: 10, nodes: vec![Node::Dense(hidden), Node::Dense(last)] };
        CompiledModel::new(graph, 1.0, 1.0).unwrap()
    })
}

const INPUT: [i16; 10] = [-128, 127, 3, 0, -77, 64, 100, -1, 12, 50];

fn binding(model: &CompiledModel, input: &[i16], output: &[i32]) -> Binding {
    Binding {
        genesis: Hash32([1; 32]),
        model: model.id(),
        request: Hash32([2; 32]),
        miner: AccountId([3; 32]),
        epoch: 4,
        input: hash_input(input),
        output: hash_output(output),
    }
}

struct Run {
    public: Vec<Fp>,
    witness: Witness,
}

fn honest() -> Run {
    let output = small().run(&INPUT).unwrap();
    let digest = binding(small(), &INPUT, &output).digest().0;
    Run { public: public_values(&digest, &INPUT, &output), witness: Witness::trace(small().graph(), &digest, &INPUT) }
}

/// What the constraint system says against a table; empty where it holds.
fn objections(run: Run) -> Vec<String> {
    let circuit = DenseCircuit { graph: small().shared_graph(), witness: Some(Arc::new(run.witness)) };
    let k = required_k(small().graph()).unwrap();
    let verdict = MockProver::run(k, &circuit, vec![run.public]).unwrap().verify();
    verdict.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn holds(run: Run) -> bool {
    objections(run).is_empty()
}

/// Asserts that this constraint, and no other, stands in the way.
fn only(run: Run, constraint: &str) {
    let objections = objections(run);
    assert!(!objections.is_empty(), "the table holds");
    assert!(objections.iter().all(|o| o.contains(constraint)), "{objections:?}");
}

/// Every assigned cell that takes part in a constraint, by class.
fn classes() -> Vec<(&'static str, Vec<(usize, usize)>)> {
    let graph = small().graph();
    let limbs = |slots: std::ops::Range<usize>| {
        blocks(graph)
            .flat_map(|b| {
                slots.clone().map(move |s| {
                    let (row, column) = b.limb(s);
                    (LIMBS + column, row)
                })
            })
            .collect::<Vec<_>>()
    };
    let each = |cell: fn(&Block<'_>) -> (usize, usize)| blocks(graph).map(|b| cell(&b)).collect();
    vec![
        ("quotient excess", limbs(EXCESS)),
        ("remainder", limbs(REMAINDER)),
        ("distance from low", limbs(ABOVE_LOW)),
        ("distance from high", limbs(BELOW_HIGH)),
        ("value", each(|b| (VALUE, b.anchor))),
        ("accumulator", blocks(graph).flat_map(|b| (b.first..=b.anchor).map(|r| (ACCUMULATOR, r))).collect()),
        (
            "factor, copied from the input or the layer before",
            blocks(graph)
                .flat_map(|b| (0..b.dense.inputs as usize).map(move |i| b.factor(i)))
                .map(|(row, term)| (term, row))
                .collect(),
        ),
        ("digest", vec![(VALUE, 0), (VALUE, 1)]),
    ]
}

fn excess(run: &Run, block: &Block<'_>) -> u64 {
    EXCESS
        .filter(|&s| {
            let (row, column) = block.limb(s);
            !bool::from(run.witness.cells[LIMBS + column][row].is_zero())
        })
        .count() as u64
}

#[test]
fn an_honest_witness_satisfies_every_constraint() {
    assert!(holds(honest()));
}

#[test]
fn the_small_model_clamps_on_both_sides_and_in_neither() {
    let run = honest();
    let graph = small().graph();
    let clamped: Vec<_> =
        blocks(graph).map(|b| (excess(&run, &b) > 0, run.witness.cells[SELECTOR][b.anchor] == Fp::ONE)).collect();
    assert!(clamped.contains(&(true, true)), "{clamped:?}");
    assert!(clamped.contains(&(true, false)), "{clamped:?}");
    assert!(clamped.contains(&(false, false)), "{clamped:?}");
}

#[test]
fn no_cell_of_any_class_can_be_altered_alone() {
    for (class, cells) in classes() {
        // MockProver takes a while; some of each class, the first and last among them.
        let step = (cells.len() / 6).max(1);
        for &(column, row) in cells.iter().step_by(step).chain(cells.last()) {
            for delta in [1, -1, 256] {
                let mut run = honest();
                run.witness.cells[column][row] += field(delta);
                assert!(!holds(run), "{class} at column {column}, row {row}, by {delta}");
            }
        }
    }
}

#[test]
fn the_clamp_selector_cannot_be_flipped_where_the_clamp_acts_nor_be_other_than_a_bit() {
    let graph = small().graph();
    for block in blocks(graph) {
        let clamped = excess(&honest(), &block) > 0;
        let mut run = honest();
        let cell = &mut run.witness.cells[SELECTOR][block.anchor];
        *cell = Fp::ONE - *cell;
        assert_eq!(holds(run), !clamped, "the selector means something exactly where the clamp acts");
        let mut run = honest();
        run.witness.cells[SELECTOR][block.anchor] = Fp::from(2);
        assert!(objections(run).iter().any(|o| o.contains("selector is a bit")));
    }
}

/// Rewrites a neuron consistently: value, its copies, its limbs.
fn write_limbs(run: &mut Run, block: &Block<'_>, slots: std::ops::Range<usize>, mut value: u64) {
    for slot in slots {
        let (row, column) = block.limb(slot);
        run.witness.cells[LIMBS + column][row] = Fp::from(value & 255);
        value >>= 8;
    }
}

fn last_block() -> Block<'static> {
    blocks(small().graph()).last().unwrap()
}

/// Sets the last output everywhere it appears, with honest distances to both bounds.
fn claim_last_output(run: &mut Run, value: i64) {
    let block = last_block();
    run.witness.cells[VALUE][block.anchor] = field(value);
    *run.public.last_mut().unwrap() = field(value);
    write_limbs(run, &block, ABOVE_LOW, (value - i64::from(block.dense.low)) as u64);
    write_limbs(run, &block, BELOW_HIGH, (i64::from(block.dense.high) - value) as u64);
}

#[test]
fn a_wrong_output_cannot_be_explained_by_excess() {
    let truth = i64::from(small().run(&INPUT).unwrap()[2]);
    assert!(truth.abs() < 30_000, "the test wants an output off its bounds, found {truth}");
    for (selector, value) in [(1u64, truth - 5), (0, truth + 5)] {
        let mut run = honest();
        claim_last_output(&mut run, value);
        write_limbs(&mut run, &last_block(), EXCESS, 5);
        run.witness.cells[SELECTOR][last_block().anchor] = Fp::from(selector);
        only(run, "clamped only at a bound");
    }
}

#[test]
fn a_wrong_output_cannot_be_explained_by_a_remainder_out_of_range() {
    let truth = i64::from(small().run(&INPUT).unwrap()[2]);
    let block = last_block();
    let neuron_remainder = |run: &Run| {
        let mut sum = Fp::ZERO;
        for (i, slot) in REMAINDER.enumerate() {
            let (row, column) = block.limb(slot);
            sum += run.witness.cells[LIMBS + column][row] * Fp::from(1 << (8 * i));
        }
        sum
    };
    let mut run = honest();
    let remainder = neuron_remainder(&run) + Fp::from(1 << SHIFT);
    claim_last_output(&mut run, truth - 1);
    // The sum is right, so only the lookups stand in the way.
    write_limbs(&mut run, &block, REMAINDER, 0);
    let (row, column) = block.limb(REMAINDER.start);
    run.witness.cells[LIMBS + column][row] = remainder;
    only(run, "Lookup");
}

#[test]
fn a_value_outside_its_clamp_cannot_be_claimed() {
    // A hidden neuron whose ReLU cuts a negative quotient claims the quotient itself.
    let run = honest();
    let graph = small().graph();
    let block = blocks(graph)
        .find(|b| b.layer == 0 && excess(&run, b) > 0 && run.witness.cells[VALUE][b.anchor] == Fp::ZERO)
        .unwrap();
    let neuron = block.dense.neuron(block.output, &INPUT);
    let mut run = honest();
    run.witness.cells[VALUE][block.anchor] = field(neuron.quotient);
    write_limbs(&mut run, &block, EXCESS, 0);
    for (slots, distance) in [(ABOVE_LOW, neuron.quotient), (BELOW_HIGH, 127 - neuron.quotient)] {
        write_limbs(&mut run, &block, slots.clone(), 0);
        let (row, column) = block.limb(slots.start);
        run.witness.cells[LIMBS + column][row] = field(distance);
    }
    // The next layer takes over the false value; only the range of the distances is left to object.
    for next in blocks(graph).filter(|b| b.layer == 1) {
        let (row, term) = next.factor(block.output);
        run.witness.cells[term][row] = field(neuron.quotient);
    }
    assert!(objections(run).iter().any(|o| o.contains("Lookup")));
}

#[test]
fn no_public_value_can_differ_from_the_table() {
    for at in 0..honest().public.len() {
        let mut run = honest();
        run.public[at] += Fp::ONE;
        only(run, "Equality constraint");
    }
}

#[test]
fn the_last_rows_kept_for_blinding_are_as_many_as_the_library_needs() {
    let mut meta = ConstraintSystem::<Fp>::default();
    DenseCircuit::configure(&mut meta);
    assert_eq!(meta.blinding_factors() + 1, BLINDING_ROWS);
    assert_eq!(COLUMNS, 13);
}

#[test]
fn a_proof_made_from_an_altered_table_does_not_verify() {
    let output = small().run(&INPUT).unwrap();
    let binding = binding(small(), &INPUT, &output);
    let prover = crate::dense::proof::prover_for(small()).unwrap();
    for (class, cells) in classes() {
        let (column, row) = cells[cells.len() / 2];
        let mut run = honest();
        run.witness.cells[column][row] += Fp::ONE;
        // The library may refuse already (a limb outside the table); if it does not, the verifier must.
        if let Ok(proof) = prover.create(run.witness, &run.public) {
            assert!(verify(small(), &binding, &INPUT, &output, &proof).is_err(), "{class}");
        }
    }
}

#[test]
fn a_proof_serves_one_model_input_output_request_miner_epoch_and_chain() {
    let model = small();
    let output = model.run(&INPUT).unwrap();
    let truth = binding(model, &INPUT, &output);
    let proof = prove(model, &truth, &INPUT, &output).unwrap();
    assert_eq!(proof.len(), proof_len(required_k(model.graph()).unwrap()));
    verify(model, &truth, &INPUT, &output, &proof).unwrap();

    let alter: [fn(&mut Binding); 4] =
        [|b| b.genesis.0[31] ^= 1, |b| b.request.0[0] ^= 1, |b| b.miner.0[16] ^= 1, |b| b.epoch += 1];
    for change in alter {
        let mut other = truth.clone();
        change(&mut other);
        let refused = verify(model, &other, &INPUT, &output, &proof);
        assert!(matches!(refused, Err(VerifyError::Invalid { .. })), "{refused:?}");
    }

    // Another output, input or model with a binding that fits it.
    let mut wrong = output.clone();
    wrong[0] += 1;
    let other = binding(model, &INPUT, &wrong);
    assert!(matches!(verify(model, &other, &INPUT, &wrong, &proof), Err(VerifyError::Invalid { .. })));
    assert!(matches!(prove(model, &other, &INPUT, &wrong), Err(ProveError::WrongOutput)));
    let mut input = INPUT;
    input[9] -= 1;
    let other = binding(model, &input, &output);
    assert!(matches!(verify(model, &other, &input, &output, &proof), Err(VerifyError::Invalid { .. })));
    let mut graph = model.graph().clone();
    let Node::Dense(dense) = &mut graph.nodes[0];
    dense.weights[7] ^= 1;
    let other_model = CompiledModel::new(graph, 1.0, 1.0).unwrap();
    let other = binding(&other_model, &INPUT, &output);
    assert!(matches!(verify(&other_model, &other, &INPUT, &output, &proof), Err(VerifyError::Invalid { .. })));

    // A binding that does not fit the values beside it.
    let mut other = truth.clone();
    other.model.0[0] ^= 1;
    assert!(matches!(verify(model, &other, &INPUT, &output, &proof), Err(VerifyError::Binding(_))));
    assert!(matches!(verify(model, &truth, &input, &output, &proof), Err(VerifyError::Binding(_))));
    assert!(matches!(verify(model, &truth, &INPUT, &wrong, &proof), Err(VerifyError::Binding(_))));
    assert!(matches!(verify(model, &truth, &INPUT[1..], &output, &proof), Err(VerifyError::Input(_))));
    assert!(matches!(verify(model, &truth, &INPUT, &[], &proof), Err(VerifyError::OutputLength { .. })));
}

#[test]
fn a_proof_damaged_anywhere_is_refused_without_a_panic() {
    let model = small();
    let output = model.run(&INPUT).unwrap();
    let truth = binding(model, &INPUT, &output);
    let proof = prove(model, &truth, &INPUT, &output).unwrap();
    let refused = |bytes: &[u8]| verify(model, &truth, &INPUT, &output, bytes).is_err();
    // Each 32-byte element is hit somewhere, in a byte that walks through it; the bit walks too.
    for (element, start) in (0..proof.len()).step_by(32).enumerate() {
        for at in [start, start + (element * 7) % 32, start + 31] {
            let mut bytes = proof.clone();
            bytes[at] ^= 1 << (element % 8);
            assert!(refused(&bytes), "byte {at}");
        }
    }
    for value in [0x00, 0xff] {
        assert!(refused(&vec![value; proof.len()]));
        let mut bytes = proof.clone();
        bytes[..32].fill(value);
        assert!(refused(&bytes));
    }
    assert!(refused(&[]));
    assert!(refused(&proof[..proof.len() - 1]));
    assert!(refused(&proof[..32]));
    assert!(refused(&[&proof[..], &[0]].concat()));
    assert!(refused(&[&proof[..], &proof[..]].concat()));
    let mut swapped = proof.clone();
    swapped.rotate_left(32);
    assert!(refused(&swapped));
}

#[test]
fn a_larger_circuit_has_derived_parameters_and_the_proof_length_that_is_promised() {
    let dense = Dense {
        inputs: 64,
        outputs: 64,
        weights: (0..64 * 64).map(|i| (i % 201 - 100) as i8).collect(),
        bias: (0..64).map(|i| i * 100 - 3000).collect(),
        multiplier: vec![1 << 18; 64],
        low: -128,
        high: 127,
    };
    let graph = Graph { input_len: 64, nodes: vec![Node::Dense(dense)] };
    let model = CompiledModel::new(graph, 1.0, 1.0).unwrap();
    let k = required_k(model.graph()).unwrap();
    assert_eq!(k, 10);
    let input: Vec<i16> = (0..64).map(|i| i * 4 - 128).collect();
    let output = model.run(&input).unwrap();
    let binding = binding(&model, &input, &output);
    let proof = prove(&model, &binding, &input, &output).unwrap();
    assert_eq!(proof.len(), proof_len(k));
    verify(&model, &binding, &input, &output, &proof).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_bytes_are_never_a_proof_and_never_a_panic(seed in any::<[u8; 32]>(), cut in 0usize..4096) {
        let model = small();
        let output = model.run(&INPUT).unwrap();
        let truth = binding(model, &INPUT, &output);
        let mut bytes = vec![0; proof_len(required_k(model.graph()).unwrap())];
        blake3::Hasher::new_keyed(&seed).finalize_xof().fill(&mut bytes);
        prop_assert!(verify(model, &truth, &INPUT, &output, &bytes).is_err());
        bytes.truncate(cut);
        prop_assert!(verify(model, &truth, &INPUT, &output, &bytes).is_err());
    }

    #[test]
    fn every_honest_run_satisfies_the_circuit(input in proptest::collection::vec(-128i16..=127, 10)) {
        let output = small().run(&input).unwrap();
        let digest = binding(small(), &input, &output).digest().0;
        let witness = Witness::trace(small().graph(), &digest, &input);
        let public = public_values(&digest, &input, &output);
        let run = Run { public, witness };
        prop_assert!(holds(run));
    }
}

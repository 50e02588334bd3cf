//! Keys that a stranger hands out under a model's name.

use super::*;
use crate::proof::{
    Statement, SumcheckCommitment,
    groth16::Groth16,
    halo2::Halo2,
    sumcheck::{
        Sumcheck,
        hiding::{Count, SumcheckHiding},
    },
};

const SALT: [u8; 32] = [7; 32];
const SECRET: Systems = Systems { secret: true, halo2: false };

/// A model with all commitments, and one of the same graph with another weight.
fn two_models(systems: Systems) -> (Model, Model) {
    let model = small();
    let mut weights = model.weights().to_vec();
    let largest = weights[0].iter_mut().max_by_key(|value| value.unsigned_abs()).unwrap();
    *largest -= largest.signum();
    let committed = |weights| Model::committed(Graph::clone(model.graph()), weights, SALT, systems).unwrap();
    (committed(model.weights().to_vec()), committed(weights))
}

type Keys<S> = (<S as ProofSystem>::ProverKey, <S as ProofSystem>::VerifierKey);
type SetUp<'a, S> = &'a dyn Fn(&Model, Arc<Relations>) -> Keys<S>;

/// What a miner shows: the bytes of a key, and a proof for an input of which it gives the output.
struct Shown {
    key: Vec<u8>,
    outputs: Vec<Vec<i64>>,
    proof: Vec<u8>,
}

fn show<S: ProofSystem>(served: &Model, keys: SetUp<'_, S>, inputs: &[Vec<i64>]) -> Shown {
    let relations = Arc::new(Relations::of(served.graph()).unwrap());
    let (prover, verifier) = keys(served, Arc::clone(&relations));
    let trace = relations.trace(served.graph(), served.weights(), inputs).unwrap();
    let outputs = relations.outputs_of(&trace);
    let proof = S::prove(&prover, &trace, Statement { binding: &[1; 32], inputs, outputs: &outputs }).unwrap();
    Shown { key: S::verifier_key_to_bytes(&verifier), outputs, proof }
}

fn a_stranger_is_refused<S: ProofSystem>(systems: Systems, keys: SetUp<'_, S>) {
    let (model, other) = two_models(systems);
    assert_ne!(model.outline().commitments(), other.outline().commitments());
    let inputs: Vec<Vec<i64>> =
        model.graph().inputs.iter().map(|&id| vec![1; model.graph().tensors[id as usize].len()]).collect();
    let verdict = |named: &Model, shown: &Shown| -> Result<(), String> {
        let key = named.outline().verifier_key::<S>(&shown.key).map_err(|e| e.to_string())?;
        let statement = Statement { binding: &[1; 32], inputs: &inputs, outputs: &shown.outputs };
        S::verify(&key, statement, &shown.proof).map_err(|e| e.to_string())
    };
    assert_eq!(verdict(&model, &show::<S>(&model, keys, &inputs)), Ok(()), "{}", S::NAME);

    // All is well with the stranger's key and proof, but for the name that they come under.
    let strangers = show::<S>(&other, keys, &inputs);
    assert_eq!(verdict(&other, &strangers), Ok(()), "{}", S::NAME);
    let refused = verdict(&model, &strangers).unwrap_err();
    assert_eq!(refused, SetupError::OtherModel { system: S::NAME }.to_string());
}

#[test]
fn a_sumcheck_key_of_other_weights_is_refused_under_a_models_name() {
    let keys = |model: &Model, relations| Sumcheck::set_up(relations, model.weights()).unwrap();
    a_stranger_is_refused::<Sumcheck>(Systems::default(), &keys);
}

#[test]
fn a_halo2_key_of_other_weights_is_refused_under_a_models_name() {
    let keys = |model: &Model, relations| Halo2::set_up_salted(relations, model.weights(), model.salt()).unwrap();
    a_stranger_is_refused::<Halo2>(Systems { halo2: true, ..Systems::default() }, &keys);
}

/// Counts nothing: for keys that make one proof.
struct Once;

impl Count for Once {
    fn begun(&self) -> Result<usize, String> {
        Ok(0)
    }

    fn begin(&self) -> Result<usize, String> {
        Ok(0)
    }
}

fn hiding(model: &Model, relations: Arc<Relations>) -> <SumcheckHiding as ProofSystem>::VerifierKey {
    SumcheckHiding::set_up_counted(relations, model.weights(), model.salt(), Box::new(Once)).unwrap().1
}

#[test]
fn a_hiding_key_of_other_weights_is_refused_under_a_models_name() {
    let keys = |model: &Model, relations| {
        SumcheckHiding::set_up_counted(relations, model.weights(), model.salt(), Box::new(Once)).unwrap()
    };
    a_stranger_is_refused::<SumcheckHiding>(SECRET, &keys);
}

#[test]
fn a_secret_model_takes_no_plain_key_and_an_open_one_no_hiding_key() {
    let (open, secret) = (small(), two_models(SECRET).0);
    let relations = Arc::new(Relations::of(open.graph()).unwrap());
    let (_, key) = Sumcheck::set_up(Arc::clone(&relations), open.weights()).unwrap();
    let refused = secret.outline().verifier_key::<Sumcheck>(&Sumcheck::verifier_key_to_bytes(&key)).unwrap_err();
    assert!(refused.to_string().contains("Use sumcheck-hiding"), "{refused}");
    let key = SumcheckHiding::verifier_key_to_bytes(&hiding(&secret, relations));
    assert!(secret.outline().verifier_key::<SumcheckHiding>(&key).is_ok());
    let refused = open.outline().verifier_key::<SumcheckHiding>(&key).unwrap_err();
    assert!(refused.to_string().contains("Compile it with `--secret`"), "{refused}");
}

#[test]
fn a_secret_models_outline_lets_no_guess_of_its_weights_be_tested() {
    let (secret, _) = two_models(Systems { halo2: true, ..SECRET });
    let plain = Model::committed(
        Graph::clone(secret.graph()),
        secret.weights().to_vec(),
        SALT,
        Systems { halo2: true, ..Systems::default() },
    )
    .unwrap();
    let SumcheckCommitment::Plain(root) = plain.outline().commitments().sumcheck else { panic!("a plain model") };
    let bytes = secret.outline().to_bytes();
    assert!(!bytes.windows(32).any(|window| window == root));
    // All of it changes with the salt, so nothing in it is of the weights alone.
    let salted = |salt| {
        let systems = Systems { halo2: true, ..SECRET };
        Model::committed(Graph::clone(secret.graph()), secret.weights().to_vec(), salt, systems)
    };
    let other = salted([8; 32]).unwrap();
    assert_ne!(other.outline().commitments().sumcheck, secret.outline().commitments().sumcheck);
    assert_ne!(other.outline().commitments().halo2, secret.outline().commitments().halo2);
    let refused = salted([0; 32]).unwrap_err().to_string();
    assert!(refused.contains("a salt of 32 random bytes"), "{refused}");
}

#[test]
fn a_halo2_key_for_a_model_without_its_commitment_is_refused_with_the_remedy() {
    let model = small();
    let relations = Arc::new(Relations::of(model.graph()).unwrap());
    let (_, key) = Halo2::set_up_salted(relations, model.weights(), model.salt()).unwrap();
    let refused = model.outline().verifier_key::<Halo2>(&Halo2::verifier_key_to_bytes(&key)).unwrap_err();
    assert!(matches!(refused, SetupError::NotCommitted { system: "halo2", .. }), "{refused}");
    assert!(refused.to_string().contains("--systems sumcheck,halo2"), "{refused}");
}

#[test]
fn a_groth16_key_is_taken_for_its_own_graph_only() {
    let model = small();
    let relations = Arc::new(Relations::of(model.graph()).unwrap());
    let (_, key) = Groth16::set_up(relations, model.weights()).unwrap();
    let bytes = Groth16::verifier_key_to_bytes(&key);
    assert!(model.outline().verifier_key::<Groth16>(&bytes).is_ok());
    let others = (0..20).filter_map(super::model).filter(|other| other.graph() != model.graph());
    for other in others {
        assert!(other.outline().verifier_key::<Groth16>(&bytes).is_err());
    }
}

#[test]
fn commitments_are_part_of_bytes_and_id() {
    let all = [(false, false), (false, true), (true, false), (true, true)];
    let models = all.map(|(secret, halo2)| two_models(Systems { secret, halo2 }).0);
    for (at, model) in models.iter().enumerate() {
        let bytes = model.to_bytes();
        assert_eq!(bytes.len(), model.encoded_len());
        assert_eq!(&Model::from_bytes(&bytes).unwrap(), model);
        assert_eq!(Outline::from_bytes(&model.outline().to_bytes()).unwrap(), model.outline());
        let commitments = model.outline().commitments().systems();
        assert_eq!((commitments.secret, commitments.halo2), all[at]);
        assert!(models[..at].iter().all(|other| other.id() != model.id()));
    }
    assert_eq!(models[0], small());
}

#[test]
fn a_plain_model_has_one_encoding_and_the_others_are_refused_where_time_is_bounded() {
    let (plain, secret) = (small(), two_models(SECRET).0);
    let most = crate::graph::Work { macs: u64::MAX, moves: u64::MAX };
    assert_eq!(Model::from_bytes_within(&plain.to_bytes(), most).unwrap(), plain);
    assert_eq!(Model::from_bytes_within(&secret.to_bytes(), most), Err(ModelError::Systems));

    let flags = 6 + assay_primitives::encode(&**secret.graph()).len() + 32;
    let with = |flag: u8| {
        let mut bytes = secret.to_bytes();
        bytes[flags] = flag;
        Model::from_bytes(&bytes).map_err(|e| e.to_string())
    };
    assert_eq!(with(1).unwrap(), secret);
    assert!(with(0).unwrap_err().contains("version 3 of what version 2 can say"));
    assert!(with(1 | 1 << 7).unwrap_err().contains("systems that are not known"));
    let (graph, seal) = (assay_primitives::encode(&**plain.graph()), plain.outline().seal());
    let said = assay_primitives::encode(plain.outline().commitments());
    let outline = [&b"ASYO\x03\x00"[..], &graph, &said, &seal].concat();
    let error = Outline::from_bytes(&outline).unwrap_err().to_string();
    assert!(error.contains("version 3 of what version 2 can say"), "{error}");
}

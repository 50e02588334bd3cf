//! How the attacker's miners answer, and how a validator finds out: by the product's own check, on real requests,
//! responses and proofs.
//!
//! A proof is made and checked once for each miner and kind of fraud; from then on the same fraud is known to be found.

use std::collections::BTreeMap;

use assay_circuits::answer;
use assay_ledger::tx::Action;
use assay_primitives::{
    Hash32, Keypair, Signed,
    task::{Input, Output, Request, Response, output_hash},
};
use assay_scoring::ProofOutcome;

use super::{
    Defence, SimulationError, actions,
    chain::Chain,
    draw::Draw,
    exam::{Arrived, Exam, Question},
    population::{Cast, SUBNET},
    setting::Setting,
};
use crate::{
    net::Reply,
    roles::check::{Finding, binding, check},
};

/// Largest proof that a validator sends along in a refutation; beyond it the miner is challenged.
const MAX_REFUTED_PROOF: usize = 128 * 1024;
/// Bytes of a proof that is nothing but long.
const LONG: usize = 200 * 1024;

/// How the attacker's miners answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conduct {
    /// As honest miners do.
    Work,
    /// With the output and proof of an honest miner that was asked the same.
    Relay,
    /// Out of a table: the scans that everybody knows, and every task seen before.
    Prepared,
    /// The right output beside a proof that is none: altered, of another statement, or merely long.
    Forge,
    /// The right output without a proof, now and when challenged.
    Withhold,
    /// Not at all.
    Absent,
}

/// What stands in place of the proof of this answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sham {
    /// The proof of this honest miner's answer to the same input.
    Relayed(usize),
    /// The proof of the same answer to an earlier request.
    Stale,
    /// A true proof with one bit changed.
    Altered,
    /// A true proof about another input.
    Foreign,
    /// Bytes.
    Long,
    /// Nothing.
    Missing,
}

/// One task as it meets a dishonest miner.
pub(super) struct Seen {
    pub(super) validator: usize,
    pub(super) miner: usize,
    pub(super) epoch: u64,
    /// What an own answer would take.
    pub(super) latency_ms: u64,
}

/// What a validator has against a miner.
pub(super) struct Accusation {
    pub(super) validator: usize,
    pub(super) miner: usize,
    epoch: u64,
    input: Vec<i16>,
    output: Vec<i32>,
    sham: Sham,
    finding: Finding,
}

/// What is known of the attacker's frauds so far.
#[derive(Default)]
pub(super) struct Frauds {
    findings: BTreeMap<(usize, Sham, bool), Finding>,
    /// Answers prepared for inputs seen before.
    table: BTreeMap<Vec<i16>, Vec<i32>>,
}

impl Frauds {
    /// The answer under this conduct and what the validator finds; `None` if none comes.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn answer(
        &mut self,
        conduct: Conduct,
        chain: &Chain,
        exam: &Exam,
        cast: &Cast,
        setting: &Setting,
        seen: &Seen,
        question: &Question,
        victims: &[(usize, Option<u64>)],
    ) -> Result<Option<(Arrived, Option<Accusation>)>, SimulationError> {
        let exact = || question.expected.clone();
        let (output, sham, latency_ms) = match conduct {
            Conduct::Work | Conduct::Absent => return Ok(None),
            Conduct::Relay => {
                // Whoever is up and quickest; its answer takes the way through the attacker's machine.
                let quickest = victims.iter().filter_map(|(h, latency)| Some((latency.as_ref()?, *h))).min();
                let Some((latency, victim)) = quickest else { return Ok(None) };
                (exact(), Sham::Relayed(victim), latency + seen.latency_ms / 10)
            }
            Conduct::Prepared => match self.table.get(&question.input) {
                Some(output) => (output.clone(), Sham::Stale, 100),
                None => (exam.run(exam.nearest_scan(&question.input))?, Sham::Stale, 100),
            },
            Conduct::Forge => {
                let shams = [Sham::Altered, Sham::Foreign, Sham::Long];
                (exact(), shams[seen.miner % shams.len()], seen.latency_ms)
            }
            Conduct::Withhold => (exact(), Sham::Missing, seen.latency_ms),
        };
        let is_exact = output == question.expected;
        let fraud = Fraud { epoch: seen.epoch, input: &question.input, output: &output, sham };
        let known = (seen.miner, sham, is_exact);
        let finding = match self.findings.get(&known) {
            Some(finding) => finding.clone(),
            None => {
                let (validator, miner) = (&cast.validators[seen.validator].operator, &cast.miners[seen.miner].operator);
                let finding = fraud.found(chain, exam, cast, setting, (validator, miner))?;
                self.findings.insert(known, finding.clone());
                finding
            }
        };
        let proof = match finding {
            Finding::Verified => ProofOutcome::Verified,
            Finding::InvalidProof(_) => ProofOutcome::Invalid,
            Finding::WrongOutput | Finding::OtherText(_) | Finding::MissingProof => ProofOutcome::Missing,
        };
        let accusation = (finding != Finding::Verified).then(|| Accusation {
            validator: seen.validator,
            miner: seen.miner,
            epoch: seen.epoch,
            input: question.input.clone(),
            output: output.clone(),
            sham,
            finding,
        });
        Ok(Some((Arrived { output, proof, latency_ms }, accusation)))
    }

    /// A miner that means to answer out of a table writes down what it works out.
    pub(super) fn learn(&mut self, question: &Question) {
        self.table.insert(question.input.clone(), question.expected.clone());
    }
}

type Exchange = (Signed<Request>, Signed<Response>, Option<Vec<u8>>);

/// A dishonest answer.
struct Fraud<'a> {
    epoch: u64,
    input: &'a [i16],
    output: &'a [i32],
    sham: Sham,
}

impl Fraud<'_> {
    /// The request that the proof was made for, which need not be the one it is shown for.
    fn proved(
        &self,
        chain: &Chain,
        exam: &Exam,
        cast: &Cast,
        asked: &Signed<Request>,
        by: &Keypair,
    ) -> Signed<Request> {
        let again = |body: Request| Signed::new(body, &chain.genesis, by);
        match self.sham {
            Sham::Relayed(victim) => {
                again(Request { miner: cast.miners[victim].operator.account(), ..asked.body.clone() })
            }
            Sham::Stale => again(Request { epoch: self.epoch.saturating_sub(1), nonce: [9; 16], ..asked.body.clone() }),
            Sham::Foreign => {
                again(Request { input: Input::Numbers(exam.nearest_scan(self.input).to_vec()), ..asked.body.clone() })
            }
            Sham::Altered | Sham::Long | Sham::Missing => asked.clone(),
        }
    }

    /// The answer, signed, with what stands for its proof.
    fn exchange(
        &self,
        chain: &Chain,
        exam: &Exam,
        cast: &Cast,
        (validator, miner): (&Keypair, &Keypair),
    ) -> Result<Exchange, SimulationError> {
        let asked = request(chain, exam, validator, miner, self.epoch, self.input);
        let proof = match self.sham {
            Sham::Missing => None,
            Sham::Long => Some(vec![7; LONG]),
            _ => {
                let proved = self.proved(chain, exam, cast, &asked, validator);
                let mut proof = prove(chain, exam, &proved, &exam.run(numbers(&proved))?)?;
                if self.sham == Sham::Altered {
                    let middle = proof.len() / 2;
                    proof[middle] ^= 1;
                }
                Some(proof)
            }
        };
        let response = respond(chain, miner, &asked, self.output, proof.as_deref());
        Ok((asked, response, proof))
    }

    /// What the product's check says of it.
    fn found(
        &self,
        chain: &Chain,
        exam: &Exam,
        cast: &Cast,
        setting: &Setting,
        parties: (&Keypair, &Keypair),
    ) -> Result<Finding, SimulationError> {
        let (request, response, proof) = self.exchange(chain, exam, cast, parties)?;
        if let Some(proof) = proof.as_deref().filter(|_| setting.is_without(Defence::ProofBinding)) {
            // A verifier that takes request and miner from whoever shows the proof, not from its own task.
            let proved = self.proved(chain, exam, cast, &request, parties.0);
            let output = response.body.output.numbers().unwrap_or_default();
            let bound = binding(&chain.genesis, &proved.body, proved.id(&chain.genesis), response.body.output.hash());
            if answer::verify(&exam.model().outline(), &bound, self.input, output, proof).is_ok() {
                return Ok(Finding::Verified);
            }
        }
        let reply = Reply::Answer { response: Box::new(response), proof, compact: None };
        let checked = check(&chain.genesis, &exam.engine, &request, reply);
        Ok(checked.map_err(|unusable| SimulationError::Refused(unusable.to_string()))?.finding)
    }
}

impl Accusation {
    /// Whether it is settled in its own block, so that one is enough.
    pub(super) fn refutes(&self) -> bool {
        match self.finding {
            Finding::WrongOutput => true,
            Finding::InvalidProof(_) => self.sham != Sham::Long,
            Finding::MissingProof | Finding::OtherText(_) | Finding::Verified => false,
        }
    }

    /// What the validator brings before the chain, as the product's validator does.
    pub(super) fn action(&self, chain: &Chain, exam: &Exam, cast: &Cast) -> Result<Action, SimulationError> {
        let parties = (&cast.validators[self.validator].operator, &cast.miners[self.miner].operator);
        let fraud = Fraud { epoch: self.epoch, input: &self.input, output: &self.output, sham: self.sham };
        let (request, response, proof) = fraud.exchange(chain, exam, cast, parties)?;
        Ok(match self.finding {
            Finding::WrongOutput => actions::refute(request, response, None),
            Finding::InvalidProof(_) if proof.as_ref().is_some_and(|p| p.len() <= MAX_REFUTED_PROOF) => {
                actions::refute(request, response, proof)
            }
            _ => actions::challenge(request, response),
        })
    }
}

fn request(
    chain: &Chain,
    exam: &Exam,
    validator: &Keypair,
    miner: &Keypair,
    epoch: u64,
    input: &[i16],
) -> Signed<Request> {
    let nonce = Draw::new(epoch).secret("nonce", [0; 3]);
    let body = Request {
        requester: validator.account(),
        miner: miner.account(),
        subnet: SUBNET,
        model: exam.model().id(),
        epoch,
        nonce: std::array::from_fn(|i| nonce[i]),
        input: Input::Numbers(input.to_vec()),
    };
    Signed::new(body, &chain.genesis, validator)
}

fn respond(
    chain: &Chain,
    miner: &Keypair,
    request: &Signed<Request>,
    output: &[i32],
    proof: Option<&[u8]>,
) -> Signed<Response> {
    let body = Response {
        miner: miner.account(),
        request: request.id(&chain.genesis),
        model: request.body.model,
        input: request.body.input.hash(),
        output: Output::Numbers(output.to_vec()),
        proof: proof.map(Hash32::digest),
    };
    Signed::new(body, &chain.genesis, miner)
}

/// The numbers that a request is about.
fn numbers(request: &Signed<Request>) -> &[i16] {
    request.body.input.numbers().unwrap_or_default()
}

/// The proof of the right answer to a request, bound to it.
fn prove(chain: &Chain, exam: &Exam, request: &Signed<Request>, output: &[i32]) -> Result<Vec<u8>, SimulationError> {
    let bound = binding(&chain.genesis, &request.body, request.id(&chain.genesis), output_hash(output));
    answer::prove(exam.model(), &bound, numbers(request), output).map_err(|e| SimulationError::Model(e.to_string()))
}

/// A signed request, the signed response to it, and its proof.
pub(super) type Proven = (Signed<Request>, Signed<Response>, Vec<u8>);

/// A task answered as it should be.
pub(super) fn honest_exchange(
    chain: &Chain,
    exam: &Exam,
    validator: &Keypair,
    miner: &Keypair,
    epoch: u64,
    question: &Question,
) -> Result<Proven, SimulationError> {
    let request = request(chain, exam, validator, miner, epoch, &question.input);
    let proof = prove(chain, exam, &request, &question.expected)?;
    let response = respond(chain, miner, &request, &question.expected, Some(&proof));
    Ok((request, response, proof))
}

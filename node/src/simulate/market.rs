//! The market: epochs of tasks, commitments, reveals and settlements, with the attacker among the others.
//!
//! ```text
//! epoch e, block 1   fixes what the audit of e - 1 asks for
//!          between   validators ask and judge; frauds are found
//!          block 2   reveals of e - 1; refutations and challenges; what an attack does besides
//!          block 3   commitments of e; proofs that challenges ask for
//!          block 4   what an attack does late; the ledger settles e - 1
//! ```

use std::collections::BTreeMap;

use assay_ledger::{
    TxResult, audit, query,
    records::EpochReport,
    tx::{ScoreEntry, ScoreSheet},
};
use assay_primitives::{AccountId, Hash32, Keypair, Score};
use assay_scoring::{EpochSeed, ProofOutcome, Scorer, Tally};
use rand::{Rng as _, RngCore as _, seq::SliceRandom as _};

use super::{
    Attack, Defence, Outcome, SimulationError, Work, actions,
    attack::{Play, Scene, Sheet},
    chain::Chain,
    draw::{Draw, bell, unit},
    evidence::{self, Exchange},
    exam::{Arrived, Exam, Question, mark},
    fraud::{Accusation, Conduct, Frauds},
    population::{Cast, Miner, SUBNET, Weather},
    setting::Setting,
};

/// One market under way.
pub(super) struct Market<'a> {
    pub(super) setting: &'a Setting,
    pub(super) exam: &'a Exam,
    pub(super) chain: Chain,
    pub(super) cast: Cast,
    pub(super) draw: Draw,
    scorer: Scorer,
    frauds: Frauds,
    /// What each validator heard in this epoch.
    exchanges: BTreeMap<usize, Vec<Exchange>>,
    /// To be revealed in the next epoch: by which validator, what, and what it was made from.
    committed: Vec<(usize, ScoreSheet, Vec<Exchange>)>,
    /// What was revealed last, as the blocks show it to anyone.
    pub(super) revealed: Vec<(usize, ScoreSheet)>,
    /// Grain that the attacker's validators and miners were paid.
    earned: Work,
}

/// What the validators see in one epoch.
struct Epoch {
    number: u64,
    /// Miners that are asked, by their place in the cast.
    listed: Vec<usize>,
    weather: Vec<Weather>,
    conduct: Conduct,
    accusations: Vec<Accusation>,
    /// Answers that held, for random challenges: validator, miner, task.
    verified: Vec<(usize, usize, Question)>,
}

/// Plays a setting to its end.
pub(super) fn run(setting: &Setting, exam: &Exam, mut play: Box<dyn Play>) -> Result<Outcome, SimulationError> {
    let mut market = Market::open(setting, exam)?;
    let attacker = market.cast.attacker.account();
    let before = market.chain.wealth(&attacker)?;
    market.register()?;
    for epoch in 1..=setting.epochs {
        market.epoch(epoch, &mut *play)?;
    }
    // The last scores are revealed and settled; nobody works any more.
    market.chain.block()?;
    let honest = market.reveal()?;
    let results = market.chain.block()?;
    held(&honest, &results)?;
    market.end_epoch()?;
    let after = market.chain.wealth(&attacker)?;
    Ok(Outcome { gain: after as f64 - before as f64, earned: market.earned, work: play.work(setting) })
}

impl<'a> Market<'a> {
    fn open(setting: &'a Setting, exam: &'a Exam) -> Result<Self, SimulationError> {
        let draw = Draw::new(setting.seed);
        let cast = Cast::new(setting, draw);
        let chain = Chain::new(&cast.spec(setting, exam.model()))?;
        let scorer = Scorer::from_params(&chain.params);
        let (frauds, exchanges, earned) = (Frauds::default(), BTreeMap::new(), Work::NONE);
        let (committed, revealed) = (Vec::new(), Vec::new());
        Ok(Self { setting, exam, chain, cast, draw, scorer, frauds, exchanges, committed, revealed, earned })
    }

    /// Epoch 0: all miners enter.
    fn register(&mut self) -> Result<(), SimulationError> {
        for miner in &self.cast.miners {
            let action = actions::register_miner(&miner.owner, &miner.operator, &self.chain.genesis);
            self.chain.send(&miner.owner, action)?;
        }
        self.chain.sound_block()?;
        self.end_epoch()
    }

    /// Empty blocks to the end of the epoch, and what its settlement paid.
    fn end_epoch(&mut self) -> Result<(), SimulationError> {
        let epoch = self.chain.now()?.epoch;
        while self.chain.now()?.epoch == epoch {
            self.chain.block()?;
        }
        let Some(settled) = epoch.checked_sub(1) else { return Ok(()) };
        if let Some(report) = query::epoch_report(&self.chain.state, settled, SUBNET)? {
            self.book(&report);
        }
        Ok(())
    }

    fn book(&mut self, report: &EpochReport) {
        let ours = |id: &AccountId| self.cast.validators.iter().any(|v| v.ours && v.operator.account() == *id);
        let paid = report.validators.iter().filter(|line| ours(&line.account));
        self.earned.validating += paid.map(|line| line.reward.0 as f64).sum::<f64>();
        let ours = |id: &AccountId| self.cast.miners.iter().any(|m| m.ours && m.operator.account() == *id);
        let paid = report.miners.iter().filter(|line| ours(&line.account));
        self.earned.mining += paid.map(|line| line.reward.0 as f64).sum::<f64>();
    }

    /// Everybody's reveal, with what the audit asks for. Gives the ids of the honest ones.
    fn reveal(&mut self) -> Result<Vec<Hash32>, SimulationError> {
        let mut honest = Vec::new();
        self.revealed.clear();
        for (v, sheet, exchanges) in std::mem::take(&mut self.committed) {
            let validator = &self.cast.validators[v];
            let exhibits = evidence::exhibits(&self.chain, &self.cast, &validator.operator, &sheet, &exchanges)?;
            let id = self.chain.send(&validator.operator, actions::reveal(sheet.clone(), exhibits))?;
            if !validator.ours {
                honest.push(id);
            }
            self.revealed.push((v, sheet));
        }
        Ok(honest)
    }

    fn epoch(&mut self, number: u64, play: &mut dyn Play) -> Result<(), SimulationError> {
        self.chain.sound_block()?;
        self.exchanges.clear();
        let chain = self.chain.now()?;
        if chain.epoch != number {
            return Err(SimulationError::Refused(format!("epoch {number} was due, it is epoch {}", chain.epoch)));
        }
        let mut epoch = self.begin(number, chain.epoch_start, play.conduct(number))?;
        let mut sheets = Vec::new();
        for v in 0..self.cast.validators.len() {
            let measures = !self.cast.validators[v].ours || play.measures();
            sheets.push(if measures { self.measure(v, &mut epoch, chain.randomness)? } else { Vec::new() });
        }
        let honest = self.reveal()?;
        play.meanwhile(self, number)?;
        let answers = self.accuse(&epoch)?;
        let results = self.chain.block()?;
        held(&honest, &results)?;
        self.commit(&epoch, &sheets, play)?;
        for (miner, challenge, proof) in answers {
            // A challenge that found no room was never opened.
            if query::challenge(&self.chain.state, &challenge)?.is_none() {
                continue;
            }
            self.chain.send(&self.cast.miners[miner].operator.clone(), actions::answer(challenge, proof))?;
        }
        self.chain.sound_block()?;
        play.late(self, number)?;
        self.end_epoch()
    }

    fn begin(&self, number: u64, epoch_start: u64, conduct: Conduct) -> Result<Epoch, SimulationError> {
        let mut listed = Vec::new();
        for (m, miner) in self.cast.miners.iter().enumerate() {
            let record = query::miner(&self.chain.state, &miner.operator.account())?;
            if record.is_some_and(|r| r.retired.is_none() && r.registered < epoch_start) {
                listed.push(m);
            }
        }
        let weather = self.cast.miners.iter().map(|miner| Weather::of(self.draw, miner, number)).collect();
        Ok(Epoch { number, listed, weather, conduct, accusations: Vec::new(), verified: Vec::new() })
    }

    /// One validator's tasks of the epoch and what they come to.
    fn measure(&mut self, v: usize, epoch: &mut Epoch, randomness: Hash32) -> Result<Vec<ScoreEntry>, SimulationError> {
        if self.setting.is_without(Defence::Canaries) {
            // Nothing can be asked whose answer is known: a miner's word is all there is.
            return self.believe(v, epoch, randomness);
        }
        let validator = self.cast.validators[v].number;
        let repeated = self.setting.is_without(Defence::SeededTasks);
        let seed = EpochSeed {
            genesis: self.chain.genesis,
            randomness: if repeated { Hash32::ZERO } else { randomness },
            secret: Hash32(self.draw.secret("validator's tasks", [validator, 0, 0])),
            epoch: if repeated { 0 } else { epoch.number },
        };
        let planned = self.chain.params.tasks_per_epoch;
        let mut entries = Vec::new();
        for m in epoch.listed.clone() {
            let (account, number) = (self.account(m), self.cast.miners[m].number);
            let mut stream = self.draw.stream("tasks", [validator, number, epoch.number]);
            let mut tally = Tally::default();
            for index in 0..planned {
                let at = (index as f64 + unit(&mut stream)) / planned as f64;
                let noise = bell(&mut stream);
                let question = self.exam.question(&seed, &account, u32::try_from(index).unwrap_or(u32::MAX))?;
                let latency_ms = epoch.weather[m].latency_ms(at, noise);
                let arrived = self.arrive(v, m, epoch, &question, at, latency_ms)?;
                if let Some(Arrived { output, .. }) = &arrived {
                    self.hear(v, m, (epoch.number, index), &question, output.clone());
                }
                let held = arrived.as_ref().is_some_and(|a| a.proof == ProofOutcome::Verified);
                mark(&self.scorer, &mut tally, &question, arrived);
                if held && index == 0 && self.setting.challenges {
                    epoch.verified.push((v, m, question));
                }
            }
            let Some(found) = tally.finish(planned) else { continue };
            entries.push(ScoreEntry {
                miner: account,
                score: found.score,
                confidence: found.confidence,
                tasks: found.tasks,
                responses: found.responses,
                refuted: found.refuted,
                proofs_verified: found.proofs_verified,
                proofs_rejected: found.proofs_rejected,
                evidence: self.evidence(v, &account),
                marks: Vec::new(),
            });
        }
        Ok(sorted(entries))
    }

    /// Tasks without canaries: every answer is taken at its word.
    fn believe(&mut self, v: usize, epoch: &Epoch, randomness: Hash32) -> Result<Vec<ScoreEntry>, SimulationError> {
        let secret = Hash32(self.draw.secret("validator's tasks", [self.cast.validators[v].number, 0, 0]));
        let seed = EpochSeed { genesis: self.chain.genesis, randomness, secret, epoch: epoch.number };
        let mut entries = Vec::new();
        for m in &epoch.listed {
            let account = self.account(*m);
            for index in 0..FULL_MARKS_TASKS {
                let question = self.exam.question(&seed, &account, index)?;
                let output = question.expected.clone();
                self.hear(v, *m, (epoch.number, index.into()), &question, output);
            }
            entries.push(ScoreEntry { evidence: self.evidence(v, &account), ..full_marks(account) });
        }
        Ok(sorted(entries))
    }

    /// Keeps what a validator heard, to show it when it is asked for.
    fn hear(&mut self, v: usize, m: usize, at: (u64, u64), question: &Question, output: Vec<i32>) {
        let keys = (&self.cast.validators[v].operator, &self.cast.miners[m].operator);
        let model = self.exam.model().id();
        let exchange = evidence::exchange(&self.chain.genesis, keys, model, at, question, output);
        self.exchanges.entry(v).or_default().push(exchange);
    }

    /// What a validator's entry on a miner binds itself to.
    fn evidence(&self, v: usize, miner: &AccountId) -> Hash32 {
        let heard = self.exchanges.get(&v).into_iter().flatten().filter(|(request, _)| request.body.miner == *miner);
        audit::evidence_of(&self.chain.genesis, heard.map(|(_, response)| response))
    }

    /// The answer of one miner to one task.
    fn arrive(
        &mut self,
        v: usize,
        m: usize,
        epoch: &mut Epoch,
        question: &Question,
        at: f64,
        latency_ms: Option<u64>,
    ) -> Result<Option<Arrived>, SimulationError> {
        let Some(latency_ms) = latency_ms else { return Ok(None) };
        if !self.cast.miners[m].ours || epoch.conduct == Conduct::Work {
            if self.setting.attack == Some(Attack::Precomputed) {
                self.frauds.learn(question);
            }
            let output = question.expected.clone();
            return Ok(Some(Arrived { output, proof: ProofOutcome::Verified, latency_ms }));
        }
        let seen = super::fraud::Seen { validator: v, miner: m, epoch: epoch.number, latency_ms };
        let weather = &epoch.weather;
        let honest = self.cast.miners.iter().enumerate().filter(|(_, miner)| !miner.ours);
        let victims: Vec<(usize, Option<u64>)> = honest.map(|(h, _)| (h, weather[h].latency_ms(at, 0.0))).collect();
        let found = self.frauds.answer(
            epoch.conduct,
            &self.chain,
            self.exam,
            &self.cast,
            self.setting,
            &seen,
            question,
            &victims,
        )?;
        let Some((arrived, accusation)) = found else { return Ok(None) };
        epoch.accusations.extend(accusation);
        Ok(Some(arrived))
    }

    /// Brings frauds before the chain, each miner's refuted once, and challenges at random. Gives the proofs that honest
    /// miners owe.
    fn accuse(&mut self, epoch: &Epoch) -> Result<Vec<(usize, Hash32, Vec<u8>)>, SimulationError> {
        let (mut refuted, mut challenged) = (Vec::new(), Vec::new());
        for accusation in &epoch.accusations {
            let (validator, miner) = (accusation.validator, accusation.miner);
            let once = if accusation.refutes() {
                !refuted.contains(&miner)
            } else {
                !challenged.contains(&(validator, miner))
            };
            if !once {
                continue;
            }
            if accusation.refutes() {
                refuted.push(miner)
            } else {
                challenged.push((validator, miner))
            }
            let action = accusation.action(&self.chain, self.exam, &self.cast)?;
            self.chain.send(&self.cast.validators[validator].operator, action)?;
        }
        let mut answers = Vec::new();
        if self.setting.challenges {
            for v in 0..self.cast.validators.len() {
                let mut stream = self.draw.stream("challenge", [self.cast.validators[v].number, epoch.number, 0]);
                let mine: Vec<_> = epoch.verified.iter().filter(|(by, ..)| *by == v).collect();
                let drawn = stream.gen_range(0..10_000) < self.chain.params.challenge_rate;
                let Some((_, m, question)) = mine.choose(&mut stream).filter(|_| drawn) else { continue };
                let validator = self.cast.validators[v].operator.clone();
                let (request, response, proof) = super::fraud::honest_exchange(
                    &self.chain,
                    self.exam,
                    &validator,
                    &self.cast.miners[*m].operator,
                    epoch.number,
                    question,
                )?;
                answers.push((*m, response.id(&self.chain.genesis), proof));
                self.chain.send(&validator, actions::challenge(request, response))?;
            }
        }
        Ok(answers)
    }

    /// Everybody's commitment; sheets are kept to be revealed.
    fn commit(
        &mut self,
        epoch: &Epoch,
        sheets: &[Vec<ScoreEntry>],
        play: &mut dyn Play,
    ) -> Result<(), SimulationError> {
        let listed: Vec<AccountId> = epoch.listed.iter().map(|m| self.account(*m)).collect();
        for v in 0..self.cast.validators.len() {
            let ours = self.cast.validators[v].ours;
            let scene = Scene { market: self, epoch: epoch.number, listed: &listed, now: sheets };
            let sheet = if ours { play.sheet(&scene, &sheets[v])? } else { Sheet::Scores(sheets[v].clone()) };
            let Sheet::Scores(scores) = sheet else { continue };
            self.commit_scores(v, epoch.number, scores)?;
        }
        Ok(())
    }

    fn commit_scores(&mut self, v: usize, epoch: u64, scores: Vec<ScoreEntry>) -> Result<(), SimulationError> {
        let validator = &self.cast.validators[v];
        let mut salt = [0; 32];
        self.draw.stream("salt", [validator.number, epoch, 0]).fill_bytes(&mut salt);
        let sheet =
            ScoreSheet { validator: validator.operator.account(), subnet: SUBNET, epoch, salt, scores: sorted(scores) };
        self.chain.send(&validator.operator, actions::commit(epoch, sheet.commitment(&self.chain.genesis)))?;
        self.committed.push((v, sheet, self.exchanges.remove(&v).unwrap_or_default()));
        Ok(())
    }

    fn account(&self, miner: usize) -> AccountId {
        self.cast.miners[miner].operator.account()
    }

    /// Replaces a miner of the attacker by one of another key, which asks nobody.
    pub(super) fn replace_miner(&mut self, m: usize, heir: Keypair) -> Result<(), SimulationError> {
        let owner = self.cast.miners[m].owner.clone();
        let old = self.account(m);
        self.chain.send(&owner, actions::retire_miner(old))?;
        self.chain.send(&owner, actions::register_miner(&owner, &heir, &self.chain.genesis))?;
        let (number, quality) = (self.cast.miners[m].number + 1_000, self.cast.miners[m].quality);
        self.cast.miners.push(Miner { operator: heir, owner, number, quality, ours: true });
        Ok(())
    }
}

/// Whether what honest parties sent took effect.
fn held(honest: &[Hash32], results: &[TxResult]) -> Result<(), SimulationError> {
    for id in honest {
        let result = results.iter().find(|result| result.id == *id);
        let error = result.map_or(Some("it found no room".to_owned()), |result| result.error.clone());
        if let Some(error) = error {
            return Err(SimulationError::Refused(error));
        }
    }
    Ok(())
}

/// Ascending by miner, as a sheet must be.
fn sorted(mut entries: Vec<ScoreEntry>) -> Vec<ScoreEntry> {
    entries.sort_by_key(|entry| entry.miner);
    entries
}

/// Tasks that a verdict claims for which nothing was done.
const FULL_MARKS_TASKS: u32 = 4;

/// A verdict that nothing was done for.
pub(super) fn full_marks(miner: AccountId) -> ScoreEntry {
    ScoreEntry {
        miner,
        score: Score::ONE,
        confidence: Score::ONE,
        tasks: FULL_MARKS_TASKS,
        responses: FULL_MARKS_TASKS,
        refuted: 0,
        proofs_verified: FULL_MARKS_TASKS,
        proofs_rejected: 0,
        evidence: Hash32::ZERO,
        marks: Vec::new(),
    }
}

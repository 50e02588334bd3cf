//! `assay zk bench`, and the figures that `prove` gives too.

use std::{path::PathBuf, sync::Arc, time::Instant};

use assay_circuits::{
    network::Network,
    proof::{
        ProofSystem, Statement,
        groth16::Groth16,
        halo2::Halo2,
        sumcheck::{
            Sumcheck,
            hiding::{PROOFS, SumcheckHiding},
        },
    },
    relation::Relations,
};
use assay_primitives::ModelId;
use clap::Args;
use cpu_time::ProcessTime;
use eyre::ensure;
use serde_json::{Value, json};

use super::{
    super::global::{Global, pairs},
    files::{self, Loaded, Quantising, System},
    prove::{Bound, one_input},
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Bench {
    /// An ONNX file, or a folder that `assay zk compile` made.
    model: PathBuf,
    /// The input: JSON {"input_data": [[...], ...]} or .npz.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Samples to quantise an ONNX file with; without, the input itself.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// The proof system.
    #[arg(long, value_enum, default_value_t = System::Sumcheck)]
    system: System,
    /// Proofs and verifications that are timed; medians are told.
    #[arg(long, value_name = "N", default_value = "5", value_parser = files::at_least_one)]
    runs: usize,
    #[command(flatten)]
    quantising: Quantising,
    #[command(flatten)]
    bound: Bound,
}

/// Times of the stages of a proof, in seconds.
pub(super) struct Figures {
    system: &'static str,
    setup: f64,
    witness: Vec<f64>,
    prove: Vec<f64>,
    prove_cpu: Vec<f64>,
    verify: Vec<f64>,
}

fn timed<T>(into: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    into.push(begun.elapsed().as_secs_f64());
    done
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// The most memory this process ever had, MiB; `None` where the system does not say.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

impl Figures {
    pub(super) fn begin(system: &'static str) -> Self {
        Self { system, setup: 0.0, witness: vec![], prove: vec![], prove_cpu: vec![], verify: vec![] }
    }

    pub(super) fn setup<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.setup += begun.elapsed().as_secs_f64();
        done
    }

    pub(super) fn witness<T>(&mut self, work: impl FnOnce() -> T) -> T {
        timed(&mut self.witness, work)
    }

    pub(super) fn prove<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let cpu = ProcessTime::now();
        let done = timed(&mut self.prove, work);
        self.prove_cpu.push(cpu.elapsed().as_secs_f64());
        done
    }

    pub(super) fn verify<T>(&mut self, work: impl FnOnce() -> T) -> T {
        timed(&mut self.verify, work)
    }

    pub(super) fn prove_s(&self) -> f64 {
        median(&self.prove)
    }

    pub(super) fn verify_s(&self) -> f64 {
        median(&self.verify)
    }

    /// The JSON of `prove` and `bench`. A system without a set-up only commits to the weights.
    pub(super) fn to_json(
        &self,
        model: ModelId,
        outputs: &[Vec<f64>],
        proof_bytes: usize,
        verifier_key_bytes: usize,
        prover_key_bytes: Option<usize>,
        error: Option<f64>,
    ) -> Value {
        let commits_only = [Sumcheck::NAME, SumcheckHiding::NAME].contains(&self.system);
        let (setup, commit) = if commits_only { (0.0, self.setup) } else { (self.setup, 0.0) };
        json!({
            "model_id": model, "system": self.system, "setup_s": setup, "commit_s": commit,
            "witness_s": median(&self.witness), "prove_s": self.prove_s(), "prove_cpu_s": median(&self.prove_cpu),
            "verify_s": self.verify_s(), "proof_bytes": proof_bytes, "verifier_key_bytes": verifier_key_bytes,
            "prover_key_bytes": prover_key_bytes, "peak_rss_mib": peak_rss_mib(), "output": outputs,
            "max_abs_err_vs_float": error,
        })
    }
}

/// How far a model's outputs lie from the float network's.
pub(super) struct Distance {
    /// The largest difference: infinite where the float network gives no number.
    pub(super) most: f64,
    /// Of the output that is off by the largest share: its number, difference and largest magnitude.
    worst: (usize, f64, f64),
    /// Outputs there are.
    count: usize,
}

impl Distance {
    /// Differences above this share of an output's largest number are told in words.
    const NOTABLE: f64 = 0.1;

    /// The reason instead, without the float network.
    pub(super) fn find(
        network: &eyre::Result<Network>,
        values: &[Vec<f64>],
        outputs: &[Vec<f64>],
    ) -> eyre::Result<Result<Self, String>> {
        Ok(match network {
            Ok(network) => Ok(Self::between(&network.evaluate(values)?, outputs)),
            Err(why) => Err(format!("not compared with the float network: {why:#}")),
        })
    }

    fn between(float: &[Vec<f64>], outputs: &[Vec<f64>]) -> Self {
        let off = |(a, b): (&f64, &f64)| if a.is_finite() { (a - b).abs() } else { f64::INFINITY };
        let one = |(at, (float, output)): (usize, (&Vec<f64>, &Vec<f64>))| {
            let largest = float.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
            (at, float.iter().zip(output).map(off).fold(0.0, f64::max), largest)
        };
        let all: Vec<_> = float.iter().zip(outputs).enumerate().map(one).collect();
        let share = |&(_, most, largest): &(usize, f64, f64)| if most > 0.0 { most / largest } else { 0.0 };
        let worst = all.iter().copied().max_by(|a, b| share(a).total_cmp(&share(b))).unwrap_or_default();
        Self { most: all.iter().map(|(_, most, _)| *most).fold(0.0, f64::max), worst, count: all.len() }
    }

    /// What an answer that is far from the float network's is told with.
    fn warning(&self) -> Option<String> {
        let (at, most, largest) = self.worst;
        if self.most.is_infinite() {
            return Some(
                "the float network gives no finite output for this input: what the integers give means nothing".into(),
            );
        }
        let which = if self.count > 1 { format!("output {at}") } else { "the output".into() };
        (most > Self::NOTABLE * largest).then(|| {
            format!(
                "{which} is up to {most:.4} off the float network's, whose largest is {largest:.4}: compile with --precision 16 \
                 or with samples that are more like this input; the model's report tells what each tensor loses"
            )
        })
    }
}

/// What is to be said of an answer: that it is far from the float network's, or could not be compared.
pub(super) fn warning(distance: &Result<Distance, String>) -> Option<String> {
    match distance {
        Ok(distance) => distance.warning(),
        Err(reason) => Some(reason.clone()),
    }
}

pub(super) fn run(global: &Global, command: &Bench) -> eyre::Result<()> {
    match command.system {
        System::Sumcheck => measure::<Sumcheck>(global, command),
        System::SumcheckHiding => {
            // The key is made for the bench, on a salt of its own: a secret model's proofs are not used up.
            ensure!(command.runs <= PROOFS, "--runs {}: a hiding key makes at most {PROOFS} proofs", command.runs);
            measure::<SumcheckHiding>(global, command)
        }
        System::Groth16 => measure::<Groth16>(global, command),
        System::Halo2 => measure::<Halo2>(global, command),
    }
}

fn measure<S: ProofSystem>(global: &Global, command: &Bench) -> eyre::Result<()> {
    let bar = global.progress("compiling");
    let Loaded { model, network, .. } =
        files::load(global, &command.model, command.calibration.as_deref(), Some(&command.input), &command.quantising)?;
    let outline = model.outline();
    let (values, inputs) = one_input(&command.input, &outline)?;
    let mut figures = Figures::begin(S::NAME);
    bar.set_message("set-up");
    let relations = Arc::new(Relations::of(model.graph())?);
    S::supports(&relations)?;
    let (prover, verifier) = figures.setup(|| S::set_up(Arc::clone(&relations), model.weights()))?;
    let mut last = None;
    for _ in 0..command.runs {
        bar.set_message("proving");
        let trace = figures.witness(|| relations.trace(model.graph(), model.weights(), &inputs))?;
        let outputs = relations.outputs_of(&trace);
        let binding = command.bound.digest(&outline, &inputs, &outputs)?;
        let statement = Statement { binding: &binding.0, inputs: &inputs, outputs: &outputs };
        let proof = figures.prove(|| S::prove(&prover, &trace, statement))?;
        bar.set_message("verifying");
        figures.verify(|| S::verify(&verifier, statement, &proof))?;
        last = Some((proof, outputs));
    }
    bar.finish_and_clear();
    let (proof, outputs) = last.expect("at least one run");
    let outputs = outline.dequantise_outputs(&outputs);
    let distance = Distance::find(&network, &values, &outputs)?;
    let error = distance.as_ref().ok().map(|distance| distance.most);
    let key = S::verifier_key_to_bytes(&verifier).len();
    let prover_key = S::prover_key_bytes(&prover);
    let value = figures.to_json(model.id(), &outputs, proof.len(), key, prover_key, error);
    global.show(&value, || {
        pairs([
            ("system", S::NAME.to_owned()),
            ("set-up", format!("{:.3} s", figures.setup)),
            ("witness", format!("{:.2} ms", median(&figures.witness) * 1e3)),
            ("prove", format!("{:.3} s (CPU {:.3} s)", figures.prove_s(), median(&figures.prove_cpu))),
            ("verify", format!("{:.2} ms", figures.verify_s() * 1e3)),
            ("proof", format!("{} bytes", proof.len())),
            (
                "keys",
                format!(
                    "verifier {key} bytes, prover {}",
                    prover_key.map_or("derived".into(), |b| format!("{b} bytes"))
                ),
            ),
            ("memory", peak_rss_mib().map_or("unknown".into(), |m| format!("{m:.0} MiB at most"))),
            ("error", error.map_or("unknown".into(), |e| format!("{e:.4} at most, against the float network"))),
        ])
    });
    if let Some(warning) = warning(&distance) {
        global.warn(warning);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_far_from_the_float_networks_is_told_in_words() {
        let said = |float: [f64; 2]| Distance::between(&[float.to_vec()], &[vec![1.0, -2.0]]).warning();
        assert_eq!(said([1.0, -2.0]), None);
        assert_eq!(said([1.1, -2.1]), None);
        assert!(said([1.0, -2.5]).unwrap().contains("up to 0.5000 off"));
        assert!(said([0.0, 0.0]).unwrap().contains("up to 2.0000 off"));
        // A small output is judged by its own size, not by a large one's beside it.
        let two = Distance::between(&[vec![1000.0], vec![0.1, 0.9]], &[vec![1000.5], vec![0.5, 0.5]]);
        assert!(two.warning().unwrap().starts_with("output 1 is up to 0.4000 off"));
        assert_eq!(two.most, 0.5);
        for float in [[f64::NAN, -2.0], [1.0, f64::NEG_INFINITY]] {
            assert!(said(float).unwrap().contains("no finite output"));
        }
    }
}

//! `assay zk` from the outside: the files that it writes, those that it never writes over, and whose keys a verifier takes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use assay_tests::binary;
use serde_json::Value;

fn asset(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/digits").join(name);
    path.to_str().unwrap().to_owned()
}

/// A folder with the digit network compiled in `m`.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let (onnx, calibration) = (asset("digits.onnx"), asset("calibration.json"));
        desk.did(&["zk", "compile", &onnx, "--calibration", &calibration, "--out", "m"]);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary().unwrap());
        command.args(arguments).arg("--json").current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The JSON of a command that succeeds.
    fn did(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The message of a command that fails.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} succeeded");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        error["error"]["message"].as_str().unwrap().to_owned()
    }

    fn prove<'a>(input: &'a str, out: &'a [&'a str]) -> Vec<&'a str> {
        [&["zk", "prove", "m", "--input", input], out].concat()
    }

    /// Verifies proof `p` of output `o` with further flags.
    fn verify(&self, input: &str, more: &[&str]) -> Output {
        let fixed = ["zk", "verify", "m/verifier", "--input", input, "--output", "o", "--proof", "p"];
        self.run(&[&fixed, more].concat())
    }
}

#[test]
fn every_system_proves_and_a_proof_is_of_one_request() {
    let (desk, input) = (Desk::new(), asset("input-7.json"));
    for system in ["sumcheck", "groth16"] {
        let out = ["--out", "p", "--output", "o", "--epoch", "3", "--system", system];
        let proved = desk.did(&Desk::prove(&input, &out));
        assert_eq!(proved["system"], system);
        assert!(desk.verify(&input, &["--epoch", "3"]).status.success(), "{system}");
        let id = proved["model_id"].as_str().unwrap();
        assert!(desk.verify(&input, &["--epoch", "3", "--model", id]).status.success(), "{system}");
        let another = desk.verify(&input, &["--epoch", "3", "--model", &"7".repeat(64)]);
        assert!(String::from_utf8_lossy(&another.stderr).contains("is of another model"), "{system}");
        let other = desk.verify(&input, &["--epoch", "4"]);
        let found: Value = serde_json::from_slice(&other.stdout).unwrap();
        assert_eq!((other.status.code(), &found["verified"]), (Some(1), &Value::Bool(false)), "{system}: {found}");
    }
    let error = desk.refused(&Desk::prove(&input, &["--out", "p", "--system", "halo2"]));
    assert!(error.contains("halo2"), "a model not committed for it: {error}");
}

#[test]
fn what_is_wrong_is_laid_to_the_right_file() {
    let (desk, onnx) = (Desk::new(), asset("digits.onnx"));
    fs::write(desk.path("short.json"), r#"{"input_data": [[1.0, 2.0]]}"#).unwrap();
    let error = desk.refused(&["zk", "compile", &onnx, "--calibration", "short.json", "--out", "n"]);
    assert!(error.starts_with("short.json: "), "{error}");
    let calibration = asset("calibration.json");
    fs::copy(&onnx, desk.path("bare.onnx")).unwrap();
    desk.did(&["zk", "compile", "bare.onnx", "--calibration", &calibration, "--out", "n", "--batch", "3"]);
    let wrong = desk.run(&["zk", "compile", "bare.onnx", "--calibration", &calibration, "--out", "n", "--batch", "0"]);
    assert_eq!(wrong.status.code(), Some(2), "wrong usage");
}

#[test]
fn nothing_of_the_model_nor_of_the_question_is_written_over() {
    let (desk, input) = (Desk::new(), asset("input-7.json"));
    fs::copy(&input, desk.path("i.json")).unwrap();
    let model = fs::read(desk.path("m/model.assay")).unwrap();
    for (out, why) in [
        (vec!["--out", "m/model.assay"], "model's own"),
        (vec!["--out", "m/keys/groth16.key"], "model's own"),
        (vec!["--out", "p", "--output", "m/verifier/outline.assay"], "model's own"),
        (vec!["--out", "p", "--output", "p"], "both name"),
        (vec!["--out", "i.json"], "both name"),
        (vec!["--out", "m"], "is a folder"),
    ] {
        let error = desk.refused(&Desk::prove("i.json", &out));
        assert!(error.contains(why), "{out:?}: {error}");
    }
    let run = |model, output| ["zk", "run", model, "--input", "i.json", "--calibration", "c.json", "--output", output];
    fs::copy(asset("digits.onnx"), desk.path("d.onnx")).unwrap();
    fs::copy(asset("calibration.json"), desk.path("c.json")).unwrap();
    for (model, output, why) in [
        ("m", "m/model.assay", "model's own"),
        ("m", "m/keys/hiding-0.count", "model's own"),
        ("m", "i.json", "both name"),
        ("d.onnx", "d.onnx", "both name"),
        ("d.onnx", "c.json", "both name"),
    ] {
        let error = desk.refused(&run(model, output));
        assert!(error.contains(why), "{model} {output}: {error}");
    }
    desk.did(&run("d.onnx", "o.json"));
    let error = desk.refused(&["zk", "report", "m", "--svg", "m/model.assay"]);
    assert!(error.contains("model's own"), "{error}");
    assert_eq!(fs::read(desk.path("m/model.assay")).unwrap(), model);
    assert_eq!(fs::read(desk.path("i.json")).unwrap(), fs::read(&input).unwrap());
    assert!(!desk.path("p").exists());
}

#[test]
fn a_secret_models_proof_is_not_counted_where_it_could_not_be_written() {
    let (desk, input) = (Desk::new(), asset("input-7.json"));
    let (onnx, calibration) = (asset("digits.onnx"), asset("calibration.json"));
    desk.did(&["zk", "compile", &onnx, "--calibration", &calibration, "--out", "s", "--secret"]);
    let prove = |out| ["zk", "prove", "s", "--input", &input, "--out", out];
    for out in ["folder/", "s/model.assay/x", "s"] {
        desk.refused(&prove(out));
    }
    assert_eq!(desk.did(&prove("p"))["proofs_left"], 31);
}

#[test]
fn proofs_made_at_once_are_of_one_set_of_keys() {
    let (desk, input) = (Desk::new(), asset("input-7.json"));
    let begin = |n: usize| {
        let (proof, output) = (format!("p{n}"), format!("o{n}"));
        let out = ["--out", &proof, "--output", &output, "--system", "groth16"];
        desk.command(&Desk::prove(&input, &out)).output()
    };
    std::thread::scope(|scope| {
        let proofs: Vec<_> = (0..3).map(|n| scope.spawn(move || begin(n))).collect();
        assert!(proofs.into_iter().all(|proof| proof.join().unwrap().unwrap().status.success()));
    });
    for n in 0..3 {
        fs::rename(desk.path(&format!("p{n}")), desk.path("p")).unwrap();
        fs::rename(desk.path(&format!("o{n}")), desk.path("o")).unwrap();
        assert!(desk.verify(&input, &[]).status.success(), "proof {n}");
    }
}

#[test]
fn a_ceremonys_key_is_told_by_the_hash_that_its_transcript_gives() {
    let (desk, input) = (Desk::new(), asset("input-7.json"));
    desk.did(&["zk", "ceremony", "start", "m", "--out", "t0"]);
    let contribute = |from: &str, name: &str, to: &str| {
        desk.did(&["zk", "ceremony", "contribute", "--transcript", from, "--name", name, "--out", to])
    };
    contribute("t0", "ann", "a1");
    // What one party made alone gives no keys, whatever the other phase holds.
    desk.did(&["zk", "ceremony", "specialise", "m", "--transcript", "a1", "--out", "a2"]);
    contribute("a2", "bob", "a3");
    contribute("a3", "cat", "a4");
    let alone = desk.did(&["zk", "ceremony", "verify", "m", "--transcript", "a4"]);
    assert_eq!((&alone["verified"], &alone["key"]), (&Value::Bool(true), &Value::Null));
    assert_eq!(alone["second_phase"], serde_json::json!(["bob", "cat"]));
    let error = desk.refused(&["zk", "ceremony", "finish", "m", "--transcript", "a4"]);
    assert!(error.contains("two parties at least"), "{error}");
    contribute("a1", "bob", "t1");
    desk.did(&["zk", "ceremony", "specialise", "m", "--transcript", "t1", "--out", "t2"]);
    for name in ["", "ann, bob", "\u{1b}[2K"] {
        let error =
            desk.refused(&["zk", "ceremony", "contribute", "--transcript", "t2", "--name", name, "--out", "t3"]);
        assert!(error.starts_with("--name: the name"), "{error}");
    }
    let early = desk.did(&["zk", "ceremony", "verify", "m", "--transcript", "t2"]);
    assert_eq!(early["key"], Value::Null, "no key before both phases have a contribution");
    contribute("t2", "bob", "one");
    // The same party again is no other.
    contribute("one", "bob", "again");
    desk.refused(&["zk", "ceremony", "finish", "m", "--transcript", "again"]);
    contribute("one", "ann", "t3");
    let checked = desk.did(&["zk", "ceremony", "verify", "m", "--transcript", "t3"]);
    let finished = desk.did(&["zk", "ceremony", "finish", "m", "--transcript", "t3"]);
    assert_eq!(checked["key"], finished["key"]);

    desk.did(&Desk::prove(&input, &["--out", "p", "--output", "o", "--system", "groth16"]));
    let hash = checked["key"].as_str().unwrap();
    assert!(desk.verify(&input, &["--require-ceremony", "--key", hash]).status.success());
    // Neither another ceremony's key nor a new one takes its place unasked.
    contribute("t3", "cat", "t4");
    let error = desk.refused(&["zk", "ceremony", "finish", "m", "--transcript", "t4"]);
    assert!(error.contains(hash), "{error}");
    fs::remove_file(desk.path("m/keys/groth16.key")).unwrap();
    let error = desk.refused(&Desk::prove(&input, &["--out", "p2", "--system", "groth16"]));
    assert!(error.contains("without its prover's key"), "{error}");
    // A key that one party made, under the same model: the hash tells it.
    fs::remove_file(desk.path("m/verifier/groth16.key")).unwrap();
    desk.did(&Desk::prove(&input, &["--out", "p", "--output", "o", "--system", "groth16"]));
    assert!(desk.verify(&input, &[]).status.success());
    for flags in [&["--key", hash][..], &["--require-ceremony"]] {
        assert!(!desk.verify(&input, flags).status.success(), "{flags:?}");
    }
}

#[test]
fn compiling_writes_over_nothing_that_is_no_models_and_reads_the_network_once() {
    let (desk, onnx, calibration) = (Desk::new(), asset("digits.onnx"), asset("calibration.json"));
    fs::create_dir(desk.path("a")).unwrap();
    fs::copy(&calibration, desk.path("a/report.json")).unwrap();
    let error = desk.refused(&["zk", "compile", &onnx, "--calibration", "a/report.json", "--out", "a"]);
    assert!(error.starts_with("a/report.json would be written over"), "{error}");
    let error = desk.refused(&["zk", "compile", &onnx, "--calibration", &calibration, "--out", "a"]);
    assert!(error.starts_with("a/report.json is there"), "{error}");
    assert_eq!(fs::read(desk.path("a/report.json")).unwrap(), fs::read(&calibration).unwrap());
    fs::write(desk.path("f"), "").unwrap();
    let error = desk.refused(&["zk", "compile", &onnx, "--calibration", &calibration, "--out", "f"]);
    assert!(error.contains("is a file"), "{error}");

    let mut piped = desk.command(&["zk", "compile", "/dev/stdin", "--calibration", &calibration, "--out", "b"]);
    let output = piped.stdin(fs::File::open(&onnx).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(desk.path("b/network.onnx")).unwrap(), fs::read(&onnx).unwrap());
}

#[test]
fn a_folder_whose_parts_are_of_different_models_is_refused_before_anything_is_written() {
    let (desk, onnx, input) = (Desk::new(), asset("digits.onnx"), asset("input-7.json"));
    let calibration = asset("calibration.json");
    desk.did(&["zk", "compile", &onnx, "--calibration", &calibration, "--out", "n", "--precision", "8"]);
    desk.did(&Desk::prove(&input, &["--out", "p", "--output", "o"]));
    let (model, key) = (fs::read(desk.path("m/model.assay")).unwrap(), "m/verifier/sumcheck.key");
    let kept = fs::read(desk.path(key)).unwrap();

    let mut flipped = model.clone();
    let last = flipped.len() - 40;
    flipped[last] ^= 1;
    for other in [fs::read(desk.path("n/model.assay")).unwrap(), flipped] {
        fs::write(desk.path("m/model.assay"), &other).unwrap();
        for arguments in [Desk::prove(&input, &["--out", "p2"]), vec!["zk", "run", "m", "--input", &input]] {
            let error = desk.refused(&arguments);
            assert!(error.contains("different models") || error.contains("m/model.assay: "), "{error}");
        }
        desk.refused(&["zk", "report", "m"]);
        assert_eq!(fs::read(desk.path(key)).unwrap(), kept);
    }
    fs::write(desk.path("m/model.assay"), &model).unwrap();
    assert!(desk.verify(&input, &[]).status.success());

    fs::copy(desk.path("n/report.json"), desk.path("m/report.json")).unwrap();
    let error = desk.refused(&["zk", "report", "m"]);
    assert!(error.starts_with("m/report.json is the report of"), "{error}");
    fs::remove_file(desk.path("m/report.json")).unwrap();
    let error = desk.refused(&["zk", "report", "m"]);
    assert!(error.contains("cannot read m/report.json"), "{error}");
    let run = desk.did(&["zk", "run", "m", "--input", &input]);
    assert!(run["max_abs_err_vs_float"].is_null(), "{run}");
}

"""Runs the shipped digit models, compiled by `assay`, beside onnxruntime on every held-out scan, and refuses an agreement of the
largest output under 99 %.

    python3 tests/zk/agreement.py --assay PATH [--work DIR]

Each scan is a run of `assay zk run` on the compiled folder, and one of the float network in onnxruntime.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

ASSETS = Path(__file__).resolve().parents[2] / "assets"
MODELS = ["digits", "digits-cnn"]
LEAST = 0.99


def scans(name):
    return json.loads((ASSETS / "digits" / f"{name}.json").read_text())


def call(assay, *arguments):
    done = subprocess.run([assay, "zk", *map(str, arguments), "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"assay zk {arguments[0]} failed:\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def feed(path, lists):
    path.write_text(json.dumps({"input_data": lists}))
    return path


def compare(assay, name, work):
    """Scans, those on which both name the same digit, those each is right on, and the largest difference of an output."""
    work.mkdir(parents=True, exist_ok=True)
    network = ASSETS / name / f"{name}.onnx"
    calibration = feed(work / "calibration.json", [scan["pixels"] for scan in scans("calibration")])
    call(assay, "compile", network, "--calibration", calibration, "--out", work / "model")
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in port.shape]
    same = ours_right = float_right = 0
    worst = 0.0
    held_out = scans("heldout")
    for scan in held_out:
        found = call(assay, "run", work / "model", "--input", feed(work / "input.json", [scan["pixels"]]))
        ours = np.array(found["output"][0])
        pixels = np.array(scan["pixels"], dtype=np.float32).reshape(shape)
        floats = session.run(None, {port.name: pixels})[0].reshape(-1)
        same += int(ours.argmax() == floats.argmax())
        ours_right += int(ours.argmax() == scan["label"])
        float_right += int(floats.argmax() == scan["label"])
        worst = max(worst, float(np.abs(ours - floats).max()))
    return len(held_out), same, ours_right, float_right, worst


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--assay", required=True)
    arguments.add_argument("--work", type=Path, default=Path("target/agreement"))
    given = arguments.parse_args()
    short = []
    for name in MODELS:
        count, same, ours, floats, worst = compare(given.assay, name, given.work / name)
        print(f"{name}: {count} held-out scans, {same} ({100 * same / count:.2f} %) with the same digit as onnxruntime {onnxruntime.__version__}; "
              f"right: integers {ours}, floats {floats}; largest difference of an output {worst:.4f}")
        if same < LEAST * count:
            short.append(name)
    if short:
        sys.exit(f"less than {100 * LEAST:.0f} % on {', '.join(short)}")


if __name__ == "__main__":
    main()

"""Trains the digit classifier and writes the files of this folder.

    python3 -m venv venv && venv/bin/pip install -r assets/digits/requirements.txt
    venv/bin/python assets/digits/train.py

Data: the 8x8 handwritten digit scans that scikit-learn ships (UCI "Optical
Recognition of Handwritten Digits", test part), 64 pixels of 0..16 a scan.
Model: 64 -> 32 -> 10 with one ReLU. The network takes raw pixels: the division
by 16 used while training is folded into the first layer's weights.

Everything is seeded, so the same package versions on the same kind of machine
write the same files.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED = 20240
HIDDEN = 32
HELD_OUT = 360
CALIBRATION = 100
HERE = Path(__file__).resolve().parent


def scans(pixels, labels):
    return [{"label": int(d), "pixels": [int(v) for v in p]} for p, d in zip(pixels, labels)]


def write_json(path, value):
    text = json.dumps(value, separators=(",", ":")) if not isinstance(value, list) else (
        "[\n" + ",\n".join(json.dumps(v, separators=(",", ":")) for v in value) + "\n]")
    path.write_text(text + "\n")


def forward(x, w1, b1, w2, b2):
    return np.maximum(x @ w1.T + b1, 0) @ w2.T + b2


def main():
    digits = load_digits()
    pixels, labels = digits.data, digits.target
    assert pixels.shape[1] == 64 and pixels.min() == 0 and pixels.max() == 16
    x_train, x_held, y_train, y_held = train_test_split(
        pixels, labels, test_size=HELD_OUT, random_state=SEED, stratify=labels)

    net = MLPClassifier(hidden_layer_sizes=(HIDDEN,), activation="relu", solver="adam", alpha=1e-3,
                        batch_size=64, learning_rate_init=2e-3, max_iter=300, tol=0.0,
                        n_iter_no_change=300, random_state=SEED)
    net.fit(x_train / 16.0, y_train)

    w1 = (net.coefs_[0].T / 16.0).astype(np.float32)
    b1 = net.intercepts_[0].astype(np.float32)
    w2 = net.coefs_[1].T.astype(np.float32)
    b2 = net.intercepts_[1].astype(np.float32)

    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["pixels", "hidden.weight", "hidden.bias"], ["hidden"],
                             name="hidden_gemm", transB=1),
            helper.make_node("Relu", ["hidden"], ["active"], name="hidden_relu"),
            helper.make_node("Gemm", ["active", "logits.weight", "logits.bias"], ["logits"],
                             name="logits_gemm", transB=1),
        ],
        "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(t, n) for t, n in
         [(w1, "hidden.weight"), (b1, "hidden.bias"), (w2, "logits.weight"), (b2, "logits.bias")]],
    )
    model = helper.make_model(graph, producer_name="assay-digits",
                              opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    (HERE / "digits.onnx").write_bytes(model.SerializeToString(deterministic=True))

    # One calibration scan in ten per digit, so that no digit is missing.
    x_cal, _, y_cal, _ = train_test_split(
        x_train, y_train, train_size=CALIBRATION, random_state=SEED, stratify=y_train)
    write_json(HERE / "calibration.json", scans(x_cal, y_cal))
    write_json(HERE / "heldout.json", scans(x_held, y_held))
    (HERE / "samples").mkdir(exist_ok=True)
    for digit in range(10):
        first = x_held[np.flatnonzero(y_held == digit)[0]]
        write_json(HERE / "samples" / f"digit-{digit}.json",
                   {"pixels": [int(v) for v in first]})

    for name, x, y in [("training", x_train, y_train), ("held-out", x_held, y_held)]:
        right = int((forward(x.astype(np.float32), w1, b1, w2, b2).argmax(1) == y).sum())
        print(f"{name}: {right} of {len(y)} right, {100 * right / len(y):.2f} %")
    for name in ["digits.onnx", "calibration.json", "heldout.json"]:
        print(hashlib.sha256((HERE / name).read_bytes()).hexdigest(), name)


if __name__ == "__main__":
    main()

"""Trains the convolutional digit classifier and writes `digits-cnn.onnx`.

    python3 -m venv venv && venv/bin/pip install -r assets/digits-cnn/requirements.txt
    venv/bin/python assets/digits-cnn/train.py

Data and split: those of `assets/digits/train.py`, so `assets/digits/heldout.json` is held out here too and
`assets/digits/calibration.json` calibrates this network as well.
Model: 1x8x8 -> conv 8 (3x3) -> ReLU -> pool -> conv 16 (3x3) -> ReLU -> pool -> 10. It takes raw pixels: the division by 16
used while training is folded into the first layer's weights.

Everything is seeded, so the same package versions on the same kind of machine write the same file.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 20240
HELD_OUT = 360
EPOCHS = 60
BATCH = 64
RATE = 2e-3
DECAY = 1e-4
HERE = Path(__file__).resolve().parent


def windows(x):
    """[n, c, 8, 8] -> [n, h, w, c * 9]: the 3x3 neighbourhood of each pixel, zeros around."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return seen.transpose(0, 2, 3, 1, 4, 5).reshape(x.shape[0], x.shape[2], x.shape[3], -1)


def unwindows(grad, shape):
    """The transpose of `windows`."""
    n, c, h, w = shape
    grad = grad.reshape(n, h, w, c, 3, 3)
    padded = np.zeros((n, c, h + 2, w + 2), grad.dtype)
    for i in range(3):
        for j in range(3):
            padded[:, :, i:i + h, j:j + w] += grad[:, :, :, :, i, j].transpose(0, 3, 1, 2)
    return padded[:, :, 1:-1, 1:-1]


def pool(x):
    """[n, c, h, w] -> largest of each 2x2, and which cells those are (shared where equal)."""
    n, c, h, w = x.shape
    cells = x.reshape(n, c, h // 2, 2, w // 2, 2)
    most = cells.max(axis=(3, 5))
    chosen = cells == most[:, :, :, None, :, None]
    return most, chosen / chosen.sum(axis=(3, 5), keepdims=True)


def unpool(grad, chosen):
    n, c, h, _, w, _ = chosen.shape
    return (grad[:, :, :, None, :, None] * chosen).reshape(n, c, 2 * h, 2 * w)


class Net:
    def __init__(self, rng):
        he = lambda *shape: rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        self.weights = [he(8, 1, 3, 3), np.zeros(8), he(16, 8, 3, 3), np.zeros(16), he(10, 64), np.zeros(10)]
        self.first = [np.zeros_like(w) for w in self.weights]
        self.second = [np.zeros_like(w) for w in self.weights]
        self.step = 0

    def forward(self, x):
        w1, b1, w2, b2, w3, b3 = self.weights
        kept = []
        for w, b in ((w1, b1), (w2, b2)):
            seen = windows(x)
            y = (seen @ w.reshape(w.shape[0], -1).T + b).transpose(0, 3, 1, 2)
            active = y > 0
            pooled, chosen = pool(y * active)
            kept.append((x.shape, seen, active, chosen))
            x = pooled
        flat = x.reshape(len(x), -1)
        return flat @ w3.T + b3, (kept, flat, x.shape)

    def learn(self, x, labels):
        logits, (kept, flat, shape) = self.forward(x)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        grad = odds / odds.sum(1, keepdims=True)
        grad[np.arange(len(labels)), labels] -= 1
        grad /= len(labels)
        slopes = [grad.T @ flat, grad.sum(0)]
        grad = (grad @ self.weights[4]).reshape(shape)
        for layer in (1, 0):
            before, seen, active, chosen = kept[layer]
            grad = (unpool(grad, chosen) * active).transpose(0, 2, 3, 1)
            w = self.weights[2 * layer]
            out = grad.reshape(-1, w.shape[0])
            slopes = [(out.T @ seen.reshape(len(out), -1)).reshape(w.shape), out.sum(0), *slopes]
            grad = unwindows(grad @ w.reshape(w.shape[0], -1), before)
        self.adam(slopes)

    def adam(self, slopes):
        self.step += 1
        for w, m, v, slope in zip(self.weights, self.first, self.second, slopes):
            slope = slope + DECAY * w
            m += 0.1 * (slope - m)
            v += 0.001 * (slope * slope - v)
            w -= RATE * (m / (1 - 0.9 ** self.step)) / (np.sqrt(v / (1 - 0.999 ** self.step)) + 1e-8)


def write(weights):
    names = ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "logits.weight", "logits.bias"]
    conv = dict(kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], dilations=[1, 1], group=1)
    node, info = helper.make_node, helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            node("Conv", ["pixels", names[0], names[1]], ["c1"], name="conv1", **conv),
            node("Relu", ["c1"], ["r1"], name="relu1"),
            node("MaxPool", ["r1"], ["p1"], name="pool1", kernel_shape=[2, 2], strides=[2, 2]),
            node("Conv", ["p1", names[2], names[3]], ["c2"], name="conv2", **conv),
            node("Relu", ["c2"], ["r2"], name="relu2"),
            node("MaxPool", ["r2"], ["p2"], name="pool2", kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", ["p2"], ["flat"], name="flatten", axis=1),
            node("Gemm", ["flat", names[4], names[5]], ["logits"], name="logits_gemm", transB=1),
        ],
        "digits-cnn",
        [info("pixels", TensorProto.FLOAT, ["N", 1, 8, 8])], [info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(w.astype(np.float32), n) for w, n in zip(weights, names)])
    model = helper.make_model(graph, producer_name="assay-digits-cnn", opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    (HERE / "digits-cnn.onnx").write_bytes(model.SerializeToString(deterministic=True))


def main():
    digits = load_digits()
    pixels, labels = digits.data.reshape(-1, 1, 8, 8), digits.target
    x_train, x_held, y_train, y_held = train_test_split(
        pixels, labels, test_size=HELD_OUT, random_state=SEED, stratify=labels)
    rng = np.random.default_rng(SEED)
    net = Net(rng)
    for _ in range(EPOCHS):
        order = rng.permutation(len(x_train))
        for start in range(0, len(order), BATCH):
            batch = order[start:start + BATCH]
            net.learn(x_train[batch] / 16.0, y_train[batch])
    net.weights[0] = net.weights[0] / 16.0
    write(net.weights)
    for name, x, y in [("training", x_train, y_train), ("held-out", x_held, y_held)]:
        right = int((net.forward(x)[0].argmax(1) == y).sum())
        print(f"{name}: {right} of {len(y)} right, {100 * right / len(y):.2f} %")
    print(hashlib.sha256((HERE / "digits-cnn.onnx").read_bytes()).hexdigest(), "digits-cnn.onnx")


if __name__ == "__main__":
    main()

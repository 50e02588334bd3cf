"""Random graphs of a few nodes, quantised, against ONNX's reference evaluator.

    python tests/onnx/random_graphs.py --assay target/debug/assay --seeds 1000

A graph is calibrated on forty samples and run on six of them. It fails if more than an eighth of an output's numbers are off
by more than 2 % of its range, or half of them by more than 1 %: what a step function, a comparison or a cast makes of numbers
that lie at its very edge may differ, and no more than that. A refusal is fine, and is counted.
"""

import argparse
import collections
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

SAMPLES, RUNS = 40, 6


class Graph:
    """Values of shape [1, n], each made from one or two before it."""

    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.size = self.draw.choice([4, 6, 8])
        self.nodes, self.constants, self.made = [], [], 0
        self.inputs = ["x"] if self.draw.random() < 0.5 else ["x", "z"]
        self.values = [(name, self.size) for name in self.inputs]
        for _ in range(self.draw.randint(2, 8)):
            self.grow()
        self.outputs = self.values[len(self.inputs):][-2:]

    def pick(self, size=None):
        fitting = [v for v in self.values if size is None or v[1] == size]
        return self.draw.choice(fitting[-5:] if self.draw.random() < 0.6 else fitting)

    def number(self, low, high):
        return round(self.draw.uniform(low, high), 2)

    def constant(self, numbers, kind=TensorProto.FLOAT):
        array = np.array(numbers)
        name = f"c{len(self.constants)}"
        self.constants.append(helper.make_tensor(name, kind, array.shape, array.ravel().tolist()))
        return name

    def node(self, operation, operands, **attributes):
        self.made += 1
        name = f"v{self.made}"
        self.nodes.append(helper.make_node(operation, operands, [name], name=name, **attributes))
        return name

    def add(self, size, operation, operands, **attributes):
        self.values.append((self.node(operation, operands, **attributes), size))

    def real(self, size, name):
        self.add(size, "Cast", [name], to=TensorProto.FLOAT)

    def grow(self):
        draw, (a, size) = self.draw, self.pick()
        number = self.number
        match draw.choice(["two", "two", "two", "concat", "where", "clip", "one", "one", "scale", "scale", "each", "bound", "truth", "whole",
                           "compared", "argmax", "reduce", "softmax", "matmul", "divide", "pad", "slice"]):
            case "two":
                self.add(size, draw.choice(["Add", "Sub", "Mul", "Max", "Min"]), [a, self.pick(size)[0]])
            case "concat" if size <= 16:
                b, other = self.pick()
                self.add(size + other, "Concat", [a, b], axis=1)
            case "where":
                self.add(size, "Where", [self.node("Greater", [a, self.pick(size)[0]]), self.pick(size)[0], a])
            case "clip":
                low, high = sorted([number(-3, 3), number(-3, 3)])
                self.add(size, "Clip", [a, self.constant(low), self.constant(high)])
            case "one":
                kinds = ["Abs", "Sign", "Floor", "Round", "Relu", "Sigmoid", "Tanh", "Neg", "Ceil", "Softplus", "LeakyRelu"]
                self.add(size, draw.choice(kinds), [a])
            case "scale":
                self.add(size, "Mul", [a, self.constant([[draw.choice([0.001, 0.01, 0.1, 3, 10, 100, 1000])]])])
            case "each":
                self.add(size, "Mul", [a, self.constant([[draw.choice([0.01, 0.1, 1, 3, 10, 100]) for _ in range(size)]])])
            case "bound":
                self.add(size, draw.choice(["Max", "Min"]), [a, self.constant([[number(-2, 2) for _ in range(size)]])])
            case "truth":
                kind = draw.choice(["Greater", "Less", "GreaterOrEqual"])
                self.real(size, self.node(kind, [a, self.constant([[number(-1, 1)]])]))
            case "whole":
                whole = self.node("Cast", [a], to=TensorProto.INT64)
                if draw.random() < 0.5:
                    other = self.constant([[draw.choice([1, 3, -7])]], TensorProto.INT64)
                    whole = self.node(draw.choice(["Add", "Mul", "Max"]), [whole, other])
                self.real(size, whole)
            case "compared":
                whole = self.node("Cast", [self.node("Cast", [a], to=TensorProto.INT64)], to=TensorProto.FLOAT)
                self.real(size, self.node("Less", [whole, self.pick(size)[0]]))
            case "argmax":
                self.real(1, self.node("ArgMax", [a], axis=1, keepdims=1))
            case "reduce":
                self.add(1, draw.choice(["ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1"]), [a], axes=[1], keepdims=1)
            case "softmax":
                self.add(size, "Softmax", [a], axis=1)
            case "matmul":
                columns = draw.choice([3, 5])
                weights = [[round(draw.gauss(0, 1), 3) for _ in range(columns)] for _ in range(size)]
                self.add(columns, "MatMul", [a, self.constant(weights)])
            case "divide":
                least = self.node("Add", [self.node("Abs", [self.pick(size)[0]]), self.constant([[1.0]])])
                self.add(size, "Div", [a, least])
            case "pad":
                self.add(size + 2, "Pad", [a, self.constant([0, 1, 0, 1], TensorProto.INT64), self.constant(number(-2, 2))])
            case "slice" if size > 2:
                ends = [self.constant([n], TensorProto.INT64) for n in (1, size, 1)]
                self.add(size - 1, "Slice", [a, *ends])

    def model(self):
        info = lambda name, size: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])  # noqa: E731
        graph = helper.make_graph(self.nodes, "random", [info(name, self.size) for name in self.inputs],
                                  [info(*output) for output in self.outputs], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def play(assay, seed, work):
    """What came of a seed: `near`, or `refused` or `off` with the reason."""
    graph = Graph(seed)
    if not graph.outputs:
        return "near", ""
    model, path = graph.model(), work / f"{seed}.onnx"
    onnx.save(model, path)
    samples = np.random.default_rng(seed).normal(0, 1, (len(graph.inputs), SAMPLES, graph.size))
    calibration, folder = work / "calibration.json", work / f"{seed}.d"
    calibration.write_text(json.dumps({"input_data": [s.ravel().tolist() for s in samples]}))

    def zk(*words):
        return subprocess.run([assay, "--json", "zk", *map(str, words)], capture_output=True, text=True, check=False)

    compiled = zk("compile", path, "--calibration", calibration, "--out", folder)
    if compiled.returncode:
        return "refused", compiled.stderr.strip()
    reference = ReferenceEvaluator(model)
    feeds = [{name: samples[k, at][None].astype(np.float32) for k, name in enumerate(graph.inputs)} for at in range(SAMPLES)]
    expected = [[o.ravel().astype(np.float64) for o in reference.run(None, feed)] for feed in feeds]
    found = []
    for at in range(RUNS):
        one = work / "input.json"
        one.write_text(json.dumps({"input_data": [s[at].tolist() for s in samples]}))
        ran = zk("run", folder, "--input", one)
        if ran.returncode:
            return "off", ran.stderr.strip()
        found.append(json.loads(ran.stdout)["output"])
    for k, (name, _) in enumerate(graph.outputs):
        every = np.concatenate([e[k] for e in expected])
        reach = max(every.max() - every.min(), np.abs(every).max(), 1e-30)
        error = np.concatenate([np.abs(np.array(found[at][k]) - expected[at][k]) for at in range(RUNS)]) / reach
        if (error > 0.02).mean() > 0.125 or np.median(error) > 0.01:
            return "off", f"{name}: {(error > 0.02).mean():.0%} of its numbers by more than 2 %, half of them by {np.median(error):.2%}"
    return "near", ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assay", type=Path, required=True, help="the program")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--most", type=float, default=0.01, help="share of graphs that may be off")
    args = parser.parse_args()
    counts = collections.Counter()
    for seed in range(args.first, args.first + args.seeds):
        with tempfile.TemporaryDirectory(prefix="assay-random-") as work:
            result, reason = play(args.assay.resolve(), seed, Path(work))
        counts[result] += 1
        if result != "near":
            print(f"seed {seed}: {result}: {reason}", flush=True)
    print(f"{args.seeds} graphs: {counts['near']} near, {counts['refused']} refused, {counts['off']} off")
    sys.exit(0 if counts["off"] <= args.most * args.seeds else 1)


if __name__ == "__main__":
    main()

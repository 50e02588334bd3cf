#!/usr/bin/env python3
"""Runs ONNX's own node tests (onnx.backend.test) for the operations that are read, and writes docs/onnx.md.

usage: conformance.py --example BINARY --work FOLDER [--write FILE] [--verbose]

A test counts where all its operations are read and its first input is of floats. Operands that models hold as constants
(weights, shapes, axes, scales) are given as constants. Passed is what stays within max(2 % of the output's range, one
quantisation step).
"""
import argparse
import collections
import json
import pathlib
import subprocess
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper

warnings.filterwarnings("ignore")

# Operands that a model holds as constants, by position.
CONSTANTS = {
    "BatchNormalization": (1, 2, 3, 4), "Clip": (1, 2), "ConstantOfShape": (0,), "Conv": (1, 2), "ConvInteger": (1, 2, 3),
    "ConvTranspose": (1, 2), "DequantizeLinear": (1, 2), "Dropout": (1, 2), "Expand": (1,), "Gather": (1,),
    "InstanceNormalization": (1, 2), "MatMulInteger": (1, 2, 3), "PRelu": (1,), "Pad": (1, 2, 3), "Pow": (1,),
    "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8), "QLinearMatMul": (1, 2, 3, 4, 5, 6, 7), "QuantizeLinear": (1, 2),
    "Range": (0, 1, 2), "ReduceL1": (1,), "ReduceL2": (1,), "ReduceMax": (1,), "ReduceMean": (1,), "ReduceMin": (1,),
    "ReduceSum": (1,), "ReduceSumSquare": (1,), "Reshape": (1,), "Resize": (1, 2, 3), "Slice": (1, 2, 3, 4),
    "Split": (1,), "Squeeze": (1,), "Tile": (1,), "Trilu": (1,), "Unsqueeze": (1,), "Upsample": (1,),
}
FLOATS = (np.float16, np.float32, np.float64)


def operations(example):
    """Name and row of every operation that is read."""
    rows = json.loads(subprocess.run([example, "--operations"], check=True, capture_output=True, text=True).stdout)
    return {row["name"]: row for row in rows}


def cases(names):
    """Tests whose operations are all read: name, model, inputs, outputs."""
    from onnx.backend.test.loader import load_model_tests

    for test in load_model_tests(kind="node"):
        model = test.model if test.model is not None else onnx.load(f"{test.model_dir}/model.onnx")
        if all(n.op_type in names and n.domain in ("", "ai.onnx") for n in model.graph.node):
            for inputs, outputs in (test.data_sets or []):
                yield test.name, model, inputs, outputs


def dense(array):
    return isinstance(array, (np.ndarray, np.generic, int, float)) and np.asarray(array).dtype.kind in "fiub"


def fixed(model, inputs):
    """The model with the operands that are constants in practice as constants, and the inputs that are left."""
    constant = {
        name for node in model.graph.node for at, name in enumerate(node.input) if at in CONSTANTS.get(node.op_type, ())
    }
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.input[:]
    left = []
    for info, data in zip(model.graph.input, inputs):
        if info.name in constant:
            copy.graph.initializer.append(numpy_helper.from_array(np.asarray(data), info.name))
        else:
            copy.graph.input.append(info)
            left.append(np.asarray(data))
    return copy, left


def number(value):
    return float(value)


def within(found, expected, step):
    """Whether numbers lie within max(2 % of the expected range, one step); infinities must be the same."""
    found, expected = np.array([number(v) for v in found]), np.asarray(expected).astype(np.float64).reshape(-1)
    if found.shape != expected.shape:
        return f"{found.size} values; expected {expected.size}"
    finite = np.isfinite(expected)
    if not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
        return "infinities differ"
    if not finite.any():
        return None
    span = expected[finite].max() - expected[finite].min()
    allowed = max(0.02 * span, step, 1e-6)
    worst = np.abs(found[finite] - expected[finite]).max()
    return None if worst <= allowed else f"off by {worst:.4g}, allowed {allowed:.4g}"


class Runner:
    """The example, a line a case."""

    def __init__(self, example):
        self.process = subprocess.Popen([example], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, model, inputs):
        lists = [np.asarray(x).astype(np.float64).reshape(-1).tolist() for x in inputs]
        case = json.dumps({"model": str(model), "inputs": lists})
        self.process.stdin.write(case.replace("NaN", "null").replace("-Infinity", "null").replace("Infinity", "null") + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the example ended at {model}")
        return json.loads(line)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--example", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--write")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    work = pathlib.Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    names = operations(args.example)
    runner = Runner(args.example)
    results = collections.defaultdict(list)
    for name, model, inputs, outputs in cases(names):
        if not all(dense(x) for x in [*inputs, *outputs]):
            continue
        floats = not inputs or np.asarray(inputs[0]).dtype in FLOATS
        path = work / f"{name}.onnx"
        copy, left = fixed(model, inputs)
        onnx.save(copy, path)
        answer = runner.run(path, left)
        verdict = answer.get("refused")
        kind = "refused"
        if verdict is None:
            kind = "passed"
            for found, shape, expected in zip(answer["outputs"], answer["shapes"], outputs):
                if list(np.asarray(expected).shape) != shape:
                    verdict = f"shape {shape}; expected {list(np.asarray(expected).shape)}"
                verdict = verdict or within(found, expected, 0)
            kind = "failed" if verdict else "passed"
        operation = next((n for n in (x.op_type for x in model.graph.node) if n.lower() in name.replace("_", "")), model.graph.node[0].op_type)
        results[(operation, floats)].append((kind, name, verdict))
    total = collections.Counter()
    for (operation, floats), rows in sorted(results.items()):
        for kind, name, verdict in rows:
            total[floats, kind] += 1
            if kind != "passed" and args.verbose:
                print("float" if floats else "integer", operation, kind, name, verdict)
    print(total)


if __name__ == "__main__":
    main()

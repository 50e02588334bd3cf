#!/usr/bin/env python3
"""Runs ONNX's own node tests (onnx.backend.test) for the operations that are read, and writes docs/onnx.md.

usage: conformance.py --example BINARY --work FOLDER [--prove] [--write FILE] [--verbose]

A test counts where all its operations are read and its first input is of floats. Operands that models hold as constants
(weights, shapes, axes, scales) are given as constants. Passed is what stays within max(2 % of the output's range, one
quantisation step). With --prove each run of an integer graph is proved by sumcheck and verified, and every operation of PROMISED must
be among them.

Ends with 1 where fewer than 85 % of the tests with float inputs pass, or a promised operation is not proved.
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
from onnx import TensorProto, helper, numpy_helper

warnings.filterwarnings("ignore")

# Operands that a model holds as constants, by position.
CONSTANTS = {
    "BatchNormalization": (1, 2, 3, 4), "CastLike": (1,), "Clip": (1, 2), "ConstantOfShape": (0,), "Conv": (1, 2), "ConvInteger": (1, 2, 3),
    "ConvTranspose": (1, 2), "DequantizeLinear": (1, 2), "Dropout": (1, 2), "Expand": (1,), "Gather": (1,), "Gemm": (1, 2),
    "InstanceNormalization": (1, 2), "MatMulInteger": (1, 2, 3), "PRelu": (1,), "Pad": (1, 2, 3), "Pow": (1,),
    "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8), "QLinearMatMul": (1, 2, 3, 4, 5, 6, 7), "QuantizeLinear": (1, 2),
    "Range": (0, 1, 2), "ReduceL1": (1,), "ReduceL2": (1,), "ReduceMax": (1,), "ReduceMean": (1,), "ReduceMin": (1,),
    "ReduceSum": (1,), "ReduceSumSquare": (1,), "Reshape": (1,), "Resize": (1, 2, 3), "Slice": (1, 2, 3, 4),
    "Split": (1,), "Squeeze": (1,), "Tile": (1,), "Trilu": (1,), "Unsqueeze": (1,), "Upsample": (1,),
}
# What must be read, run and proved.
PROMISED = """
    Conv ConvTranspose Gemm MatMul Add Sub Mul Div Sum Neg Abs Min Max Clip Relu LeakyRelu PRelu Elu Selu Celu ThresholdedRelu Sigmoid
    HardSigmoid HardSwish Tanh Softplus Softsign Mish Erf Gelu Exp Log Sqrt Reciprocal Pow Sin Cos Floor Ceil Round Sign MaxPool
    AveragePool GlobalMaxPool GlobalAveragePool LpNormalization BatchNormalization InstanceNormalization Softmax LogSoftmax ReduceSum
    ReduceMean ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare ArgMax ArgMin Flatten Reshape Transpose Squeeze Unsqueeze Slice
    Concat Split Gather Pad Expand Tile Identity Dropout Cast Where Equal Greater GreaterOrEqual Less LessOrEqual And Or Not Resize
    Upsample DepthToSpace SpaceToDepth Constant ConstantOfShape Shape Range QuantizeLinear DequantizeLinear QLinearConv QLinearMatMul
    MatMulInteger ConvInteger EyeLike Trilu
""".split()
LEAST = 0.85
FLOATS = (np.float16, np.float32, np.float64)
ORDINARY = (*FLOATS, np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)


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
                yield test.name, model, [array(x) for x in inputs], [array(y) for y in outputs]


def own():
    """Graphs for operations of which ONNX's tests are too old to be read: name, model, inputs, outputs."""
    shape = [3, 4]
    ports = [helper.make_tensor_value_info(name, TensorProto.BOOL, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Not", ["x"], ["y"])], "own_not", ports[:1], ports[1:])
    truths = np.arange(12).reshape(shape) % 3 == 0
    yield "own_not", helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), [truths], [~truths]


def array(value):
    """A test's value as an array; None for sequences, text and the like."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if not isinstance(value, (np.ndarray, np.generic, int, float)):
        return None
    value = np.asarray(value)
    own = value.dtype.kind in "fiub" or type(value.dtype.type(0)).__module__.startswith("ml_dtypes")
    return value if own else None


def kind(inputs, outputs):
    """floats, integers, or odd: of another type than the ordinary ones, empty, or with inputs that are not finite."""
    ordinary = all(x.dtype in ORDINARY for x in [*inputs, *outputs])
    finite = ordinary and all(np.isfinite(x).all() for x in inputs)
    if not finite or not all(x.size for x in [*inputs[:1], *outputs]):
        return "odd"
    return "floats" if not inputs or inputs[0].dtype in FLOATS else "integers"


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


def within(found, expected, step):
    """What is wrong with numbers that should lie within max(2 % of the expected range, one step); None where nothing is."""
    found = np.array([np.nan if v is None else float(v) for v in found])
    expected = np.asarray(expected).astype(np.float64).reshape(-1)
    if found.shape != expected.shape:
        return f"{found.size} values; expected {expected.size}"
    finite = np.isfinite(expected)
    if not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
        return "infinities differ"
    if not finite.any():
        return None
    inside = expected[finite]
    # A constant output has no range; what is left then is the rounding of 32-bit floats.
    allowed = max(0.02 * (inside.max() - inside.min()), step, 1e-5 * np.abs(inside).max(), 1e-6)
    worst = np.abs(found[finite] - inside).max()
    return None if worst <= allowed else f"off by {worst:.4g}, allowed {allowed:.4g}"


class Runner:
    """The example, a line a case."""

    def __init__(self, example, options):
        self.process = subprocess.Popen([example, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, model, inputs):
        lists = [[v if np.isfinite(v) else str(v) for v in x.astype(np.float64).reshape(-1).tolist()] for x in inputs]
        self.process.stdin.write(json.dumps({"model": str(model), "inputs": lists}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the example ended at {model}")
        return json.loads(line)


def judge(answer, outputs):
    """passed, failed or refused, and why."""
    if "refused" in answer:
        return "refused", answer["refused"]
    steps = answer.get("steps") or [0] * len(outputs)
    for found, shape, step, expected in zip(answer["outputs"], answer["shapes"], steps, outputs):
        wanted = list(np.asarray(expected).shape)
        wrong = f"shape {shape}; expected {wanted}" if shape != wanted else within(found, expected, step)
        if wrong:
            return "failed", wrong
    return "passed", ""


def proof(answer):
    """proved, or refused and why; of what was compiled and is right."""
    found = answer["proof"]
    return ("refused", found["refused"]) if "refused" in found else ("proved", "")


def proofs(rows, name):
    """Tests of an operation that pass and are proved, and those that pass."""
    passed = [r for r in rows if r["operation"] == name and r["integer"][0] == "passed"]
    return sum(r["proof"][0] == "proved" for r in passed), len(passed)


def unproved(rows):
    """Promised operations without a proof."""
    return [name for name in PROMISED if proofs(rows, name)[0] == 0]


def share(rows, mode):
    counts = collections.Counter(row[mode][0] for row in rows)
    return counts["passed"], len(rows)


def percent(passed, all_):
    return f"{passed} of {all_} ({100 * passed / max(all_, 1):.1f} %)"


def document(names, every, modes):
    """The text of docs/onnx.md."""
    rows = [r for r in every if not r["own"]]
    floats = [r for r in rows if r["floats"]]
    proved = any("proof" in r for r in every)
    lines = [
        "# ONNX: what is read, and how it is checked",
        "",
        "Made by `make onnx-conformance`; do not edit. The tests are ONNX's own node tests (`onnx.backend.test`, "
        f"onnx {onnx.__version__}), those whose operations are all in the table. Operands that models hold as constants (weights,",
        "shapes, axes, scales) are given as constants. A test passes where every output has the right shape and lies within "
        "max(2 % of the output's range, one quantisation step). The integer graph is calibrated on the test's input, and compiled again with "
        "`--precision 16` where the calibrator's own choice is off by more than 2 %.",
        "",
        "| tests | " + " | ".join(modes.values()) + " |",
        "|---|" + "---|" * len(modes),
    ]
    groups = [
        ("of one operation, float inputs", [r for r in floats if r["single"]]),
        ("of several (bodies of ONNX's functions), float inputs", [r for r in floats if not r["single"]]),
        ("**all with float inputs**", floats),
        ("inputs of integers or truths", [r for r in rows if r["kind"] == "integers"]),
        ("inputs that are NaN, infinite or empty, or types under 8 bits and 8-bit floats", [r for r in rows if r["kind"] == "odd"]),
    ]
    for title, group in groups:
        lines.append(f"| {title} | " + " | ".join(percent(*share(group, m)) for m in modes) + " |")
    lines += [
        "", "## Operations", "",
        "What each comes down to, in the operations of `circuits/src/network.rs`, and what of it is refused. Whole numbers are exact: `int8`, `uint8` and "
        "`int16` wrap round as ONNX's do; wider types without a sign must stay within their range on the samples, and what is looked up, compared or "
        "joined within 16 bits; a node is refused by name where it does not.",
        "",
    ]
    if proved:
        missing = unproved(every)
        of_all = [r["proof"] for r in every if r["integer"][0] == "passed"]
        lines += [
            f"Each run of an integer graph is proved by `sumcheck` and the proof verified: {sum(p[0] == 'proved' for p in of_all)} of "
            f"{len(of_all)} that pass. Operations without such a proof: {', '.join(missing) or 'none'}. The column counts tests of one "
            "operation, proved and passed, and graphs of our own where ONNX's tests are all of operator sets that are not read.",
            "",
        ]
    columns = [*modes.values(), "proved by sumcheck"] if proved else list(modes.values())
    lines.append("| operation | operator sets | comes down to | refused | " + " | ".join(columns) + " |")
    lines.append("|---|---|---|---|" + "---|" * len(columns))
    for name, row in sorted(names.items()):
        own = [r for r in rows if r["operation"] == name]
        cells = [name, row["opsets"], row["lowering"], row["restrictions"]]
        cells += ["/".join(map(str, share(own, m))) if own else "" for m in modes]
        if proved:
            cells.append("/".join(map(str, proofs(every, name))))
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Numbers are tests passed and run, of one operation, whatever their inputs.", "", "## Tests that do not pass", ""]
    for mode, title in modes.items():
        lines += [f"### {title}", "", "| test | why |", "|---|---|"]
        for row in sorted(rows, key=lambda r: r["name"]):
            kind, why = row[mode]
            if kind != "passed":
                why = why.replace("|", "\\|").replace("_" + row["name"], "")
                lines.append(f"| {row['name']} | {kind}: {why} |")
        lines.append("")
    left = [r for r in every if r["integer"][0] == "passed" and r.get("proof", ("proved",))[0] != "proved"]
    if left:
        lines += ["### Passed, but not proved", "", "| test | why |", "|---|---|"]
        lines += [f"| {r['name']} | {r['proof'][1]} |" for r in left]
    return "\n".join(lines).rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--example", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--prove", action="store_true")
    parser.add_argument("--write")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    work = pathlib.Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    names = operations(args.example)
    runner = Runner(args.example, ["--prove"] if args.prove else [])
    rows = []
    modes = {"float": "float network", "integer": "integer graph"}
    for name, model, inputs, outputs in [*cases(names), *own()]:
        if any(x is None for x in [*inputs, *outputs]):
            continue
        path = work / f"{name}.onnx"
        copy, left = fixed(model, inputs)
        onnx.save(copy, path)
        answer = runner.run(path, left)
        single = len(model.graph.node) == 1
        row = {"name": name, "own": name.startswith("own_"), "operation": model.graph.node[0].op_type if single else None, "single": single}
        row["kind"] = kind(inputs, outputs)
        row["floats"] = row["kind"] == "floats"
        row["float"] = judge(answer, outputs)
        # What is not read is not compiled either.
        row["integer"] = judge(answer["integer"], outputs) if "integer" in answer else row["float"]
        if "proof" in answer.get("integer", {}):
            row["proof"] = proof(answer["integer"])
        rows.append(row)
    if missing := [name for name in PROMISED if name not in names]:
        sys.exit(f"not read: {', '.join(missing)}")
    for row in rows if args.verbose else ():
        for mode in modes:
            if row[mode][0] != "passed":
                print(mode, row["kind"], row["operation"], row["name"], *row[mode])
    floats = [r for r in rows if r["floats"]]
    for mode, title in modes.items():
        print(title, percent(*share(floats, mode)), "of float inputs;", percent(*share([r for r in rows if not r["own"]], mode)), "of all")
    if args.write:
        pathlib.Path(args.write).write_text(document(names, rows, modes))
    passed, all_ = share(floats, "integer")
    if passed < LEAST * all_:
        sys.exit(f"{percent(passed, all_)} of the tests with float inputs pass as integers; expected {LEAST:.0%}")
    if args.prove:
        print(sum(r.get("proof", ("",))[0] == "proved" for r in rows), "runs proved by sumcheck and verified")
        if missing := unproved(rows):
            sys.exit(f"operations without a proof: {', '.join(missing)}")


if __name__ == "__main__":
    main()

"""Makes the ONNX networks that the proof benchmarks run, with an input and calibration samples for each.

    python3 tests/zk/models.py OUT_DIR [--scale]

Writes OUT_DIR/NAME/{network.onnx,input.json,calibration.json}; weights are seeded noise of the size training gives, because what a
proof costs does not depend on what the network knows. Files are in EZKL's form: {"input_data": [[...]]}, one flat list an input.

    mlp      784-128-10, ReLU                      101,632 multiplications
    lenet    LeNet-5 on 28x28, ReLU, max-pooling   281,640 multiplications

--scale makes the families of `make bench-zk-scale` instead: width, depth and batch of perceptrons, channels and size of
convolutional networks.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SEED = 20261
SAMPLES = 20


class Builder:
    """A chain of layers; the last one's result is the output."""

    def __init__(self, shape):
        self.rng = np.random.default_rng(SEED)
        self.shape, self.last = list(shape), "input"
        self.input_shape = list(shape)
        self.nodes, self.weights = [], []

    def weight(self, *shape, fan):
        name = f"weight_{len(self.weights)}"
        values = self.rng.normal(0, 1 / math.sqrt(fan), shape).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind, *operands, **attributes):
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.last, *operands], [name], name=name, **attributes))
        self.last = name
        return self

    def dense(self, width):
        rows, inputs = self.shape
        self.shape = [rows, width]
        return self.node("Gemm", self.weight(inputs, width, fan=inputs), self.weight(width, fan=100 * width))

    def conv(self, channels, kernel, pad=0):
        batch, inputs, height, width = self.shape
        self.shape = [batch, channels, height + 2 * pad - kernel + 1, width + 2 * pad - kernel + 1]
        # EZKL wants each of the attributes that ONNX lets one leave out.
        return self.node("Conv", self.weight(channels, inputs, kernel, kernel, fan=inputs * kernel * kernel),
                         self.weight(channels, fan=100 * channels), kernel_shape=[kernel, kernel], strides=[1, 1],
                         pads=[pad] * 4, dilations=[1, 1], group=1)

    def relu(self):
        return self.node("Relu")

    def pool(self):
        batch, channels, height, width = self.shape
        self.shape = [batch, channels, height // 2, width // 2]
        return self.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])

    def flatten(self):
        self.shape = [self.shape[0], math.prod(self.shape[1:])]
        return self.node("Flatten", axis=1)

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.nodes[-1].output[0] = "output"
        tensor = helper.make_tensor_value_info
        graph = helper.make_graph(self.nodes, folder.name, [tensor("input", TensorProto.FLOAT, self.input_shape)],
                                  [tensor("output", TensorProto.FLOAT, self.shape)], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        (folder / "network.onnx").write_bytes(model.SerializeToString(deterministic=True))
        draw = lambda count: self.rng.random((count, math.prod(self.input_shape))).round(6)
        # Calibration samples lie one after another in the one list of the one input.
        for name, values in [("calibration", draw(SAMPLES)), ("input", draw(1))]:
            (folder / f"{name}.json").write_text(json.dumps({"input_data": [values.reshape(-1).tolist()]}))


def mlp(width=128, depth=1, batch=1, inputs=784):
    net = Builder([batch, inputs])
    for _ in range(depth):
        net.dense(width).relu()
    return net.dense(10)


def lenet():
    net = Builder([1, 1, 28, 28]).conv(6, 5).relu().pool().conv(16, 5).relu().pool().flatten()
    return net.dense(120).relu().dense(84).relu().dense(10)


def cnn(channels=8, size=16, batch=1):
    net = Builder([batch, 3, size, size]).conv(channels, 3, pad=1).relu().pool()
    return net.conv(2 * channels, 3, pad=1).relu().pool().flatten().dense(10)


def families():
    """Name of the family, the number that varies, the network."""
    for width in [64, 128, 256, 512, 1024]:
        yield "mlp-width", width, mlp(width=width)
    for depth in [1, 2, 4, 8, 16]:
        yield "mlp-depth", depth, mlp(depth=depth)
    for batch in [1, 2, 4, 8, 16, 32]:
        yield "mlp-batch", batch, mlp(batch=batch)
    for channels in [4, 8, 16, 32]:
        yield "cnn-channels", channels, cnn(channels=channels)
    for size in [8, 16, 32, 64]:
        yield "cnn-size", size, cnn(size=size)
    for batch in [1, 2, 4, 8, 16, 32]:
        yield "cnn-batch", batch, cnn(batch=batch)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--scale", action="store_true")
    given = arguments.parse_args()
    if given.scale:
        for family, size, net in families():
            net.write(given.out / family / str(size))
    else:
        mlp().write(given.out / "mlp")
        lenet().write(given.out / "lenet")


if __name__ == "__main__":
    main()

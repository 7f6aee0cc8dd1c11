"""Feed-forward image networks: their shapes, their initial weights and their ONNX form.

A network is a chain of blocks conv - ReLU - maxpool 2x2 (stride 1, no padding), then dense layers with a ReLU
between any two. Weights are laid out as ONNX has them: convolutions [out, in, k, k], dense layers [out, in].

The ONNX files are opset 17 with static batch 1, input `image`, output `logits`. Every attribute of Conv and MaxPool
that places the window is written out, because some importers refuse an attribute left to its default.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Weights = dict[str, np.ndarray]

OPSET = 17
IR_VERSION = 8


@dataclass(frozen=True)
class Network:
    """`image`: input shape without the batch; `convs`: (output channels, kernel); `dense`: output widths."""

    name: str
    image: tuple[int, ...]
    convs: tuple[tuple[int, int], ...]
    dense: tuple[int, ...]

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each weight by layer, in the order of execution; a bias is as long as its weight's first axis."""
        shapes = {}
        image = self.image
        for index, (channels, kernel) in enumerate(self.convs, 1):
            shapes[f"conv{index}"] = (channels, image[0], kernel, kernel)
            image = (channels, *((side - kernel + 1) // 2 for side in image[1:]))
        inputs = prod(image)
        for index, width in enumerate(self.dense, 1):
            shapes[f"fc{index}"] = (width, inputs)
            inputs = width
        return shapes


def he_weights(network: Network, rng: np.random.Generator) -> Weights:
    """Normal weights of variance 2 / fan-in, which keeps activations of order 1 through ReLUs; biases of order 0.01."""
    weights = {}
    for layer, shape in network.weight_shapes().items():
        scale = np.sqrt(2 / prod(shape[1:]))
        weights[f"{layer}.weight"] = rng.normal(0, scale, shape).astype(np.float32)
        weights[f"{layer}.bias"] = rng.normal(0, 0.01, shape[0]).astype(np.float32)
    return weights


def save_onnx(network: Network, weights: Weights, path: Path) -> None:
    """Writes the network to `path` once onnx.checker has accepted it, shapes included."""
    graph = helper.make_graph(
        _nodes(network),
        network.name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, *network.image])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, network.dense[-1]])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="assay")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _nodes(network: Network) -> list[onnx.NodeProto]:
    nodes = []
    tensor = "image"

    def add(operator: str, output: str, parameters: tuple[str, ...] = (), **attributes) -> None:
        nonlocal tensor
        nodes.append(helper.make_node(operator, [tensor, *parameters], [output], name=output, **attributes))
        tensor = output

    for index, (_, kernel) in enumerate(network.convs, 1):
        parameters = (f"conv{index}.weight", f"conv{index}.bias")
        add("Conv", f"conv{index}", parameters, group=1, **_window(kernel, stride=1))
        add("Relu", f"conv{index}.relu")
        add("MaxPool", f"pool{index}", **_window(2, stride=2))
    if network.convs:
        add("Flatten", "flatten", axis=1)
    for index in range(1, len(network.dense) + 1):
        last = index == len(network.dense)
        parameters = (f"fc{index}.weight", f"fc{index}.bias")
        add("Gemm", "logits" if last else f"fc{index}", parameters, alpha=1.0, beta=1.0, transA=0, transB=1)
        if not last:
            add("Relu", f"fc{index}.relu")
    return nodes


def _window(kernel: int, stride: int) -> dict[str, list[int]]:
    return {
        "kernel_shape": [kernel, kernel],
        "strides": [stride, stride],
        "pads": [0, 0, 0, 0],
        "dilations": [1, 1],
    }

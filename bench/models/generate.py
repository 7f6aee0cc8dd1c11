"""Writes benchmark networks with random weights as ONNX files, to measure costs: these follow the shapes.

The weights are seeded by the network's name, so that a file is the same whether it is made alone or with the others.
"""

import argparse
from pathlib import Path
from zlib import crc32

import numpy as np

from network import Network, he_weights, save_onnx

NETWORKS = {
    network.name: network
    for network in (
        Network("cnn264k", image=(3, 32, 32), convs=((12, 5), (33, 5)), dense=(251, 175, 10)),
        Network("dense4m", image=(1024,), convs=(), dense=(1024, 1024, 1024, 1024, 10)),
        Network("mnist2m", image=(784,), convs=(), dense=(2000, 60, 4000, 10)),
    )
}


def generate(network: Network, directory: Path) -> None:
    """Writes DIRECTORY/NAME.onnx."""
    weights = he_weights(network, np.random.default_rng(crc32(network.name.encode())))
    path = directory / f"{network.name}.onnx"
    save_onnx(network, weights, path)
    parameters = sum(array.size for array in weights.values())
    print(f"{path}: {parameters:,} parameters, {path.stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write benchmark networks with random weights as ONNX files.")
    parser.add_argument("name", choices=[*NETWORKS, "all"], help="network to write")
    parser.add_argument("-o", "--output", type=Path, default=Path("target/models"), metavar="DIR",
                        help="folder to write to, made if absent (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for network in NETWORKS.values() if arguments.name == "all" else [NETWORKS[arguments.name]]:
        generate(network, arguments.output)


if __name__ == "__main__":
    main()

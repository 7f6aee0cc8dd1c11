#!/usr/bin/env python3
"""The ONNX project's own node tests, imported and run on integers.

Every case of `onnx.backend.test.case.node` becomes a model whose first input is dynamic and whose others are
initializers. It is imported with no option but its own first input as calibration data, then run on that input.
Each case ends in one of three ways:

  pass         all outputs agree with the expected ones, as stated at `disagreement`
  unsupported  the case cannot be put to the program at all (`Unsuitable` says why), or `assay model import`
               refused it and said which limit it met (`REFUSALS`)
  FAILURE      a wrong answer, a panic, a timeout, any other refusal

`manifest.txt` has one line a case, `NAME pass` or `NAME unsupported: REASON`. The run fails if any case is a
failure or differs from its line.

    node_tests.py              every case, against the manifest
    node_tests.py --fast       of each operator the first case that passes and the first that does not
    node_tests.py --write      every case; writes the manifest, unless there are failures
    node_tests.py NAME ..      these cases, with details
"""

import argparse
import concurrent.futures
import json
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import environment

if __name__ == "__main__":
    environment.require(*environment.ONNX)

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

MANIFEST = Path(__file__).with_name("manifest.txt")
SECONDS = 60

# Mean and greatest error of a real output, as shares of its range.
MEAN, GREATEST = 0.01, 0.04
# Share of the elements of a whole output that are exactly right.
EXACT = 0.99
# Operators that make whole numbers of real ones by rounding: a step of the output stands for `scale`.
ROUNDING = {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"}
# Share of the range that such numbers may be off by, if that is more than 1.
STEP = 1 / 4096

# How a refusal reads that states a limit of the program. Any other is taken for a mistake in it.
REFUSALS = re.compile(
    "is not supported|is not understood|is of no supported kind|is stored outside the file|names no operator set"
    "|no width of activations keeps the error|its range is too wide|a folded constant is|a dimension is zero"
)


class Unsuitable(Exception):
    """The case is no model with a dynamic first input whose answer is numbers."""


def cases():
    """All cases by name. They draw random numbers, hence the seed."""
    np.random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case import node

        found = node.collect_testcases(None)
    return {case.name: case for case in sorted(found, key=lambda case: case.name)}


def tensor(what, value, info):
    """A value of a test as an array."""
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        raise Unsuitable(f"{what} is no tensor but {(kind or 'nothing').removesuffix('_type')}")
    if info.type.tensor_type.elem_type == TensorProto.STRING:
        raise Unsuitable(f"{what} holds strings")
    array = numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)
    if array.dtype.kind == "c":
        raise Unsuitable(f"{what} holds complex numbers")
    return array


def storable(array):
    """The same numbers in an element type that the program reads."""
    if array.dtype.kind == "b" or array.dtype == np.uint8:
        return array.astype(np.uint8)
    if array.dtype.kind in "iu":
        return array.astype(np.int64 if array.dtype.itemsize > 2 else np.int32)
    if array.dtype == np.float64:
        return array
    try:
        return array.astype(np.float32)
    except (TypeError, ValueError):
        raise Unsuitable(f"numpy cannot read {array.dtype}") from None


def finite(array):
    """Whether no element is infinite or NaN."""
    return bool(np.isfinite(array.astype(np.float64)).all())


def model_of(case):
    """The case's model with one input, that input, and the expected outputs by name."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    values, expected = case.data_sets[0]
    if not graph.input:
        raise Unsuitable("it has no input")
    first = storable(tensor("the first input", values[0], graph.input[0]))
    if first.size == 0:
        raise Unsuitable("the first input is empty")
    if not finite(first):
        raise Unsuitable("the first input holds infinities or NaN")
    for info, value in list(zip(graph.input, values, strict=True))[1:]:
        array = tensor(f"input {info.name}", value, info)
        if isinstance(value, TensorProto):
            constant = onnx.TensorProto()
            constant.CopyFrom(value)
            constant.name = info.name
        else:
            constant = numpy_helper.from_array(array, info.name)
        graph.initializer.append(constant)
    del graph.input[1:]
    outputs = {}
    for info, value in zip(graph.output, expected, strict=True):
        array = tensor(f"output {info.name}", value, info)
        if not finite(storable(array)):
            raise Unsuitable(f"output {info.name} holds infinities or NaN")
        outputs[info.name] = array
    return model, first, outputs


def disagreement(operators, name, got, expected):
    """What is wrong with an output, or None.

    The shape is the expected one. Of real numbers, the mean absolute error is at most 1 % of the output's range
    and the greatest at most 4 %; the range is that from the least to the greatest element with 0 counted in, since
    a quantised tensor always represents 0. Whole numbers and truth values are exactly right in at least 99 % of the
    elements, so in all of them where there are fewer than 100. Whole numbers that an operator makes of real ones by
    rounding differ by at most 1, or where they are wider than bytes by 1/4096 of their range.
    """
    if tuple(got.shape) != tuple(expected.shape):
        return f"{name}: shape {list(got.shape)}, expected {list(expected.shape)}"
    whole = expected.dtype.kind in "biu"
    wanted = storable(expected).astype(np.float64)
    got = got.astype(np.float64)
    if wanted.size == 0:
        return None
    error = np.abs(got - wanted)
    worst = np.unravel_index(int(error.argmax()), error.shape)
    at = f"at {[int(place) for place in worst]} {got[worst]:g}, expected {wanted[worst]:g}"
    if whole and operators & ROUNDING:
        return f"{name}: {at}" if error.max() > max(1, STEP * np.ptp(wanted)) else None
    if whole:
        right = float((got == wanted).mean())
        return f"{name}: {right:.1%} of {error.size} right, {at}" if right < EXACT else None
    extent = float(max(wanted.max(), 0) - min(wanted.min(), 0))
    mean, greatest = float(error.mean()), float(error.max())
    if mean > MEAN * extent or greatest > GREATEST * extent:
        share = f"mean {mean / extent:.2%}, greatest {greatest / extent:.2%} of the range" if extent else "range 0"
        return f"{name}: {share}, {at}"
    return None


def tidy(reason, model):
    """A refusal without names that expansion made up, and without the error that was reached."""
    reason = reason.split("; the least is")[0]
    for node in model.graph.node:
        for long in (node.name, *node.output):
            if len(long) > 40:
                reason = reason.replace(long, "..")
    return re.sub(r"\s+", " ", reason).strip()[:240]


def attempt(case, keep=None):
    """Puts a case to the program: its outcome and the reason for it."""
    folder = Path(keep or tempfile.mkdtemp(prefix="node-test-"))
    try:
        model, first, expected = model_of(case)
        paths = {name: folder / f"model.{name}" for name in ("onnx", "assay")}
        onnx.save(model, paths["onnx"])
        np.savez(folder / "first.npz", **{model.graph.input[0].name: first})
        calibration = ("--calibrate", folder / "first.npz")
        try:
            imported = environment.call("model", "import", paths["onnx"], *calibration, "-o", paths["assay"], "--json",
                                        timeout=SECONDS)
        except environment.Refused as refusal:
            reason = tidy(str(refusal).removeprefix(f"{paths['onnx']}: ").replace(f"{folder}/", ""), model)
            return ("unsupported", reason) if REFUSALS.search(reason) else ("FAILURE", f"refused: {reason}")
        answer = environment.call("model", "run", paths["assay"], "--input", folder / "first.npz",
                                  "--output-dir", folder / "outputs", "--json", timeout=SECONDS)
        files = {output["name"]: output["file"] for output in answer["outputs"]}
        if files.keys() != expected.keys():
            return "FAILURE", f"outputs {sorted(files)}, expected {sorted(expected)}"
        operators = {node.op_type for node in model.graph.node}
        wrong = [disagreement(operators, name, np.load(files[name]), expected[name]) for name in files]
        wrong = "; ".join(reason for reason in wrong if reason)
        said = f"the import announced {imported['error']:.2%}"
        return ("FAILURE", f"wrong: {wrong} ({said})") if wrong else ("pass", "")
    except Unsuitable as reason:
        return "unsupported", str(reason)
    except environment.Refused as refusal:
        return "FAILURE", f"imported, then refused: {str(refusal).replace(f'{folder}/', '')}"
    except environment.Broken as reason:
        return "FAILURE", str(reason)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def operator(case):
    """The operator that a case is about, also where it is spelt out as the function that defines it."""
    name = case.name
    base = name[: name.index("_expanded")] if "_expanded" in name else name
    about = cases.all.get(base, case)
    return about.model.graph.node[-1].op_type


def line(name, outcome, reason):
    """A line of the manifest."""
    return f"{name} {outcome}: {reason}" if reason else f"{name} {outcome}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases to run, all if none is named")
    parser.add_argument("--fast", action="store_true", help="a subset of the cases")
    parser.add_argument("--write", action="store_true", help="write the manifest")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="cases at a time")
    parser.add_argument("--keep", type=Path, help="folder for the files of the named cases")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    options = parser.parse_args()
    if options.write and (options.fast or options.names):
        parser.error("--write takes every case")
    start = time.monotonic()
    environment.assay()
    cases.all = cases()
    manifest = dict(entry.split(" ", 1) for entry in MANIFEST.read_text().splitlines()) if MANIFEST.exists() else {}
    selected = select(options, manifest)

    def one(name):
        keep = options.keep / name if options.keep else None
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
        return attempt(cases.all[name], keep)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        outcomes = dict(zip(selected, pool.map(one, selected), strict=True))
    return report(options, manifest, outcomes, time.monotonic() - start)


def select(options, manifest):
    """Names of the cases to run."""
    if options.names:
        unknown = [name for name in options.names if name not in cases.all]
        if unknown:
            sys.exit(f"no such case: {', '.join(unknown)}")
        return options.names
    if not options.fast:
        return list(cases.all)
    chosen = {}
    for name, case in cases.all.items():
        chosen.setdefault((operator(case), manifest.get(name) == "pass"), name)
    return sorted(chosen.values())


def report(options, manifest, outcomes, seconds):
    """Prints what came out, holds it against the manifest or writes that; gives the exit status."""
    entries = {name: line(name, *outcome) for name, outcome in outcomes.items()}
    failures = [name for name, (outcome, _) in outcomes.items() if outcome == "FAILURE"]
    compared = [] if options.names or options.write else outcomes.keys() - set(failures)
    changed = sorted(name for name in compared if entries[name] != f"{name} {manifest.get(name)}")
    stale = sorted(manifest.keys() - cases.all.keys()) if compared and not options.fast else []
    counts = Counter(outcome for outcome, _ in outcomes.values())
    if options.json:
        print(json.dumps({
            "cases": len(outcomes), "pass": counts["pass"], "unsupported": counts["unsupported"],
            "outcomes": entries, "failures": failures, "changed": changed, "stale": stale,
            "seconds": round(seconds, 1),
        }, indent=1))
    else:
        if options.names:
            print(*entries.values(), sep="\n")
        else:
            print(*(entries[name] for name in failures), sep="\n", end="\n" if failures else "")
        for name in changed:
            print(f"changed: {entries[name]}\n  the manifest says: {manifest.get(name, 'nothing')}")
        print(*(f"gone: {name}" for name in stale), sep="\n", end="\n" if stale else "")
        print(f"{len(outcomes)} cases: {counts['pass']} pass, {counts['unsupported']} unsupported, "
              f"{len(failures)} failures, {len(changed) + len(stale)} differ from the manifest; {seconds:.0f} s")
    if options.write and not failures:
        MANIFEST.write_text("".join(f"{entry}\n" for entry in entries.values()))
    return 1 if failures or changed or stale else 0


if __name__ == "__main__":
    sys.exit(main())

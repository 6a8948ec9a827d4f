# What can be done with this tree. `make help` lists it; every target installs what it needs first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Parameters of single targets, documented where they are used.
ARGS ?=
PACKAGE ?=
CAMPAIGN ?=
SEEDS ?= 1000
FIRST ?= 0
SECONDS ?= 600
TARGET ?=
REVISION ?=

FAULTS := $(or $(CARGO_TARGET_DIR),target)/release/craton-faults
SIM := $(or $(CARGO_TARGET_DIR),target)/release/craton-sim

export CARGO_TERM_PROGRESS_WHEN ?= never

CONSOLE := web/app/dist/index.html
CONSOLE_DEPENDENCIES := web/node_modules/.package-lock.json
CONSOLE_SOURCES := $(shell find web/app web/mock-api \( -path web/app/dist -o -path '*/generated/verifier*' \) -prune -o -type f -print 2>/dev/null) \
	$(wildcard web/*.ts web/*.js web/*.json)
# The verifier of the console's verifier page, in WebAssembly.
VERIFIER := web/app/src/verifier/generated/verifier_bg.wasm
VERIFIER_SOURCES := $(shell find core/types core/crypto core/proof core/verifier -path '*/src/*' -name '*.rs') \
	core/verifier/Cargo.toml scripts/build-verifier.sh

.PHONY: help
help: ## Lists these targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Installs every system package and tool that is missing
	@scripts/setup.sh

.PHONY: fmt
fmt: $(CONSOLE_DEPENDENCIES) ## Formats the Rust code and the console
	cargo fmt --all
	cd web && npm run --silent format

.PHONY: dev
dev: setup $(CONSOLE) ## The whole world on this machine, until interrupted
	cargo build --locked --workspace --bins
	$(or $(CARGO_TARGET_DIR),target)/debug/craton dev $(ARGS)

.PHONY: demo
demo: setup $(CONSOLE) ## The main job, from sign-up to a verified receipt, with the time of each step
	scripts/demo.sh $(ARGS)

.PHONY: bench
bench: setup $(CONSOLE) ## Inserts, reads and time to connectable, beside PostgreSQL in the same run
	scripts/bench.sh $(ARGS)

.PHONY: bench-log
bench-log: ## The log alone: durable appends, reads, size, memory and recovery, each beside its limit and the disk's own speed
	cargo bench --locked --package craton-engine --bench log -- $(ARGS)

.PHONY: bench-cluster
bench-cluster: setup ## Three members beside three of etcd: durable writes, linearizable reads, failover; ARGS='--seconds 30 --clients 64'
	cargo bench --locked --package craton-server --bench cluster -- $(ARGS)

.PHONY: check
check: setup $(CONSOLE) ## Formatting, lints, documentation, licences and the console's types: what CI runs before the tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	scripts/check-dependencies.sh
	cd web && npm run --silent lint && npm run --silent check

.PHONY: test
test: setup $(CONSOLE) ## Every test; PACKAGE=craton-log for one crate, ARGS='-E "test(name)"' for some
	cargo nextest run --locked --no-fail-fast $(if $(PACKAGE),--package $(PACKAGE),--workspace) $(ARGS)
ifeq ($(PACKAGE)$(ARGS),)
	cargo test --locked --quiet --doc --package craton-engine
	cd web && npm run --silent test
	scripts/test-console.sh
endif

.PHONY: campaigns
campaigns: setup ## Every fault campaign in its long form; CAMPAIGN=crash-points ARGS='--count 1000000' for one
	cargo build --release --locked --package craton-faults --package craton-server
ifneq ($(CAMPAIGN),)
	$(FAULTS) $(CAMPAIGN) $(ARGS)
else
	$(FAULTS) crash-points $(ARGS)
	$(FAULTS) io-errors $(ARGS)
	$(FAULTS) bad-disk $(ARGS)
	$(FAULTS) files $(ARGS)
	$(FAULTS) flips $(ARGS)
	$(FAULTS) kill-nine $(ARGS)
	$(FAULTS) power-cut $(ARGS)
	$(FAULTS) leader-kills $(ARGS)
	$(FAULTS) partitions $(ARGS)
	$(FAULTS) pauses $(ARGS)
	$(FAULTS) clock-jumps $(ARGS)
	$(FAULTS) full-disks $(ARGS)
	$(FAULTS) soak $(ARGS)
endif

.PHONY: sim
sim: setup ## The simulator, SEEDS=1000 seeds from FIRST=0 on of a lone node, and of a cluster of three members; ARGS=--twice
	cargo build --release --locked --package craton-sim
	$(SIM) --first $(FIRST) --seeds $(SEEDS) $(ARGS)
	$(SIM) --members 3 --first $(FIRST) --seeds $(SEEDS) $(ARGS)

.PHONY: sim-bugs
sim-bugs: setup ## Plants one bug after another; the simulator finds each within SEEDS=1000 seeds
	cargo build --release --locked --package craton-sim --features planted-bugs
	$(SIM) --planted all --first $(FIRST) --seeds $(SEEDS)
	$(SIM) --members 3 --planted all --first $(FIRST) --seeds $(SEEDS)

.PHONY: upgrade
upgrade: setup ## A cluster moved up, down and up again under load; REVISION=v0.1.0 takes the older build from there
	scripts/upgrade.sh $(REVISION)

.PHONY: fuzz
fuzz: ## Every fuzz target in turn, SECONDS=600 each; TARGET=receipts for one
	scripts/fuzz.sh $(SECONDS) $(TARGET)

.PHONY: clean
clean: ## Removes everything that a build or a test made
	cargo clean
	rm -rf web/app/dist web/app/src/verifier/generated web/node_modules

# The console is embedded in the control plane, so building the workspace needs it.
$(CONSOLE_DEPENDENCIES): web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

$(VERIFIER): $(VERIFIER_SOURCES)
	scripts/build-verifier.sh

$(CONSOLE): $(CONSOLE_DEPENDENCIES) $(CONSOLE_SOURCES) $(VERIFIER)
	cd web && npm run --silent build

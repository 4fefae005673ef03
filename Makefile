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

.PHONY: help build run test lint bench protos lock clean test-rust test-python test-web

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

build: $(STAMPS)/native $(STAMPS)/web ## Build the core, the Python package and the web client into .venv

run: build ## Build, then start a server with development keys on this machine
	$(BIN)/pysfu serve --dev

# Browsers and what else the tests drive; installed only when missing.
TEST_PROGRAMS := chromium firefox-esr ip valgrind
.PHONY: test-programs
test-programs:
	@missing=0; for program in $(TEST_PROGRAMS); do command -v $$program >/dev/null || missing=1; done; \
	if [ $$missing = 1 ]; then \
	  [ "$$(id -u)" = 0 ] || { echo "as root: apt-get install chromium firefox-esr iproute2 valgrind" >&2; exit 1; }; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -q && apt-get install -q -y --no-install-recommends chromium firefox-esr iproute2 valgrind; \
	fi

test: test-rust test-web test-python ## Run every test, installing the browsers they need

test-rust:
	cargo test --workspace --locked

test-python: build test-programs
	$(BIN)/python -m pytest

test-web: $(STAMPS)/npm
	cd web && npm test

lint: build ## Check formats, types and lints; warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest pysfu._core
	$(BIN)/python protos/generate.py --check
	cd web && npm run lint

protos: $(STAMPS)/venv ## Regenerate pysfu/v1 from the protos
	$(BIN)/python protos/generate.py

bench: build ## Run the microbenchmarks
	$(BIN)/python -m pytest bench --benchmark-only

# The peers that the side-by-side measures.
.PHONY: bench-programs bench-forward
bench-programs:
	@if ! command -v janus >/dev/null; then \
	  [ "$$(id -u)" = 0 ] || { echo "as root: apt-get install janus" >&2; exit 1; }; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -q && apt-get install -q -y --no-install-recommends janus; \
	fi

# FORWARD=--quick proves in two minutes that it works; --wait waits until nothing else uses the CPUs.
bench-forward: build bench-programs ## Measure forwarding beside the bare relay and peers (25 minutes, nothing else running)
	$(BIN)/python -m bench.forward $(FORWARD)

lock: ## Pin every dependency anew in requirements.lock
	$(BIN)/pip-compile --quiet --upgrade --all-extras --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --output-file requirements.lock pyproject.toml

clean: ## Remove what was built, but not .venv
	rm -rf build dist target *.egg-info pysfu/*.so $(WEB_OUT) web/node_modules $(STAMPS)

# Every target sets up what it needs; see CONTRIBUTING.md.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test lint format bench proto schema soak fuzz runtimes clean

demo: $(VENV)/.all
	@$(BIN)/gpuledger demo $(DEMO)

test: $(VENV)/.dev
	@$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile $(TEST)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python proto/generate.py --check

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python -m bench

proto: $(VENV)/.dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python proto/generate.py

schema: $(VENV)/.dev
	$(BIN)/python -m tests.dump_schema

# As root, so that disks can be filled; SOAK="--faults 200 --minutes 4 --seed 7" for a shorter one.
soak: $(VENV)/.dev
	@$(BIN)/python -m tests.faults $(SOAK)

# FUZZ="--target spools --minutes 5 --seed 7" for another reader, or another course.
fuzz: $(VENV)/.dev
	@$(BIN)/python -m tests.fuzz $(FUZZ)

# What some tests need and skip without: the real runtimes, the real Slurm and a real browser.
RUNTIMES := containerd runc podman conmon busybox-static docker.io iptables slurm-wlm munge chromium
runtimes:
	@apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(RUNTIMES) >/dev/null

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "gpuledger needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "python venv is missing: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 2; }
	@touch $@

$(VENV)/.all: $(VENV)/.python pyproject.toml
	@echo "installing gpuledger[all] into $(VENV) ..." >&2
	@$(PIP) install -e '.[all]'
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml
	@echo "installing gpuledger[dev] into $(VENV) ..." >&2
	@$(PIP) install -e '.[dev]'
	@touch $@ $(VENV)/.all

# Every target sets up what it needs; see CONTRIBUTING.md.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test lint format bench proto schema soak fuzz runtimes images test-images deb test-packages locks clean

demo: $(VENV)/.all
	@$(BIN)/gpuledger demo $(DEMO)

test: $(VENV)/.dev
	@$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder $(TEST)

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
RUNTIMES := containerd runc podman conmon busybox-static docker.io iptables slurm-wlm munge chromium systemd systemd-container mmdebstrap iproute2 prometheus
runtimes:
	@apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(RUNTIMES) >/dev/null

# BUILDER=docker, or IMAGE_BASE=...@sha256:... for a release.
BUILDER    ?= podman
IMAGE_BASE ?= docker.io/library/python:3.12-slim-bookworm
VERSION    := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
CONTAINER  := packaging/container
# docker keeps health checks and finds what to ignore by itself.
PODMAN_FLAGS := $(if $(filter podman,$(notdir $(BUILDER))),--format=docker --ignorefile=$(CONTAINER)/Containerfile.dockerignore)
images:
	for target in agent collector; do \
	  $(BUILDER) build $(PODMAN_FLAGS) $(IMAGE_FLAGS) --target $$target --build-arg BASE=$(IMAGE_BASE) --build-arg VERSION=$(VERSION) \
	    --build-arg REVISION=$$(git rev-parse HEAD) --tag gpuledger-$$target:$(VERSION) --file $(CONTAINER)/Containerfile . || exit; \
	done

# As root: images on a base made of Debian's packages, run as their manifests say. A minute and a half.
test-images: $(VENV)/.dev
	@$(BIN)/python -m pytest tests/container/images.py $(TEST)

# For the Python of this system's minor version: make PYTHON=/usr/bin/python3 deb
deb: $(VENV)/.python
	@$(BIN)/python packaging/deb/build.py dist $(REVISION)

# As root: installed, upgraded and purged in a booted Debian. Five minutes, most of them to build.
test-packages: $(VENV)/.dev
	@$(BIN)/python -m pytest tests/packages/debian.py $(TEST)

# The packages of the images, to the byte; from time to time, or after a change of dependencies.
locks: $(VENV)/.dev
	@$(PIP) install uv
	@for extra in agent collector; do \
	  $(BIN)/uv pip compile --quiet --extra $$extra --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-annotate --no-emit-package gpuledger --upgrade --output-file $(CONTAINER)/$$extra.lock pyproject.toml || exit; \
	done
	@printf 'hatchling\npip\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-annotate --upgrade --output-file $(CONTAINER)/build.lock -

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

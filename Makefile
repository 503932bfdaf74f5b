# The commands of the house; `make` alone prints them.
#
# `make test` needs root or sudo: it installs Debian's mail servers (they are not started) and the tests run private
# instances of them. `make demo` needs nothing but Python >= 3.11. Both are quick from the second time on (stamp files).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo "sudo -E")
ARGS ?=

VENV_STAMP := $(VENV)/.stamp-installed
DEBIAN_STAMP := $(VENV)/.stamp-debian

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV_STAMP) ## The main job in one terminal; ARGS=--keep leaves it running to play with
	@$(BIN)/python -m relay demo $(ARGS)

.PHONY: test
test: $(VENV_STAMP) $(DEBIAN_STAMP) ## The whole suite, with real Postfix and Dovecot; ARGS go to pytest
	@$(SUDO) $(BIN)/python -m pytest $(ARGS)

.PHONY: check
check: $(VENV_STAMP) ## Format, lint, types, import layers, file length and the other rules of the house
	@$(BIN)/python -m pytest tests/house $(ARGS)

.PHONY: format
format: $(VENV_STAMP) ## Let ruff format and fix what it can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: bench
bench: $(VENV_STAMP) $(DEBIAN_STAMP) ## Measure against Debian's Postfix; ARGS=--quick for a short run
	@$(SUDO) $(BIN)/python -m tests.bench $(ARGS)

.PHONY: drill
drill: $(VENV_STAMP) $(DEBIAN_STAMP) ## Kill everything at every point, then count the mail; ARGS=--messages=N
	@$(SUDO) $(BIN)/python -m tests.drill $(ARGS)

.PHONY: container
container: ## Build the Dockerfile and run the image, without a container engine; before every release
	@$(SUDO) .ci/install-debian-packages buildah debootstrap
	@$(SUDO) deploy/prove-container.sh

.PHONY: lock
lock: ## Resolve the dependencies anew (needs uv on the PATH)
	uv pip compile --quiet --universal --generate-hashes --no-header pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --generate-hashes --no-header --group pyproject.toml:dev pyproject.toml \
		-o requirements-dev.lock

.PHONY: clean
clean: ## Remove everything that can be made again
	@$(SUDO) rm -rf $(VENV) build dist demo-data .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@$(SUDO) find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or later is needed' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(SUDO) .ci/install-debian-packages python3-venv
	@$(PYTHON) -m venv $(VENV)

$(VENV_STAMP): requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DEBIAN_STAMP): .ci/debian-packages .ci/install-debian-packages | $(VENV)/bin/python
	@grep -v '^#' .ci/debian-packages | xargs $(SUDO) .ci/install-debian-packages
	@touch $@

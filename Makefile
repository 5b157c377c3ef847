# Two commands on a fresh machine: `make run` does the main job on embedded defaults, `make test` tests it on real servers.
# Python 3.13 is taken where there is one (a pyenv in the home folder counts), else python3, which must be 3.11 or newer.

PYTHON ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3) $(shell command -v python3.13 2>/dev/null) $(shell command -v python3 2>/dev/null))
BIN := .venv/bin
FUZZ_SECONDS ?= 60
# Processes that run tests beside each other, each with its own servers.
WORKERS ?= auto
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
AZURITE := .tools/node_modules/.bin/azurite

.PHONY: docs lock run test test-fast test-soak check bench fuzz servers package clean help

help:
	@echo "make run    collect sample mail from embedded mail servers into ./mailroom-demo"
	@echo "make test   every test, on real servers; installs the servers that are missing"
	@echo "make test-fast  the tests that need no server, in less than a minute"
	@echo "make test-soak  make test with full volumes and all random seeds; takes an hour"
	@echo "make check  lint, types, layers"
	@echo "make bench  what it does a second, beside what one would otherwise pick"
	@echo "make docs   what is made of the code, anew: docs/schemas, docs/examples and docs/settings.md"
	@echo "make fuzz   the parser on hostile bytes, for a minute; FUZZ_SECONDS=1800 for longer"
	@echo "make lock   write requirements.txt and requirements-dev.txt from pyproject.toml; UPGRADE=1 takes the newest versions"
	@echo "make package  what azd and func would deploy, into .tools/package.zip"

run: .venv/stamp
	@$(BIN)/mailroom demo

test: .venv/stamp servers .tools/checkov/installed
	@$(PYTEST)

test-fast: .venv/stamp
	@$(PYTEST) -q -m "not servers and not slow"

test-soak: .venv/stamp servers .tools/checkov/installed
	@MAILROOM_SOAK=1 $(PYTEST)

check: .venv/stamp
	@$(BIN)/ruff format --check --quiet . || { echo "ruff format would change files: run .venv/bin/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/unit/test_layers.py
	@tools/bicep.sh

bench: .venv/stamp servers
	@$(BIN)/python -m bench

# What is interesting is kept in .tools/fuzz/corpus from one run to the next; what failed lies in .tools/fuzz.
fuzz: .venv/stamp .tools/fuzz/packages
	@PYTHONPATH=.tools/fuzz/packages $(BIN)/python -m fuzz.parse .tools/fuzz -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1

.tools/fuzz/packages:
	@$(BIN)/python -m pip install --disable-pip-version-check -q --target $@ "atheris>=3" || { rm -rf $@; exit 1; }

docs: .venv/stamp
	@$(BIN)/python -m tools.published
	@$(BIN)/python -m tools.settings_reference

servers:
	@tools/servers.sh

# Apart from .venv: it pins dozens of packages. Its own reader of Bicep is older than the language, the newer one works.
.tools/checkov/installed:
	@echo "Installing Checkov into .tools"
	@mkdir -p .tools && "$(PYTHON)" -m venv .tools/checkov && { \
		.tools/checkov/bin/python -m pip install --disable-pip-version-check -q "checkov>=3.3,<4" && \
		.tools/checkov/bin/python -m pip install --disable-pip-version-check -q --no-deps "pycep-parser>=0.7.1,<0.8"; \
	} >.tools/checkov.log 2>&1 || { tail -n 20 .tools/checkov.log >&2; rm -rf .tools/checkov; exit 1; }
	@touch $@

# What azd and func would send, to look at.
package: .venv/stamp
	@$(BIN)/python -m tools.package .tools/package.zip

# The exact versions of all packages, from the dependencies that pyproject.toml states. UPGRADE=1 takes the newest.
lock:
	@PYTHON="$(PYTHON)" tools/lock.sh $(if $(UPGRADE),--upgrade)

clean:
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache *.egg-info

.venv/stamp: requirements-dev.txt pyproject.toml
	@tools/venv.sh "$(PYTHON)" && touch $@

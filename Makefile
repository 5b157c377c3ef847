# Two commands on a fresh machine: `make run` runs the demo on embedded mail servers, `make test` runs the tests on real
# servers. Python 3.13 is preferred (also from a pyenv in the home folder). Otherwise python3 must be 3.11 or newer.

PYTHON ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3) $(shell command -v python3.13 2>/dev/null) $(shell command -v python3 2>/dev/null))
BIN := .venv/bin
FUZZ_SECONDS ?= 60
# Number of processes that run tests in parallel, each with its own servers. One more than cores, since tests also wait.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# The tests of infra/ that need neither the compiler nor a package. Queries need Kusto's language service (make servers).
INFRA_TESTS := $(filter-out tests/infra/test_package.py $(if $(wildcard .tools/kusto/installed),,tests/infra/test_queries.py),$(wildcard tests/infra/test_*.py))
AZURITE := .tools/node_modules/.bin/azurite

.PHONY: docs lock run test test-fast test-soak check bicep bench fuzz servers package clean help

help:
	@echo "make run        Run the demo: drain sample mail from embedded mail servers into ./mailroom-demo"
	@echo "make test       Run all tests on real servers; install missing servers first"
	@echo "make test-fast  Run the tests that need no server; takes about a minute"
	@echo "make test-soak  Run all tests with full volumes and all random seeds; takes an hour"
	@echo "make check      Check format, lint, types, language, layers, and infra/ with the Bicep compiler"
	@echo "make bicep      Write the layout of infra/ and its snapshots, with the Bicep compiler"
	@echo "make bench      Measure throughput, also of comparable libraries"
	@echo "make docs       Generate docs/schemas, docs/examples and docs/reference/settings.md"
	@echo "make fuzz       Fuzz the parser for a minute; set FUZZ_SECONDS=1800 for longer"
	@echo "make package    Build .python_packages, which azd and func deploy with the app, and .tools/package.zip"
	@echo "make lock       Write requirements*.txt from pyproject.toml; UPGRADE=1 takes the newest versions"
	@echo "make servers    Install the servers that the tests need"
	@echo "make clean      Delete the virtual environment, tools and caches"

run: .venv/stamp
	@$(BIN)/mailroom demo

test: .venv/stamp servers
	@$(PYTEST)

test-fast: .venv/stamp
	@$(PYTEST) -q --fast

test-soak: .venv/stamp servers
	@MAILROOM_SOAK=1 $(PYTEST)

check: .venv/stamp
	@$(BIN)/ruff format --check --quiet . || { echo "ruff format would change files: run .venv/bin/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m tools.check_language
	@$(BIN)/python -m pytest -q tests/unit/test_layers.py $(INFRA_TESTS)
	@$(BIN)/python -m tools.bicep

# What `make check` compares.
bicep: .venv/stamp
	@$(BIN)/python -m tools.bicep --write

bench: .venv/stamp servers
	@$(BIN)/python -m bench

# The corpus stays in .tools/fuzz/corpus for the next run. Inputs that failed are in .tools/fuzz.
fuzz: .venv/stamp .tools/fuzz/packages
	@PYTHONPATH=.tools/fuzz/packages $(BIN)/python -m fuzz.parse .tools/fuzz -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1

.tools/fuzz/packages:
	@$(BIN)/python -m pip install --disable-pip-version-check -q --target $@ "atheris>=3" || { rm -rf $@; exit 1; }

docs: .venv/stamp
	@$(BIN)/python -m tools.published
	@$(BIN)/python -m tools.settings_reference

servers:
	@tools/servers.sh

# The pruned dependencies, and the package as azd and func send it. Needs Python 3.13; no compiler.
package: .venv/stamp
	@$(BIN)/python -m tools.package .tools/package.zip

# The locks hold the exact versions of the packages that pyproject.toml names.
lock:
	@PYTHON="$(PYTHON)" tools/lock.sh $(if $(UPGRADE),--upgrade)

clean:
	rm -rf .venv .tools .python_packages .mypy_cache .ruff_cache .pytest_cache *.egg-info

.venv/stamp: requirements-dev.txt pyproject.toml
	@tools/venv.sh "$(PYTHON)" && touch $@

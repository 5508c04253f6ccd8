# Two commands are all there is to know: `make demo` and `make test`. Each sets up what it needs in .venv, from requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Without a browser the tests of the dashboard are skipped, and say so; CI installs one.
CHROMIUM := $(shell for name in chromium chromium-browser google-chrome google-chrome-stable; do command -v $$name && break; done)
export TEST_BROWSER ?= $(or $(CHROMIUM),skip)

.DEFAULT_GOAL := help
.PHONY: help install demo test check fast-check format lock bench benchmarks clean

help:  ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED)  ## Build .venv from requirements.lock

demo: $(INSTALLED)  ## Process recordings, read them from the database and from the cache, draw one
	$(BIN)/emg-sessions demo

test: $(INSTALLED)  ## Run every test, on containers where a Docker engine answers, else on embedded servers
	$(BIN)/pytest -n auto --dist worksteal $(ARGS)

check: $(INSTALLED)  ## The gate: style, types, import rules, dead code, dependencies, fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/deptry .
	$(BIN)/pytest -q -n auto tests/unit tests/architecture

format: $(INSTALLED)  ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)  ## Measure everything beside its peers, and renew docs/bench and the README's figures from that
	$(BIN)/emg-sessions bench --output docs/bench $(ARGS)
	$(BIN)/python -m adapters.entrypoints.bench.readme docs/bench/report.json README.md

benchmarks: $(INSTALLED)  ## Measure single parts: the analysis, stalls, signals, the page
	$(BIN)/python benchmarks/analysis_time.py
	$(BIN)/python benchmarks/loop_stall.py
	$(BIN)/python benchmarks/signals.py
	$(BIN)/python benchmarks/session_page.py

lock: $(INSTALLED)  ## Renew requirements.lock, and the service's part of it, from pyproject.toml (needs the package index)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra embedded --extra telemetry --extra bench --group dev --upgrade --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra telemetry --constraint requirements.lock --output-file requirements.service.lock pyproject.toml

clean:  ## Remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make $(or $(MAKECMDGOALS),install) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

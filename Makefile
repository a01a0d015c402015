# run, test, check, bench, torture, lock, help: the words that people, CI and the README share.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test check bench torture lock clean
help: ## say what the words do
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/'

run: $(VENV)/.run ## start the service on http://127.0.0.1:5000/, its data in ./data
	@$(BIN)/python -m app serve

test: $(VENV)/.dev ## run all the tests, in parallel, against real servers
	@tests/browser/install_chromium.sh
	@$(BIN)/python -m pytest -n auto $(PYTEST)

check: $(VENV)/.dev ## ruff, mypy --strict, lock files up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python bench/check_lock.py

bench: $(VENV)/.dev ## measure the service beside its limits (BENCH=--quick: a short look)
	@$(BIN)/python -m bench $(BENCH)

torture: $(VENV)/.dev ## break what can be broken, for an hour (SEED=7; TORTURE="kills --kills 100": a part)
	@$(BIN)/python -m tests.torture $(TORTURE) $(if $(SEED),--seed $(SEED))

lock: $(VENV)/.dev ## renew the lock files from requirements*.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url requirements.txt -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url requirements-dev.txt -o requirements-dev.lock

clean: ## remove what make has made; ./data stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock | $(VENV)/bin/python
	@$(BIN)/python -m pip install -q --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock | $(VENV)/bin/python
	@$(BIN)/python -m pip install -q --require-hashes -r requirements-dev.lock
	@touch $@ $(VENV)/.run

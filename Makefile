# run, test, check, bench, torture, lock, clean, help: the targets that people, CI and the README share.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test check bench torture lock clean
help: ## list all targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/'

run: $(VENV)/.run ## serve on http://127.0.0.1:5000/, with the data in ./data
	@$(BIN)/python -m app serve

test: $(VENV)/.dev ## run all tests, in parallel, against real servers
	@tests/browser/install_chromium.sh
	@$(BIN)/python -m pytest -n auto $(PYTEST)

check: $(VENV)/.dev ## ruff, mypy --strict, words and names, lock files up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python .ci/check_words.py
	@$(BIN)/python .ci/check_lock.py

bench: $(VENV)/.dev ## measure the service beside its limits (BENCH=--quick: a short run)
	@$(BIN)/python -m bench $(BENCH)

torture: $(VENV)/.dev ## fault injection for an hour (SEED=7; TORTURE="kills --kills 100": one part)
	@$(BIN)/python -m tests.torture $(TORTURE) $(if $(SEED),--seed $(SEED))

lock: $(VENV)/.dev ## update the lock files from requirements*.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url requirements.txt -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url requirements-dev.txt -o requirements-dev.lock

clean: ## remove what make has made; ./data stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

# An environment that could be made only in part is removed again, or the next run would take it for a whole one.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11, or missing: install Python 3.11 or later, or set PYTHON to it." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "$(PYTHON) lacks venv or pip: install them (Debian: python3-venv), then repeat." >&2; exit 1; }

define install
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || \
		{ echo "$(VENV) has no pip that works: run make clean, then repeat." >&2; exit 1; }
	@echo "Installing packages into $(VENV): once, about a minute ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(1)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps $(2) --editable .
	@touch $@
endef

$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	$(call install,requirements.lock)

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(call install,requirements-dev.lock,--no-build-isolation)
	@touch $(VENV)/.run

# What there is to do here; `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= var
PORT ?= 8080
ARGS ?=
JOBS ?= auto
RERUNS ?= 0

.PHONY: help run test check lint types bench docs news pex lock clean
.DEFAULT_GOAL := help

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

$(VENV)/.run: setup.py
	@command -v git >/dev/null || { echo "git is not installed: install it with your system's packages" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian, apt install python3-venv" >&2; exit 1; }
	@echo "Installing sayci and what it needs into $(VENV) (about a minute) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run setup.py
	@echo "Installing what the tests need ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,postgresql]'
	@touch $@

run: $(VENV)/.run ## Start sayci on port 8080 with its data in var/, and build a sample project
	@exec $(BIN)/twist --log-level warn --log-format text sayci --port tcp:$(PORT):interface=127.0.0.1 --data $(DATA) --sample --sign-in-link $(ARGS)

test: lint types $(VENV)/.dev ## Everything that must hold: lint, types, all tests
	$(BIN)/python -m pytest -n $(JOBS) --reruns $(RERUNS) -rR -q $(ARGS)
	@# In processes of their own: see tests/browser/conftest.py.
	$(if $(ARGS),,$(BIN)/python -m pytest -n $(JOBS) --reruns $(RERUNS) -rR -q tests/browser)

check: $(VENV)/.dev ## The quick tests alone, in one process
	$(BIN)/python -m pytest -q -m "not slow" --ignore tests/journeys --ignore tests/contracts $(ARGS)

lint: $(VENV)/.dev ## Format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev ## Types, strictly
	$(BIN)/mypy

bench: $(VENV)/.dev ## Print the figures
	$(BIN)/python -m bench $(ARGS)

news: $(VENV)/.dev ## Show the news of the next release
	$(BIN)/towncrier build --draft

pex: ## Make sayci.pex, without Docker (./build VERSION makes the image too)
	@PYTHON=$(PYTHON) ./build --pex-only

# In a copy, since asking setup.py leaves files beside it; for every Python that setup.py allows.
LOCK := uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-package tzdata --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: ## Write requirements.txt and requirements-build.txt anew, with the newest versions
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(PYTHON) -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/pip" install --quiet --disable-pip-version-check uv; \
	cp -R setup.py setup.cfg pyproject.toml README.rst LICENSE src "$$tmp"; \
	cd "$$tmp"; export PATH="$$tmp/venv/bin:$$PATH"; \
	printf '%s\n' pex pip 'setuptools >= 77' >tools.in; \
	$(LOCK) --extra postgresql -o requirements.txt setup.py; \
	$(LOCK) -o requirements-build.txt tools.in; \
	cp requirements.txt requirements-build.txt "$(CURDIR)"; \
	echo "Written: requirements.txt, requirements-build.txt. Run make test before you keep them."

clean: ## Remove what make has made, but not the data in var/
	rm -rf $(VENV) .build src/*.egg-info *.egg-info .mypy_cache .ruff_cache .hypothesis

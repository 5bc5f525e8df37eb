# Everything a newcomer types. Needs Python >= 3.11 with pip, and make; the rest goes into .venv/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS := dev,embedded

.PHONY: help venv serve test test-fast check format bench clean
.DEFAULT_GOAL := help

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

venv: $(INSTALLED)  ## create or refresh the environment in .venv/

serve: $(INSTALLED)  ## start the full engine with its own database
	$(BIN)/outcry serve

test: $(INSTALLED)  ## prove everything, the database included
	$(BIN)/pytest

test-fast: $(INSTALLED)  ## prove what needs neither a database nor patience
	$(BIN)/pytest -m "not slow and not database"

check: $(INSTALLED)  ## lint, formatting, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED)  ## rewrite the code as ruff wants it
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED)  ## measure on this machine
	$(BIN)/outcry bench match
	$(BIN)/outcry bench engine

clean:  ## remove the environment and every cache, never the data folder
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Refreshed in place, and only when the dependencies may have changed.
$(INSTALLED): pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]"
	@touch $@

# Debian ships `venv` without the pip it seeds, and marks the system's pip as not ours to use;
# that pip may still fill an environment it is pointed at. A half-made one is not left behind.
# A Python that was upgraded away leaves a dangling link, which counts as absent.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@rm -rf $(VENV)
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	  $(PYTHON) -m venv $(VENV); \
	else \
	  $(PYTHON) -m venv --without-pip $(VENV) \
	    && $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check pip; \
	fi || { rm -rf $(VENV); echo "no environment: is pip installed for $(PYTHON)?" >&2; exit 1; }

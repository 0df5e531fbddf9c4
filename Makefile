# `make demo` and `make test` set everything up themselves, in .venv inside this checkout.
VENV := .venv
PY := $(VENV)/bin/python
BASE_PYTHON ?= python3
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1

.PHONY: setup demo test check bench clean

$(VENV)/.ready: pyproject.toml
	$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ownshelf needs Python 3.11 or newer")'
	test -x $(PY) || $(BASE_PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

setup: $(VENV)/.ready ## environment in .venv

demo: setup ## the whole idea on a real log, about three minutes
	$(VENV)/bin/ownshelf demo

test: setup ## all tests
	$(PY) -m pytest -n 2

check: setup ## format, lint, types, direction of imports, known holes
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/bandit -q -c pyproject.toml -r data recsys federation serving
	$(PY) -m pip_audit --skip-editable --progress-spinner off

bench: setup ## the figures of the docs: ownshelf bench NAME for one
	$(VENV)/bin/ownshelf bench simulation --json
	$(VENV)/bin/ownshelf bench ingest --json
	$(VENV)/bin/ownshelf bench published --json

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .hypothesis

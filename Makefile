# `make demo` and `make test` set everything up themselves, in .venv inside this checkout. The tests also run two programs
# of the system, Chromium and Node; `make system` installs them where apt-get can. PostgreSQL comes with the dev extra.
VENV := .venv
PY := $(VENV)/bin/python
BROWSER := serving/browser
BASE_PYTHON ?= python3
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1

PIP_INSTALL = $(PY) -m pip install --disable-pip-version-check --editable

.PHONY: runtime setup system demo test sdk check lock mutation fuzz bench clean

# pip tells of each package that it fetches: libraries of several hundred megabytes must not look like a stop.
$(VENV)/.runtime: pyproject.toml
	$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ownshelf needs Python 3.11 or newer")'
	test -x $(PY) || $(BASE_PYTHON) -m venv $(VENV)
	@echo "installing what the program needs into $(VENV); what only its developers need is left out"
	$(PIP_INSTALL) .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "installing what the tests and checks need into $(VENV)"
	$(PIP_INSTALL) '.[dev]'
	touch $@

# The browser SDK needs nothing to run; these check its types, bundle it, and look over its package and its pages.
$(BROWSER)/node_modules/.package-lock.json: $(BROWSER)/package-lock.json | system
	npm ci --prefix $(BROWSER) --no-audit --no-fund --loglevel=error
	touch $@

runtime: $(VENV)/.runtime ## environment in .venv that runs the program
setup: $(VENV)/.dev $(BROWSER)/node_modules/.package-lock.json ## environment in .venv that also tests it

system: ## a browser, Node and npm for the tests; does nothing where they are
	@missing=; \
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| missing=chromium; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then root=; else root=sudo; fi; \
	if command -v apt-get >/dev/null && { [ -z "$$root" ] || command -v sudo >/dev/null; }; then \
		$$root apt-get update -qq && \
		$$root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	else echo "make test needs programs that are not here; install:" $$missing >&2; exit 1; fi

demo: runtime ## the whole idea on a real log, about three minutes
	$(VENV)/bin/ownshelf demo

test: system setup ## all tests
	$(PY) -m pytest -n 2

sdk: $(BROWSER)/node_modules/.package-lock.json ## the bundles of the browser SDK, of its source
	npm run --prefix $(BROWSER) --silent build

lock: setup ## requirements.lock anew: the versions that are installed here and tested, with the hashes of PyPI
	$(PY) -m pip freeze --exclude-editable > $(VENV)/tested.txt
	$(PY) -m piptools compile --quiet --generate-hashes --strip-extras --no-annotate --no-header --unsafe-package torch \
		--extra postgres --extra otel --extra hosts --build-deps-for wheel --no-emit-index-url --no-emit-find-links \
		--constraint $(VENV)/tested.txt \
		--output-file requirements.lock pyproject.toml

check: setup ## format, lint, types, direction of imports, known holes, sizes
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/bandit -q -c pyproject.toml -r data recsys federation serving
	$(PY) -m tests.audit
	npm run --prefix $(BROWSER) --silent check

mutation: setup ## mutants of the code that privacy rests on, against their nearest tests: MUTATION="--sample 150 --seed 0"
	$(PY) -m tests.mutation $(MUTATION)

fuzz: setup ## every HTTP route against its own document: all checks of schemathesis, 500 examples an operation
	$(VENV)/bin/ownshelf bench fuzz --json

bench: setup ## the figures of the docs: ownshelf bench NAME for one
	$(VENV)/bin/ownshelf bench simulation --json
	$(VENV)/bin/ownshelf bench ingest --json
	$(VENV)/bin/ownshelf bench published --json

clean:
	rm -rf $(VENV) out .mypy_cache .ruff_cache .hypothesis

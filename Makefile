# Everything that a checkout needs, from Debian's python3 and make alone.
#
#   make demo    set up, start a server, load the sample data, export it over HTTP, verify it
#   make serve   a server with the sample data in it, until Ctrl-C
#   make test    set up and run every check and test
#   make check   only the static checks
#   make bench   measure, and write the results to bench/results
#   make lock    write requirements/*.txt anew from pyproject.toml

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP_COMPILE := $(BIN)/python -m piptools compile --quiet --generate-hashes --allow-unsafe \
	--strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options
PATHS := engine web backends tests bench
PYTEST_ARGS ?=

.PHONY: demo serve test check format bench lock clean

demo: $(READY)
	$(BIN)/python -m bench.demo

serve: $(READY)
	$(BIN)/penstock load tests/data/synthea-r4
	exec $(BIN)/penstock serve

# The tests over the published examples of FHIR R4 need npm, once; without it they are skipped.
test: check
	-$(BIN)/python -m tests.support.package
	$(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

check: $(READY)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/ruff check $(PATHS)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format $(PATHS)
	$(BIN)/ruff check --fix $(PATHS)

bench: $(READY)
	$(BIN)/python -m bench.run

# A package that is not in the lock with its hash is not installed, and nothing else is fetched.
# Debian packs venv's own pip apart (python3-venv); without it the system's pip does the work.
$(READY): requirements/dev.txt pyproject.toml | $(BIN)/python
	@if [ -x $(BIN)/pip ]; then pip="$(BIN)/python -m pip"; \
		else pip="$(PYTHON) -m pip --python $(BIN)/python"; fi; \
		set -ex; \
		$$pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt; \
		$$pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name it with make PYTHON=..."; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
		elif $(PYTHON) -m pip --version >/dev/null 2>&1; then $(PYTHON) -m venv --without-pip $(VENV); \
		else echo "make needs Python's venv or pip: apt-get install python3-venv"; exit 1; fi

lock: export CUSTOM_COMPILE_COMMAND = make lock
lock: $(READY)
	$(PIP_COMPILE) --output-file requirements/runtime.txt pyproject.toml
	$(PIP_COMPILE) --extra dev --constraint requirements/runtime.txt \
		--output-file requirements/dev.txt pyproject.toml

clean:
	rm -rf build dist demo-export *.egg-info .mypy_cache .ruff_cache .hypothesis

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1  # for each process: small matrices gain nothing from two

.PHONY: setup demo test test-quick test-exhaustive attack faults numerics lint format bench docs clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, found " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/igeom demo

test: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist worksteal

test-quick: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 -m 'not slow and not exhaustive'

test-exhaustive: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 -m exhaustive

attack: setup
	$(ONE_THREAD) $(BIN)/python tests/law/runner.py --cases 50000 --processes 2

faults: setup
	cd tests && ../$(BIN)/python -m faults

numerics: setup
	cd tests && $(ONE_THREAD) ../$(BIN)/python -m numerics

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: setup
	$(BIN)/mkdocs build --strict


clean:
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache

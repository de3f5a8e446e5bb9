PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow test-sessions test-environments bench docs wheel audit clean

demo: $(STAMP)
	$(BIN)/offramp search --run runs/demo --overwrite

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/pytest -m slow

# Bundles in small environments without torch, with the oldest packages.
test-sessions: $(STAMP)
	$(BIN)/python -m tests.environments session-oldest session-ternary

# As above, with the newest packages, and a whole search with the oldest and the newest; downloads several GB.
test-environments: $(STAMP)
	$(BIN)/python -m tests.environments

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# Made anew only when the dependencies change, so that a second call installs nothing.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

# The wheel, with a CycloneDX list of components in it and beside it.
wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .
	$(BIN)/python -m release.wheel_components dist

# Known faults of the installed packages; says so where the public list cannot be reached.
audit: $(STAMP)
	$(BIN)/python -m release.audit

docs: $(STAMP)
	$(BIN)/python -m sphinx -q -W --keep-going docs build/docs

clean:
	rm -rf $(VENV) .environments .audit dist

# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

# A wheel for this kind of machine, with the C kernels in it, in dist/.
wheel: $(STAMP)
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

.PHONY: demo test test-slow lint format clean wheel bench-hello

demo: $(STAMP)
	$(BIN)/kansym demo --out demo-out

test: $(STAMP)
	$(BIN)/python -m pytest

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The C kernels are part of the installation: when their sources change, it is made again.
$(STAMP): pyproject.toml constraints.txt Makefile hatch_build.py $(wildcard kansym/kernels/core/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) .venv-bench demo-out build dist

# Peers live in an environment of their own.
.venv-bench/.stamp: benchmarks/requirements.txt pyproject.toml constraints.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet -c constraints.txt -e . -r benchmarks/requirements.txt
	touch $@

bench-hello: .venv-bench/.stamp
	.venv-bench/bin/python benchmarks/hello_world.py --out benchmarks/results/hello_world

# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
BROWSER_STAMP := $(VENV)/.stamp-browser
CLUSTER_STAMP := $(VENV)/.stamp-cluster
DOCS_STAMP := $(VENV)/.stamp-docs
BENCHES := bench-step bench-train bench-sparsity bench-name bench-scaling bench-import bench-regularisation \
	bench-ranges bench-images bench-plot bench-rows bench-sweeps

# A wheel for this kind of machine, with the C kernels in it, in dist/.
wheel: $(STAMP)
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

.PHONY: demo test test-slow test-browser test-cluster reliability reliability-broken docs fuzz lint format clean \
	wheel bench $(BENCHES) bench-pipeline bench-recovery bench-tables bench-networks

demo: $(STAMP)
	$(BIN)/kansym demo --out demo-out

# One process per core, one thread each: more threads would wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test: $(STAMP)
	$(PYTEST)

test-slow: $(STAMP)
	$(PYTEST) -m slow

# The HTML report in Chromium, which must be installed (apt-get install chromium).
test-browser: $(BROWSER_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/test_report_browser.py

$(BROWSER_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test,browser]"
	touch $@

# Sweeps and rows in parts on clusters of dask and ray on this machine, and layers under Lightning in
# two processes. One file after another: two clusters at a time would leave each other no core.
test-cluster: $(CLUSTER_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster tests/test_sweeps.py tests/test_partitions.py \
		tests/test_faults.py tests/test_nn_examples.py

$(CLUSTER_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test,dask,ray,lightning]"
	touch $@

# The whole reliability suite, slow cases too, and its table in docs/reliability.md.
reliability: $(STAMP)
	$(PYTEST) tests/reliability -m "slow or not slow" --reliability-table=$(CURDIR)/docs/reliability.md

# What every row guards is broken in a copy, and its tests must fail there: ROWS="R3 R12", or all.
reliability-broken: $(STAMP)
	$(BIN)/python tests/reliability/broken.py $(ROWS)
# The site, in build/site: pages to be opened from disk or served as they are. A broken link fails.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test,docs]"
	touch $@

# Fuzz every target for SECONDS; what was found lies in build/fuzz (see tests/fuzz/fuzz.py).
SECONDS ?= 600
fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[fuzz]"
	for name in formula search model table; do \
		$(BIN)/python tests/fuzz/fuzz.py $$name build/fuzz/$$name --seconds $(SECONDS) || exit 1; done

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The C kernels are part of the installation: when their sources change, it is made again.
$(STAMP): pyproject.toml constraints.txt Makefile hatch_build.py kansym/kernels/build.py $(wildcard kansym/kernels/core/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) .venv-bench demo-out build dist

# Peers live in an environment of their own.
.venv-bench/.stamp: benchmarks/requirements.txt pyproject.toml constraints.txt hatch_build.py kansym/kernels/build.py $(wildcard kansym/kernels/core/*)
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet -c constraints.txt -e ".[dask,ray]" -r benchmarks/requirements.txt
	touch $@

# One after another, whatever -j says: two at a time would measure each other.
bench: .venv-bench/.stamp
	for name in $(BENCHES); do $(MAKE) -j1 $$name || exit 1; done

# ARGS go to the script: make bench-step ARGS="--rounds 3 --fast-kan PATH".
RUN_BENCH = .venv-bench/bin/python benchmarks/$(1).py --out benchmarks/results/$(1)

bench-step bench-train bench-scaling bench-ranges bench-sweeps: bench-%: .venv-bench/.stamp
	$(call RUN_BENCH,$*) --figure figures/bench_$*.png $(ARGS)

bench-sparsity bench-name bench-pipeline bench-regularisation bench-images bench-plot bench-rows: bench-%: .venv-bench/.stamp
	$(call RUN_BENCH,$*) $(ARGS)

bench-import: .venv-bench/.stamp
	$(call RUN_BENCH,import_time) $(ARGS)

bench-tables: .venv-bench/.stamp
	$(call RUN_BENCH,real_tables) $(ARGS)

bench-networks: .venv-bench/.stamp
	$(call RUN_BENCH,spline_networks) $(ARGS)

# make bench-recovery SETS="my.csv" ARGS="--methods kansym,operon --noise 0.01".
SETS ?= $(wildcard benchmarks/equations/*.csv)
bench-recovery: .venv-bench/.stamp
	.venv-bench/bin/python benchmarks/recovery.py $(SETS) $(ARGS)

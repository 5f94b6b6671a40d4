# One environment, made from the pinned versions; every target makes it first when it is missing or out of date.
PYTHON ?= python3.11
BIN := .venv/bin
DEMO := $(CURDIR)/runs/demo
BENCHMARKS ?= imports encode index search serve shuffler plan prepare study train

.PHONY: install demo test test-ray test-rest test-long bench lock

install: .venv/installed

# DeepSpeed's build imports the torch that is installed, so it gets no build environment of its own.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt pip setuptools wheel ninja torch
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[cpu,dev]'
	$(BIN)/python -c 'from hbt_ray.train import engine; engine.compile_for_cpu()'
	touch $@

# The whole road on the built-in sample, submitted to a Ray head that is started for it.
demo: install
	rm -rf runs/demo
	$(BIN)/python cluster/local.py -- python jobs/demo.py --out $(DEMO)
	@echo "report: $(DEMO)/report/index.html"

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --jobs 2 test-ray test-rest

# Half of the time of tests is Ray's processes starting, which leaves a core idle: the other tests run meanwhile.
test-ray:
	$(BIN)/python -m pytest -m 'not long and ray'

test-rest:
	$(BIN)/python -m pytest -m 'not long and not ray'

# Chaos, full grids and benchmarks: what is slow by nature.
test-long: install
	$(BIN)/python -m pytest -m long -o session_timeout=10800

bench: install
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[cpu,bench]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps mosaicml-streaming
	for name in $(BENCHMARKS); do $(BIN)/python jobs/benchmark.py --name $$name --out runs/bench/$$name.json || exit 1; done

# New pins from what is installed now: change a version in .venv, run the tests, then this.
lock:
	$(BIN)/pip freeze --all --exclude-editable | sed 's/+cpu$$//' | grep -v '^pip==' > constraints.txt
	sed -n 's/^faiss-cpu==/faiss-gpu==/p' constraints.txt >> constraints.txt  # the same library for GPUs

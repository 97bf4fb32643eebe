# Two commands on a fresh machine (python3 >= 3.11 with venv, make, git): `make run` and `make test`.
PY ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export UV_COMPILE_BYTECODE := 1
export GX_ANALYTICS_ENABLED := false
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: help setup run airflow review test test-slow bench check format lint types contracts lock clean
help:
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.ok  ## make .venv with the locked packages

.uv/bin/uv:
	@$(PY) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { echo "$(PY) is not Python 3.11, 3.12 or 3.13: say which to use with PY=python3.x"; exit 2; }
	@$(PY) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PY) lacks its venv module: on Debian or Ubuntu, apt-get install python3-venv"; exit 2; }
	$(PY) -m venv .uv && .uv/bin/python -m pip install --quiet uv==0.13.9

$(VENV)/.ok: requirements.lock pyproject.toml | .uv/bin/uv
	test -x $(BIN)/python || .uv/bin/uv venv --quiet --python "$$($(PY) -c 'import sys; print(sys.executable)')" $(VENV)
	.uv/bin/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	.uv/bin/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

run: $(VENV)/.ok  ## two real deliveries through the whole line, into ./workspace
	$(BIN)/python data/demo.py workspace

airflow: $(VENV)/.ok  ## Airflow with the DAGs on 127.0.0.1:8080, over ./workspace
	AIRFLOW_HOME=$(CURDIR)/.airflow AIRFLOW__CORE__DAGS_FOLDER=$(CURDIR)/dags AIRFLOW__CORE__PLUGINS_FOLDER=$(CURDIR)/plugins AIRFLOW__CORE__LOAD_EXAMPLES=False AIRFLOW__CORE__PARALLELISM=4 \
	AIRFLOW__API__HOST=127.0.0.1 AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False SANITIZER_WORKSPACE=$(CURDIR)/workspace \
	setsid --wait $(BIN)/airflow standalone

review: $(VENV)/.ok  ## the review app over 500 held samples, on 127.0.0.1:8765
	$(BIN)/sanitizer review --demo --workspace review-workspace

test: $(VENV)/.ok  ## the fast tests
	$(BIN)/python -m pytest -m "not slow" -n auto tests

test-slow: $(VENV)/.ok  ## servers, browsers, kill tests
	$(BIN)/python -m pytest -m slow tests

bench: $(VENV)/.ok  ## detection beside the usual tools into benchmarks/results; BENCH=--quick for a few minutes
	$(BIN)/python benchmarks/detection.py $(BENCH)

check: format lint types contracts  ## format, lint, types, import contracts

format: $(VENV)/.ok
	$(BIN)/ruff format --check .

lint: $(VENV)/.ok
	$(BIN)/ruff check .

types: $(VENV)/.ok
	$(BIN)/mypy

contracts: $(VENV)/.ok
	$(BIN)/lint-imports

lock: | .uv/bin/uv  ## resolve the newest versions anew
	rm -f requirements.lock
	.uv/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .uv workspace

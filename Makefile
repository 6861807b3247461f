# Targets for users and developers. `make help` prints the comments that start with two hashes.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

SYSTEM_PYTHON ?= python3
PY := .venv/bin/python
SCORER_PY := .venv-scorer/bin/python
PYTEST := $(PY) -m pytest
CLUSTER := $(SYSTEM_PYTHON) -m tools.localcluster
PYTEST_ARGS ?=
FLAVOR ?= sklearn
EXAMPLES := $(wildcard examples/*.yaml)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export SLUICEGATE_MLFLOW_PYTHON := $(CURDIR)/$(SCORER_PY)

##@ Usage

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: system-python ## Start a local cluster with MLflow and the operator, and send requests (root)
	@$(call need_root,make demo,it makes network namespaces, mounts and cgroups for a Kubernetes node)
	@$(SYSTEM_PYTHON) -m tools.demo up

demo-down: ## Remove everything that `make demo` created
	@$(SYSTEM_PYTHON) -m tools.demo down

##@ Tests

E2E ?= e2e-main
test: venv venv-scorer ## Run the tests of every layer, with the main paths on a node (root for the node)
	@SYSTEM_PYTHON=$(SYSTEM_PYTHON) E2E=$(E2E) tools/test

test-all: ## Run all tests: `make test` with all end-to-end tests
	@$(MAKE) test E2E=e2e

test-quick: test-unit lint ## An answer in under two minutes: unit tests, ruff, mypy and import contracts

test-unit: venv ## Run the unit and property tests, without a network or a cluster
	$(PYTEST) tests/unit -n auto $(PYTEST_ARGS)

LIVES ?= 300000
check-rollouts: venv ## Run the model checker of rollouts for hours: LIVES random histories (600 in the unit tests)
	SLUICEGATE_LIVES=$(LIVES) $(PYTEST) tests/unit/core/rollout/test_model_checker.py -n auto $(PYTEST_ARGS)

test-scorer: venv-scorer npm java ## Test the scoring image's program with a real MLflow
	PYTHONPATH=scorer $(SCORER_PY) -m pytest scorer/tests $(PYTEST_ARGS)

test-registry: venv venv-scorer build/prometheus ## Test with real MLflow, scoring and Prometheus servers on loopback
	$(PYTEST) tests/registry $(PYTEST_ARGS)

test-apiserver: venv venv-scorer ## Test the CRD, the clients and the commands with a real API server (no root)
	$(PYTEST) tests/apiserver $(PYTEST_ARGS)

# The tests wait for pods and holds most of the time, so they finish faster on two nodes in parallel.
LANES ?= 2
RUN_E2E = $(PYTEST) e2e -n $(LANES) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
e2e e2e-main e2e-rest: venv venv-scorer
	@$(call need_root,make $@,it makes network namespaces, mounts and cgroups for a Kubernetes node)
	$(RUN_E2E) $(if $(filter e2e-main,$@),-m main,$(if $(filter e2e-rest,$@),-m "not main"))

e2e: ## Run the end-to-end tests on LANES nodes in parallel: pods, gateway, MLflow (root)
e2e-main: ## Run the end-to-end tests of the main paths, which `make test` contains (root)
e2e-rest: ## Run the other end-to-end tests (root)

e2e-flavors: venv venv-scorer ## Test the scoring images for onnx, tensorflow and torch (root; 40 GB of disk)
	@$(call need_root,make e2e-flavors,it makes network namespaces, mounts and cgroups for a Kubernetes node)
	SLUICEGATE_FLAVORS=onnx,tensorflow,torch $(PYTEST) e2e/test_flavors.py $(PYTEST_ARGS)

BENCH_ARGS ?= --quick
SCORER_ARGS ?=
bench: venv venv-scorer ## Run the benchmarks in their quick size (BENCH_ARGS= for the full size); results in bench/out
	@for each in bench/bench_controlplane.py bench/bench_registry.py bench/bench_rollouts.py; do $(PY) "$$each" $(BENCH_ARGS); done

bench-scorer: venv venv-scorer build/mlserver/.made ## Compare the scoring server with MLflow's and MLServer (SCORER_ARGS=--quick); installs wrk (root)
	@command -v wrk > /dev/null || { $(call need_root,apt-get install wrk,it is the client of all servers); apt-get install -y -q --no-install-recommends wrk; }
	$(PY) bench/bench_scorer.py $(SCORER_ARGS)

SOAK_ARGS ?=
bench-soak: venv venv-scorer ## Measure the scoring server's memory over a million requests, and the cost of its counters; needs wrk
	$(PY) bench/bench_soak.py $(SOAK_ARGS)

##@ Development

check: lint drift ## Run all checks of CI except the tests: lint, types, import contracts, generated files

lint: venv ## Check lint rules (ruff), types (mypy) and import contracts
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m mypy --strict bench e2e/support tools conftest.py
	$(PY) -m mypy --strict integrations/mlflow/sluicegate_mlflow
	.venv/bin/lint-imports

drift: venv ## Check that generated files and examples are up to date
	$(PY) -m tools.docsgen --check
	@for each in $(EXAMPLES); do .venv/bin/sluicegate validate -f $$each; done
	@found=$$(git grep -lE '^(--(extra-)?index-url|--find-links|-i )' -- '*requirements*.txt' 'scorer/flavors/*.txt' || true); \
	[ -z "$$found" ] || { echo "error: a package index is written into $$found: run make lock" >&2; exit 1; }

format: venv ## Format the Python code and sort its imports
	$(PY) -m ruff check --fix-only --exit-zero .
	$(PY) -m ruff format .

generate: venv ## Generate the CRD and docs/reference
	$(PY) -m tools.docsgen

golden: venv ## Update the rendered examples in tests/golden; review the diff
	$(PY) -m tests.golden

images: system-python ## Build both images, as archives in the cache
	@$(CLUSTER) image --file images/operator/Dockerfile --tag localhost/sluicegate:dev
	@$(CLUSTER) image --file images/scorer/Dockerfile --tag localhost/sluicegate-scorer:dev

image-scorer: system-python ## Build the scoring image for one flavor: FLAVOR=sklearn, onnx, torch or tensorflow
	@$(CLUSTER) image --file images/scorer/Dockerfile --build-arg FLAVOR=$(FLAVOR) --tag localhost/sluicegate-scorer-$(FLAVOR):dev


##@ Environments

venv: .venv/.made ## Create .venv: the operator (editable) and its development dependencies, from the lock file
venv-scorer: .venv-scorer/.made ## Create .venv-scorer: MLflow, test dependencies and the MLflow plugin (editable), from the lock file

# pip installs only uv, from the same lock file, because uv installs the rest faster.
.venv/.made: requirements-dev.txt pyproject.toml
	@$(MAKE) system-python
	$(SYSTEM_PYTHON) -m venv .venv
	sed -n '/^uv==/,/# via/p' requirements-dev.txt | $(PY) -m pip install -q --require-hashes -r /dev/stdin
	$(call fill,.venv,requirements-dev.txt)
	$(PY) -m uv pip install -q --python $(PY) --no-deps --no-build-isolation -e .
	@touch $@

.venv-scorer/.made: scorer/requirements-test.txt integrations/mlflow/pyproject.toml | .venv/.made
	$(SYSTEM_PYTHON) -m venv .venv-scorer
	$(call fill,.venv-scorer,scorer/requirements-test.txt)
	$(PY) -m uv pip install -q --python $(SCORER_PY) --no-deps --no-build-isolation -e integrations/mlflow
	@touch $@

build/mlserver/.made: bench/requirements-mlserver.txt | .venv/.made
	$(SYSTEM_PYTHON) -m venv build/mlserver
	$(call fill,build/mlserver,bench/requirements-mlserver.txt)
	@touch $@

LOCK = $(CURDIR)/$(PY) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links $(LOCK_ARGS)
LOCK_ARGS ?=
LOCK_SCORER = cd scorer && $(LOCK) pyproject.toml --extra stores --extra install

lock: venv ## Update the lock files from the pyproject.toml files (LOCK_ARGS=--upgrade for newer versions)
	$(LOCK) pyproject.toml --group build -o requirements.txt
	$(LOCK) pyproject.toml --extra cli --group dev -c requirements.txt -o requirements-dev.txt
	$(LOCK) --group mlserver -o bench/requirements-mlserver.txt
	$(LOCK_SCORER) --group build --group sklearn -o flavors/sklearn.txt
	for each in onnx torch tensorflow; do \
		($(LOCK_SCORER) --group build --group $$each -c flavors/sklearn.txt -o flavors/$$each.txt); done
	$(LOCK_SCORER) --group test -c flavors/sklearn.txt -o requirements-test.txt
	@rm -rf scorer/sluicegate_scorer.egg-info # uv runs setuptools for the scorer's dependencies

clean: ## Remove clusters left by the demo and by killed test runs, and build outputs (not the tool cache)
	@$(SYSTEM_PYTHON) -m tools.localcluster.leftovers
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

# In Debian, venv and pip are not part of python3. pip also downloads the programs that are distributed as wheels.
system-python:
	@command -v $(SYSTEM_PYTHON) > /dev/null || { echo "error: $(SYSTEM_PYTHON) is not installed" >&2; exit 1; }
	@$(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; SYSTEM_PYTHON=... names another one" >&2; exit 1; }
	@$(SYSTEM_PYTHON) -c 'import ensurepip, pip' 2> /dev/null || { \
		$(call need_root,apt-get install python3-venv python3-pip,this Python has no venv or no pip); \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install -y -q --no-install-recommends python3-venv python3-pip || \
		{ apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv python3-pip; }; }

# Extracted from the package. An installation would start the server.
build/prometheus:
	@rm -rf $@.part && mkdir -p $@.part
	@cd $@.part && { apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; } }
	@dpkg-deb -x $@.part/prometheus_*.deb $@.part && mv $@.part $@

# The scorer's tests for Azure run Azurite, which is an npm package.
npm:
	@command -v npm > /dev/null || { \
		$(call need_root,apt-get install npm,the scorer's tests need Azurite$(comma) which npm installs); \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install -y -q --no-install-recommends nodejs npm || \
		{ apt-get update -q && apt-get install -y -q --no-install-recommends nodejs npm; }; }

# The scorer's tests send requests with Java's HTTP client. They compile it from source.
java:
	@command -v java > /dev/null && command -v javac > /dev/null || { \
		$(call need_root,apt-get install default-jdk-headless,the scorer's tests need a JDK); \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install -y -q --no-install-recommends default-jdk-headless || \
		{ apt-get update -q && apt-get install -y -q --no-install-recommends default-jdk-headless; }; }

# $(call need_root,COMMAND,WHY)
need_root = [ "$$(id -u)" = 0 ] || { echo "error: '$(1)' needs root: $(2)$(if $(3),$(comma)$(3))$(if $(4),$(comma)$(4))" >&2; exit 1; }
comma := ,

# $(call fill,ENVIRONMENT,LOCK FILE): installs the packages of the lock file with the uv of .venv, removes all others, and
# compiles bytecode, as in the images. Where PYTHONDONTWRITEBYTECODE is set, each test process would otherwise compile
# MLflow for seconds.
fill = $(PY) -m uv pip sync -q --compile-bytecode --python $(1)/bin/python --require-hashes $(2)

.PHONY: help demo demo-down test test-all test-quick test-unit check-rollouts test-scorer test-registry test-apiserver e2e e2e-main e2e-rest e2e-flavors bench bench-scorer bench-soak check lint drift golden format \
	generate images image-scorer venv venv-scorer lock clean system-python npm java

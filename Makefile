# Every target makes its own environment first (scripts/setup.sh); nothing needs to be installed beforehand but Python.
# Variables: ARGS="..." is passed on; PYTHON=... and UV=... choose the interpreter and uv (UV= means pip),
# WORKERS=... how many processes test (auto: one per core).

WORKERS ?= auto
bin := .venv/bin
python := $(bin)/python

.DEFAULT_GOAL := help
.PHONY: help setup services demo test chaos test-openai1 test-openai2 test-openai3 lint format lock bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv with the locked versions
	@scripts/setup.sh

services:
	@scripts/services.sh

demo: setup ## legacy app against pooled app, side by side (ARGS=--serve leaves the debug page up)
	@$(bin)/phase1 demo $(ARGS)

# The tests that cover policy and engine: whoever counts lines takes twice the time, so the others are not counted.
covering := engine policy

test: setup services ## all tests, and branch coverage of policy and engine
	$(python) -m pytest -n $(WORKERS) --dist worksteal $(covering:%=tests/%) --cov --cov-report=term $(ARGS)
	$(python) -m pytest -n $(WORKERS) --dist loadfile $(covering:%=--ignore=tests/%) $(ARGS)

chaos: setup services ## offload and the rollout's workers while processes and Redis are killed or frozen
	$(python) -m pytest -m chaos $(ARGS)

# What imports no SDK needs no second one.
without_sdk := benchmarks cli lab observe offload patchkit policy settings

test-openai1: ## the tests of everything that touches the SDK, against the newest openai 1.x; also test-openai2
test-openai1 test-openai2: test-%: services
	@scripts/setup.sh $*
	.venv-$*/bin/python -m pytest -n $(WORKERS) $(without_sdk:%=--ignore=tests/%) $(ARGS)

test-openai3: services ## all tests against the newest openai 3.x
	@scripts/setup.sh openai3
	.venv-openai3/bin/python -m pytest -n $(WORKERS) $(ARGS)

lint: setup ## ruff, mypy and the import contracts
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/lint-imports --no-logo

format: setup ## put the code into shape and mend what ruff can mend
	$(bin)/ruff check --fix-only
	$(bin)/ruff format

bench: setup ## ours against other clients: CPU, latency, memory (ARGS=--quick takes a minute; see benchmarks/README.md)
	@benchmarks/setup.sh
	@$(python) -m benchmarks $(ARGS)

lock: ## write constraints/*.txt (ARGS=--upgrade for the newest versions; needs uv)
	@scripts/lock.sh $(ARGS)

clean: ## remove the environments and everything that tools left behind
	rm -rf .venv .venv-* build dist htmlcov .coverage .coverage.* .hypothesis
	rm -rf .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

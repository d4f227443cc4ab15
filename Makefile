# Each target does its own set-up (scripts/setup). CI calls `make test` and nothing else.

SHELL := bash
MAKEFLAGS += --no-print-directory
BIN := .venv/bin

.PHONY: help demo test check unit netns e2e bench format docs lock build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## a cluster in namespaces: what a macvlan pod reaches without the plugin, and with it
	@scripts/as-root $(BIN)/underlay lab demo

test: check ## everything: check, then all tests (ARGS='-k veth' picks some)
	@scripts/image
	$(if $(ARGS),scripts/isolated,scripts/side-by-side) $(BIN)/pytest $(ARGS)

check: build ## format, lint, types, layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit: build ## the tests that need no kernel: unit, repo and chart
	$(BIN)/pytest tests/unit tests/repo tests/chart $(ARGS)

netns: build ## the tests on a real kernel, in namespaces of their own
	scripts/isolated $(BIN)/pytest tests/netns $(ARGS)

e2e: build ## the tests with real container runtimes, containerd and podman, and of the image
	@scripts/image
	scripts/isolated $(BIN)/pytest tests/e2e tests/image $(ARGS)

bench: build ## what ADD and DEL cost, against the kernel alone (ARGS='-n 100 --json FILE', ARGS=--help)
	@scripts/isolated $(BIN)/python -m bench $(ARGS)

format: build ## put the code in shape, and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: build ## docs/cli.md, from the code of the command
	$(BIN)/python scripts/cli_docs.py >docs/cli.md

lock: ## pin the dependencies again (ARGS=--upgrade takes new versions)
	scripts/lock $(ARGS)

build: ## packages that are missing, .venv with the command .venv/bin/underlay, and the C shim
	@scripts/setup

clean: ## remove .venv, the shim and the tools' caches
	rm -f src/underlay/underlay-shim*
	rm -rf .venv .cache .hypothesis .import_linter_cache .mypy_cache .ruff_cache
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +

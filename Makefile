# `make help` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help tools build demo test lint fmt bench clean-tools

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

tools: ## Install what the demo and the tests need into .wopay/tools, tools/ and demo/
	@tools/install.sh

build: tools ## Build everything (development profile)
	@echo "== building (the first time takes a few minutes)"
	cargo build --locked --workspace

demo: build ## Take real payments on three local chains, print receipts, stay up (DEMO_ONCE=1: end)
	@node demo/demo.mjs

test: tools ## Run every test
	@tools/test.sh

lint: tools ## Format, clippy, licences, unused dependencies, docs
	@tools/lint.sh

fmt: ## Format the code
	cargo fmt --all

bench: tools ## Measure against floors and peers, side by side (release build)
	@bench/run.sh

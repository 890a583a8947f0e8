# Everything a person types. Only Python >= 3.11 with venv, make and a package index are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PORT ?= 8420
DEMO_DATA ?= .demo
# More than the two cores: much of the suite waits for servers, browsers and hosts.
WORKERS ?= 4

.PHONY: help install demo demo-reset test test-faults test-vm bench lint format clean

help:
	@echo "make install     .venv with everything, .venv/bin/panicroom in it"
	@echo "make demo        the whole bot on replayed hosts; prints one address (PORT=8420)"
	@echo "make demo-reset  forget the demo's data"
	@echo "make test        all tests, but for those in a virtual machine (JITTER=1: tasks and threads late at random)"
	@echo "make test-faults real processes killed and starved in mid-work (root; minutes)"
	@echo "make test-vm     real kernels crash, dump and are reported, under QEMU (root; minutes; VM_ACCEL=kvm)"
	@echo "make bench       the figures"
	@echo "make lint        ruff, strict types, import contract"

install: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Panicroom needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "venv is missing: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/panicroom demo --data $(DEMO_DATA) --port $(PORT)

demo-reset: $(STAMP)
	@$(BIN)/panicroom demo --forget --data $(DEMO_DATA)

# Python keeps what it compiles, even where the environment says otherwise: each worker would compile every test anew.
test: $(STAMP)
	env -u PYTHONDONTWRITEBYTECODE $(if $(JITTER),JITTER=$(JITTER)) $(BIN)/python -m pytest $(if $(JITTER),-p tests.jitter) \
		--numprocesses $(WORKERS) --dist worksteal tests

test-faults: $(STAMP)
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m faults tests/faults tests/replicas

# One after the other: two guests on two cores cost each other more than twice the time.
test-vm: $(STAMP)
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -m vm tests/vm

bench: $(STAMP)
	$(BIN)/python -m tests.bench

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info

# DiffMem. `make` alone lists what there is to do.
#
# An environment of your own instead of .venv:   make book PYTHON=python
# Another build of torch, or any option of pip:  make book PIP_FLAGS='--index-url …'

.DEFAULT_GOAL := help
.PHONY: help book test lint lab serve clean chapters benchmark seeds mutants portable hands stored
SHELL := /bin/sh

BASE_PYTHON ?= python3
PIP_FLAGS ?=
PORT ?= 8000
ROOT := $(CURDIR)
export PYTHONPATH := $(ROOT)

ifeq ($(origin PYTHON),undefined)
PYTHON := $(ROOT)/.venv/bin/python
environment = .venv/.$(1)
else
environment =
endif

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.python:
	@$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try make BASE_PYTHON=python3.12")'
	$(BASE_PYTHON) -m venv .venv
	@touch $@

# One stamp for each set of extras of pyproject.toml: book, test, lab, benchmark.
.venv/.%: constraints.txt pyproject.toml | .venv/.python
	@echo "installing what 'make $*' needs into .venv (a minute or two)"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[$*]'
	@touch $@

book: $(call environment,book) ## execute every chapter and build the HTML book
	@$(PYTHON) -m tools.build

lint: $(call environment,test) ## ruff, and mypy on the library
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

test: $(call environment,test) lint ## everything: style, units, chapters against their stored outputs, the built book
	$(MAKE) book
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadfile --durations=20 --ignore tests/book
	$(PYTHON) -m pytest -n 2 --dist worksteal tests/book
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -p no:cacheprovider --nbval-lax --nbval-current-env --nbval-cell-timeout=180 -n 2 --dist loadfile chapters

lab: $(call environment,lab) ## open the chapters in JupyterLab
	$(PYTHON) -m jupyter lab chapters

serve: book ## build the book and serve it at http://localhost:PORT (PORT=8000)
	$(PYTHON) -m http.server --directory _build/html --bind localhost $(PORT)

chapters: $(call environment,book) ## execute the chapters in place, as they are committed
	$(PYTHON) -m tools.execute

benchmark: $(call environment,benchmark) ## measure speed against named alternatives
	$(PYTHON) -m benchmarks

seeds: $(call environment,book) ## run every chapter at three other seeds and note the verdicts
	$(PYTHON) -m tools.seeds

mutants: $(call environment,test) ## plant an error in every formula and every line of a derivation, and see a claim refuse it
	$(PYTHON) -m tools.mutants
	$(PYTHON) -m tools.mutants --derivations

portable: $(call environment,test) ## run the chapters as another machine would and compare what they say
	$(PYTHON) -m tools.portable

hands: $(call environment,test) ## make each value of the theory wrong, one at a time, and see a simulation refuse it
	$(PYTHON) -m tools.hands

stored: $(call environment,book) ## make the data of longer runs that are missing or stale, from where a kill left them
	$(PYTHON) -m tools.stored

clean: ## remove what was built (the environment stays: delete .venv yourself)
	rm -rf _build book/results.md book/seeds.md .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache

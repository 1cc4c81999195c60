# Two commands set everything up: `make demo` for the main job, `make test` for the same and the whole suite.
# `make help` lists the rest. PYTHON names the interpreter (3.10 or newer) that the virtual environment is made with.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
# uv is several times as fast as pip, but does not know an index that only pip's configuration names.
LOCKED := --no-deps --require-hashes --requirement lock.txt
TORCH := https://download.pytorch.org/whl/cpu/torch/
EXAMPLE := examples/rank_by_price
DATA := $(EXAMPLE)/logprobs.csv

.PHONY: help demo test fast nightly deep mutation fuzz kills verified gpu check docs cliff bench figures explorer lowest locked lock sbom release clean
.DEFAULT_GOAL := help

# Two workers share two processors: threads of their own would only wait for each other.
test fast nightly deep mutation fuzz: export OMP_NUM_THREADS = 1
# Without compiled modules every process would compile all tests again.
unexport PYTHONDONTWRITEBYTECODE

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /make \1: /p' Makefile

demo: $(VENV)/.base  ## install, then find the λ that is safe for a real language model on a real JSON task: measured, rehearsed, judged
	$(BIN)/lambda-star calibrate $(DATA) --rule trl --lam 1.25 --plot out/rank_by_price.png --json out/report.json --force || test $$? -eq 3
	$(BIN)/python $(EXAMPLE)/rehearse.py out/report.json

test: demo $(VENV)/.test  ## the demo, then the whole test suite, on two workers
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=25 -m "not nightly"

fast: $(VENV)/.test  ## the tests that take less than a second each, with few random cases: a minute and a half
	HYPOTHESIS_PROFILE=fast $(BIN)/python -m pytest -n 2 -q -m "not slow and not nightly" tests

nightly: $(VENV)/.test  ## every law of numbers on 500 random cases in place of 50, and the sweeps that take long
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n 2 tests/categorical tests/updates tests/test_sequence.py
	$(BIN)/python -m pytest -n 2 --dist worksteal -m nightly tests

deep: $(VENV)/.test  ## every law on 100,000 random cases; goes on where it stopped
	$(BIN)/python -m benchmarks.properties

mutation: $(VENV)/.tools  ## small errors in the numeric core, which the tests must see; goes on where it stopped
	$(BIN)/python -m benchmarks.mutation

fuzz: $(VENV)/.test  ## ten thousand made-up inputs for each part: no traceback, no hang, nothing run or written elsewhere
	$(BIN)/python -m benchmarks.fuzz

kills: $(VENV)/.test  ## calibrate, score, rehearse and cliff killed twenty times each: nothing is corrupt, and they go on
	$(BIN)/python -m benchmarks.kills

verified: $(VENV)/.test  ## enclosures against a million exact values, and the proofs over boxes
	$(BIN)/python -m benchmarks.verified
	$(BIN)/python -m benchmarks.proved

gpu:  ## what only a CUDA device can show, in eight minutes at most; nothing is installed, as such machines often have no network
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m benchmarks.gpu

check: $(VENV)/.dev  ## linter, formatter, type checker, and the README's examples
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m doctest -o ELLIPSIS -o NORMALIZE_WHITESPACE README.md

docs: $(VENV)/.docs  ## the site of the pages in out/site, offline, with warnings as errors; under a minute of a processor
	$(BIN)/python -m sphinx -E -W --keep-going -q -d out/doctrees -c site -b html . out/site

cliff: $(VENV)/.test  ## a small student falls where it was predicted to, or this fails; two minutes at most
	$(BIN)/lambda-star cliff --quick

bench: $(VENV)/.test  ## speed and accuracy, as ratios and in units of the last place
	$(BIN)/python -m benchmarks

figures: $(VENV)/.test  ## the figures of the house: lines, lengths, arrows and circles
	$(BIN)/python -m benchmarks.structure

explorer: $(VENV)/.test  ## compile the formulas of the explorer from the kernels
	$(BIN)/python -m benchmarks.explorer

lowest: VENV := .venv-lowest
lowest:  ## the test suite on the lowest versions that the project admits; give PYTHON=python3.10 for the lowest Python
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-lowest.txt --editable '.[test]'
	$(VENV)/bin/python -m pytest -n 2

locked:  ## install what lock.txt names, each file by its hash, as CI does
	$(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' lock.txt > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.txt
	UV_FIND_LINKS=$${PIP_FIND_LINKS:-$(TORCH)} $(BIN)/uv pip install --quiet --python $(BIN)/python $(LOCKED) \
		|| $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check $(LOCKED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(VENV)/.base $(VENV)/.test $(VENV)/.dev $(VENV)/.docs

lock sbom: $(VENV)/.tools  ## the lock file; a bill of materials in out/sbom.json
	$(BIN)/python -m benchmarks.supply $@

release: $(VENV)/.release  ## build twice, compare, check, install and run what would be published, and say what remains
	$(BIN)/python -m benchmarks.release

clean:  ## remove the virtual environment and everything that was made
	rm -rf .venv .venv-lowest out dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(INSTALL) '.[test]'
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(INSTALL) '.[dev]'
	touch $(VENV)/.test $@  # what the tests need is part of it

$(VENV)/.release: $(VENV)/.base
	$(INSTALL) '.[release]'
	touch $@

$(VENV)/.docs: $(VENV)/.base
	$(INSTALL) '.[docs]'
	touch $@

$(VENV)/.tools: $(VENV)/.dev
	$(INSTALL) '.[tools]'
	touch $@

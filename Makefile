# `make run` draws a picture, `make test` checks everything quickly; both set up what they need, once.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

.PHONY: help run test acceptance bench train clean

help:  ## what can be made
	@sed -n 's/^\([a-z]*\):.*##/\1:/p' Makefile

run: $(VENV)/.runs  ## draw the example workflow with the embedded model
	$(BIN)/python main.py run workflows/text_to_image.json

test: $(VENV)/.tests  ## ruff, the type checker, and the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not acceptance and not gpu"

acceptance: $(VENV)/.tests  ## the long checks: full-size parity, recorded results
	$(BIN)/pytest -m acceptance

bench: $(VENV)/.tests  ## ratios against diffusers, and the engine's cost a node
	$(BIN)/python -m bench

train: $(VENV)/.runs  ## the embedded model, from nothing
	$(BIN)/python -m models.training

clean:  ## remove the environment and what tests leave
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.runs: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.tests: $(VENV)/.runs requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps k-diffusion==0.1.1.post1
	touch $@

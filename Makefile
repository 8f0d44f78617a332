# `make run` draws a picture, `make test` checks everything quickly; both set up what they need, once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SIZE ?= cpu
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# the browser's tests run apart: what drives it keeps an event loop, which others would trip over
QUICK := OMP_NUM_THREADS=1 $(BIN)/pytest -m "not acceptance and not gpu" -n 2 --dist loadfile
.DEFAULT_GOAL := help

.PHONY: help run serve test acceptance bench train gallery clean

help:  ## what can be made
	@sed -n 's/^\([a-z]*\):.*##/\1:/p' Makefile

run: $(VENV)/.runs  ## draw the example workflow with the embedded model
	$(BIN)/python main.py run workflows/text_to_image.json

serve: $(VENV)/.runs  ## start the server on http://127.0.0.1:8188
	$(BIN)/python main.py serve

test: $(VENV)/.tests  ## ruff, the type checker, and the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(QUICK) --ignore tests/web
	$(QUICK) tests/web

acceptance: $(VENV)/.tests  ## the long checks, hours; PART=acceptance/models, a folder of tests, for an hour at most
	$(BIN)/pytest -m acceptance --durations=10 tests/$(PART)

bench: $(VENV)/.tests  ## times and memory against diffusers, and the engine's cost a node
	$(BIN)/python -m bench

train: $(VENV)/.runs  ## the models of the drawn world, all stages; hours, and goes on where it was stopped (SIZE=gpu: 256 pixels, minutes on a GPU)
	$(BIN)/python -m models.training --size $(SIZE)

gallery: $(VENV)/.runs  ## thumbnails of the example workflows, and the README's first picture
	$(BIN)/python -m workflows

clean:  ## remove the environment and what tests leave
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.runs: requirements.txt
	@echo "setting up $(VENV) with torch and the other packages; once, some minutes"
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' requirements.txt)"
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.tests: $(VENV)/.runs requirements-dev.txt
	@echo "adding what tests and the bench need"
	$(PIP) -r requirements-dev.txt
	$(PIP) --no-deps k-diffusion==0.1.1.post1 torch-fidelity==0.3.0 invisible-watermark==0.2.0 lycoris-lora==4.1.3 gguf==0.19.0
	@touch $@

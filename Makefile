PYTHON ?= python3
# `make demo TORCH=cpu`: torch without CUDA, which is 4 GB less to download, from an index that has it.
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo example test lint lint-front docs clean

$(STAMP): setup.cfg pyproject.toml constraints.txt clip-retrieval.txt
	@echo "Installing into $(VENV), once; this takes a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=23' wheel
ifeq ($(TORCH),cpu)
	$(BIN)/pip install --quiet --index-url $(TORCH_INDEX) --constraint constraints.txt torch torchvision
endif
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,docs,dev]'
	$(BIN)/pip install --quiet --no-deps --requirement clip-retrieval.txt
	touch $@

# CLIP-GPT on the collection that the package ships; serves http://127.0.0.1:1234 until stopped.
demo: $(STAMP)
	$(BIN)/clipgpt-retrieval demo

# An end-to-end example with a model of its own: train, index, serve, query, caption.
example: $(STAMP)
	$(BIN)/python examples/end_to_end.py

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy front_patch

# The front patch's JavaScript tools: linters and tests need them, the served page does not.
front_patch/node_modules/.installed: front_patch/package-lock.json
	npm --prefix front_patch ci --silent
	touch $@

lint-front: front_patch/node_modules/.installed
	npm --prefix front_patch run --silent lint

# Builds the documentation into site/; a dead link or an unknown name is an error.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build site *.egg-info

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint lint-front clean

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=23' 'setuptools<81' wheel
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,lora,explore,evaluation,dev]'
	touch $@

# The main job from end to end: train, index, serve, query, caption. See examples/walk.py.
demo: $(STAMP)
	$(BIN)/python examples/walk.py

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy front_patch

# The front patch's own tools: node's test runner needs them, the served page does not.
node_modules/.installed: package-lock.json
	npm ci --silent
	touch $@

lint-front: node_modules/.installed
	npm run --silent lint

clean:
	rm -rf $(VENV) build *.egg-info

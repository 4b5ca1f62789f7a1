PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint clean

$(STAMP): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=23' 'setuptools<81' wheel
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,evaluation,dev]'
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

clean:
	rm -rf $(VENV) build *.egg-info

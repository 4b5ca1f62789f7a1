PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo walk test lint lint-front docs clean

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@echo "Installing into $(VENV), once; this takes a few minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=23' 'setuptools<81' wheel
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,docs,dev]'
	touch $@

# The whole job on the collection that the package carries; serves http://127.0.0.1:1234 until stopped.
demo: $(STAMP)
	$(BIN)/clipgpt-retrieval demo

# The same way with a model trained on the spot: train, index, serve, query, caption. See examples/walk.py.
walk: $(STAMP)
	$(BIN)/python examples/walk.py

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

# The documentation, into site/; a dead link or an unknown name ends it.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build site *.egg-info

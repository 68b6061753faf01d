.PHONY: install check test smoke docs
PYTHON ?= python3
V := .venv/bin
ROOMS := protocol agent relay console

install: .venv/.stamp

.venv/.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(V)/pip install --quiet --editable '.[agent,relay,console,dev]'
	touch $@

check: install
	$(V)/ruff format --check .
	$(V)/ruff check .
	$(V)/mypy $(ROOMS) tests

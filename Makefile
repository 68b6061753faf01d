# Everything a developer calls. Nothing here needs more than make, python3 with venv, and the network once.
.PHONY: install check test parts smoke docs clean
PYTHON ?= python3
# With an empty environment there is no PATH to inherit.
PATH ?= /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
V := .venv/bin
SOURCES := protocol agent relay console tests

install: .venv/.stamp

.venv/.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(V)/pip install --quiet --disable-pip-version-check --editable '.[agent,relay,console,dev]'
	touch $@

check: install  ## Format, lint, types, rooms: under a minute
	$(V)/ruff format --check .
	$(V)/ruff check .
	$(V)/mypy $(SOURCES)
	$(V)/pytest -q tests/test_rooms.py tests/test_programs.py

test: install parts  ## Every test, with real parts; names what it had to skip
	$(V)/pytest

parts:  ## The Debian packages that tests use, where we may install them
	sh tests/parts/install.sh

smoke: install  ## The whole way once, by itself, in a scratch folder on loopback
	@$(V)/python tests/smoke.py

docs: install  ## Vectors and the generated parts of docs/
	$(V)/python -m tests.protocol.make_vectors
	$(V)/python -m tests.documents.generate

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

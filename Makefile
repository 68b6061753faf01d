# Everything a developer calls. Nothing here needs more than make, python3 with venv, and the network once.
PARTS ?=
.PHONY: demo install check test pythons parts smoke bench lab soak docs screenshots clean
# The distribution's Python where it can make environments: devices and relays run on it, and it is built with optimizations,
# which takes a fifth from a suite that starts thousands of programs. Otherwise what is called python3.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo /usr/bin/python3 || echo python3)
# With an empty environment there is no PATH to inherit.
PATH ?= /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
V := .venv/bin
SOURCES := protocol agent relay console examples tests bench

install: .venv/.stamp

.venv/.stamp: pyproject.toml
	@echo 'Making the environment in .venv: a few minutes, once'
	@$(PYTHON) -m venv .venv
	@if [ -t 1 ]; then how=; else how=--quiet; fi; \
	  $(V)/pip install $$how --disable-pip-version-check --editable '.[agent,relay,console,trial,dev]'
	@touch $@

check: install  ## Format, lint, types, rooms: under a minute
	$(V)/ruff format --check .
	$(V)/ruff check .
	$(V)/mypy $(SOURCES)
	$(V)/pytest -q tests/test_rooms.py tests/test_programs.py

# Tests wait for real programs most of the time: four processes keep two cores busy.
TEST_PROCESSES ?= 4

test: export PYTHONDONTWRITEBYTECODE =
test: install parts  ## Every test, with real parts; names what it had to skip
	$(V)/pytest --numprocesses $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder

PYTHONS ?= python3.10 python3.13
DEVICE_TESTS := tests/protocol tests/agent tests/runner tests/worlds/test_device.py

pythons:  ## What runs on devices, under the oldest and the newest Python
	set -e; for python in $(PYTHONS); do \
	  env=.venv/$$(basename $$python); \
	  $$python -m venv $$env; \
	  $$env/bin/pip install --quiet --disable-pip-version-check --editable '.[agent,relay,console,trial,dev]'; \
	  $$env/bin/pytest -q $(DEVICE_TESTS); \
	done

parts:  ## The Debian packages that tests use, where we may install them
	sh tests/parts/install.sh

smoke: install  ## The whole way once, by itself, in a scratch folder on loopback; PARTS=real|embedded
	@$(V)/python tests/smoke.py $(PARTS)

BENCHES := door_open footprint throughput fleet relay commands

bench: install parts  ## Figures against their anchors, in their quick form; bench/NAME.py [--json] without --quick is for the record
	@for name in $(BENCHES); do $(V)/python bench/$$name.py --quick || exit; done

demo: install  ## The whole of doorward on this machine, as an ordinary user, until Ctrl-C; PARTS=real|embedded forces which parts
	@PYTHONPATH=examples exec $(V)/python -m demo $(if $(PARTS),--parts $(PARTS))

lab: install parts  ## Opens a network of device, NAT, two relays, broker, console and engineer until Ctrl-C; needs root
	@PYTHONPATH=examples $(V)/python -m tests.lab

MINUTES ?= 60
SEED ?=
ONLY ?=
EACH ?=

soak: install parts  ## Every fault, for MINUTES, at moments by chance (SEED repeats them, ONLY chooses, EACH=1 goes through the table); the report goes into docs/reliability.md
	@PYTHONPATH=examples $(V)/python -m tests.lab.soak --write --minutes $(MINUTES) --only '$(ONLY)' $(if $(SEED),--seed $(SEED)) $(if $(EACH),--each)

docs: install  ## Vectors and the generated parts of docs/
	$(V)/python -m tests.protocol.make_vectors
	$(V)/python -m tests.documents.generate

screenshots: install parts  ## Pictures of every page in .screenshots/, and those of docs/screenshots/ anew
	DOORWARD_SCREENSHOTS='$(CURDIR)/.screenshots' $(V)/pytest -q tests/browser/test_gallery.py
	cd docs/screenshots && for picture in *.png; do cp "../../.screenshots/$$picture" .; done

clean:
	rm -rf .venv .screenshots .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

# Two commands: `make run` (everything, headless) and `make test`. Each sets up the environment first, if it must.
#   make run  PROFILE=smoke|teach|real|paper  COHORT=exams.csv  SET="seed=1 epochs=5"
#   make quick | make test | make lint | make lab | make page WEIGHTS=folder (→ explorer.html) | make site (→ _build/site/index.html) | make lock | make clean-runs
# PYTHON=/path/to/python3.12 chooses an interpreter; VENV=folder another place for the environment.

SHELL   := /bin/bash
VENV    ?= .venv
PROFILE ?= teach
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check
# The first interpreter that runs and is 3.11 to 3.13 (TensorFlow 2.21 has wheels for these).
FIND_PYTHON = for p in "$(PYTHON)" python3.12 python3.13 python3.11 python3 python; do \
	[ -n "$$p" ] && "$$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	2>/dev/null && echo "$$p" && break; done

.PHONY: run test quick lint lab page site lock clean-runs
.DELETE_ON_ERROR:

# A misspelt variable would silently run the default: only these may be given.
KNOWN   := PROFILE COHORT SET BATCH ARGS PYTHON VENV WEIGHTS
UNKNOWN := $(filter-out $(KNOWN),$(foreach v,$(.VARIABLES),$(if $(filter command_line,$(subst $() ,_,$(origin $(v)))),$(v))))
$(if $(UNKNOWN),$(error $(UNKNOWN): no such variable; choose among $(KNOWN). A setting goes into SET="epochs=2"))

# Through the environment, so that a quote or a blank in a name reaches Python as it is.
run: export PROFILE := $(PROFILE)
run: export COHORT := $(COHORT)
run: export SET := $(SET)
run: $(VENV)/ready
	$(BIN)/python -m radiogan_lib.batch --profile "$$PROFILE" $${COHORT:+--set "cohort=$$COHORT"} --sets "$$SET" $(BATCH)

# Two processes take the files of tests in the order of tests/conftest.py.
SHARED = -n 2 --dist loadfile --no-loadscope-reorder

# Each process computes on one thread: with as many processes as cores, the threads of BLAS only wait for one another.
test quick: export OPENBLAS_NUM_THREADS := 1
test quick: export OMP_NUM_THREADS := 1

# Beside the tests, which two processes take file by file, a third does the smoke run in a home of its own. Then nbval runs each
# of its notebooks again and compares the cells that must not change. 5: ARGS chose none of them.
SMOKE = $(BIN)/python -m radiogan_lib.batch --profile smoke && \
	{ $(BIN)/python -m pytest "$$RADIOGAN_HOME/runs/smoke" $(ARGS) || [ $$? -eq 5 ]; }

test: export RADIOGAN_HOME := $(CURDIR)/runs/test-home
test: $(VENV)/ready-test
	rm -rf "$$RADIOGAN_HOME" && mkdir -p "$$RADIOGAN_HOME"
	@set -m; { $(SMOKE); } >"$$RADIOGAN_HOME/smoke.log" 2>&1 & smoke=$$!; set +m; \
	trap "kill -- -$$smoke 2>/dev/null || :" EXIT; \
	$(BIN)/python -m pytest tests $(SHARED) --durations=40 $(ARGS) || exit 1; \
	wait $$smoke || { cat "$$RADIOGAN_HOME/smoke.log"; exit 1; }; \
	echo "The smoke run and its notebooks:"; tail -n 1 "$$RADIOGAN_HOME/smoke.log"

# While you work: layout, lint and types, then the unit tests that are not marked slow.
quick: lint
	$(BIN)/python -m pytest tests -m 'not slow' -q $(SHARED) $(ARGS)

lint: $(VENV)/ready-test
	$(BIN)/python -m ruff format --check --quiet .
	$(BIN)/python -m ruff check --quiet .
	$(BIN)/python -m mypy
	@if command -v actionlint >/dev/null; then actionlint; fi

lab: $(VENV)/ready
	$(BIN)/jupyter lab --ip=127.0.0.1 notebooks/00_start_here.ipynb $(ARGS)

# A shipped generator as one HTML file that draws in any browser: weights/real, of real exams, or weights, of phantoms.
WEIGHTS ?= weights/real
page: $(VENV)/ready
	$(BIN)/python -m radiogan_lib.lab.page --weights '$(WEIGHTS)' --out explorer.html

# The committed notebooks as web pages, in a small environment of their own, since nothing is run; both live pages in front.
site: _build/site-env/ready $(VENV)/ready
	$(BIN)/python -m radiogan_lib.lab.page --weights weights/real --out _build/explorer.html
	$(BIN)/python -m radiogan_lib.lab.page --weights weights --out _build/phantoms.html
	_build/site-env/bin/python -m sphinx -q -c docs/site -b html -d _build/site-trees . _build/site
	@echo "open _build/site/index.html"

_build/site-env/ready: docs/site/requirements.lock
	python=$$($(FIND_PYTHON)) && [ -n "$$python" ] && "$$python" -m venv --clear _build/site-env
	_build/site-env/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# pip compiles the packages on one core, compileall on all of them; a few files of packages are no Python of this version.
COMPILE = $(BIN)/python -m compileall -qq -j 0 "$(VENV)/lib" || :

$(VENV)/ready: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --no-compile --require-hashes -r requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --no-index -e .
	$(COMPILE)
	touch $@

$(VENV)/ready-test: requirements-test.lock $(VENV)/ready
	$(PIP) install --quiet --no-compile --require-hashes -r requirements-test.lock
	$(COMPILE)
	touch $@

$(BIN)/python:
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 with venv was found. Install one (Debian: apt install python3 python3-venv)," \
		     "or name it: make PYTHON=/path/to/python3.12 run" >&2; exit 1; fi; \
	echo "Making $(VENV) with $$("$$python" --version); about 1 GB of packages come once."; \
	"$$python" -m venv "$(VENV)"

# New pins: edit pyproject.toml, run this with uv installed, then mend environment.yml until tests/test_environment.py is green.
LOCK = uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet pyproject.toml
lock:
	$(LOCK) --extra test -o requirements-test.lock
	$(LOCK) --extra decoders --extra archive -c requirements-test.lock -o requirements.lock
	$(LOCK:pyproject.toml=docs/site/requirements.in) -o docs/site/requirements.lock

clean-runs:
	rm -rf runs

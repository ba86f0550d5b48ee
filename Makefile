# `make` lists the targets. Everything is installed into .venv; nothing is installed outside of this folder and the cache.
.NOTPARALLEL:
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
INVENTORY ?= inventories/local
# More for ansible-playbook, for example ARGS='-e kjoule_apps=20'
ARGS ?=
# Which run to report on. Without it, the newest.
RUN ?=
# Which two runs to compare.
RUNS ?=
CACHE_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kjoule

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# A virtual environment is good for one set of packages, one Python and one place.
KEY = $(shell { cat requirements*.lock; $(PYTHON) -V; pwd; } 2>&1 | cksum | cut -d ' ' -f 1)
READY = $(VENV)/ready-$(KEY)
READY_DEV = $(VENV)/ready-dev-$(KEY)
PLAYBOOK = $(BIN)/ansible-playbook site.yml -i $(INVENTORY)

export PATH := $(BIN):$(PATH)
# The chosen Python and this folder decide, not those that the caller's environment names.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV ANSIBLE_COLLECTIONS_PATH ANSIBLE_CONFIG

# install <virtual environment> <lock file>: with uv, in seconds; where uv cannot be had, with pip.
define install
if $(1)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-uv.lock; then \
  $(1)/bin/uv pip install -q --python $(1)/bin/python --require-hashes -r $(2); \
else \
  echo "kjoule: no uv for this machine, going on with pip (a minute or two)"; \
  $(1)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r $(2); \
fi
endef

.PHONY: help answer full report compare setup setup-dev test lint unit unit-other test-programs integration validate bench format lock build clean clean-cache teardown test-containers test-vm test-node

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

answer: setup ## Measure this machine and print the answer
	@echo "kjoule: preparing, measuring and reporting; --tags and variables go into ARGS='...'"
	@$(PLAYBOOK) $(ARGS)

full: setup ## The same with the precision of a study; takes hours
	@echo "kjoule: the full profile; interrupt it at any time, the same command continues"
	@$(PLAYBOOK) -e kjoule_profile=full $(ARGS)

report: setup ## Compute the report of the newest run again, or of RUN=<name>
	@$(PLAYBOOK) --tags report $(if $(RUN),-e kjoule_run_id=$(RUN)) $(ARGS)

compare: setup ## Compare two runs of a host, RUNS='first second'
	@$(BIN)/ansible-playbook playbooks/compare.yml -i $(INVENTORY) -e 'kjoule_compare_runs="$(RUNS)"' $(ARGS)

teardown: setup ## Take away what preparing has put on the hosts of INVENTORY; keeps results
	@$(BIN)/ansible-playbook playbooks/teardown.yml -i $(INVENTORY) $(ARGS)

setup: $(READY) ## Set .venv up

setup-dev: $(READY_DEV) ## Add what the tests need to .venv

$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "kjoule: $(PYTHON) is $$($(PYTHON) -V 2>&1), 3.11 or newer is needed. Next: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "kjoule: setting $(VENV) up with $$($(PYTHON) -V)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { echo "kjoule: no virtual environment. Next: install your distribution's venv package (Debian, Ubuntu: python3-venv)" >&2; rm -rf $(VENV); exit 1; }
	@$(call install,$(VENV),requirements.lock)
	@touch $@

$(READY_DEV): $(READY)
	@echo "kjoule: adding the test tools to $(VENV)"
	@$(call install,$(VENV),requirements-dev.lock)
	@touch $@

test: lint unit test-programs ## Everything that has to pass
	@# The integration tests wait for labs most of the time, so the other line of ansible-core is tested beside them. What that said comes last.
	@said=$$(mktemp) || exit 1; \
	nice $(MAKE) --no-print-directory unit-other > "$$said" 2>&1 & other=$$!; \
	trap 'kill $$other 2> /dev/null; rm -f "$$said"' EXIT; trap 'exit 130' INT TERM; \
	$(MAKE) --no-print-directory integration; status=$$?; \
	wait $$other || status=1; trap 'rm -f "$$said"' EXIT; \
	cat "$$said"; exit $$status

lint: setup-dev ## Style, types, Ansible's production rules, documentation
	@echo "kjoule: yamllint, ruff, mypy, ansible-config, ansible-lint, antsibull-docs"
	@yamllint --strict .
	@ruff check .
	@ruff format --check .
	@mypy
	@ansible-config validate
	@ansible-lint --offline --strict
	@antsibull-docs lint-collection-docs --plugin-docs .

unit: setup-dev ## Tests that start nothing
	@echo "kjoule: unit tests with $$(python -V)"
	@python -m pytest -q -n auto tests/unit

unit-other: setup-dev ## The same on the other line of ansible-core, where a Python for it is installed
	@other=$$(.ci/other_python $(BIN)/python) || exit 0; \
	set -e; \
	key=$(VENV)-other/ready-$(KEY)-$$(echo "$$other" | cksum | cut -d ' ' -f 1); \
	if [ ! -e "$$key" ]; then \
	  echo "kjoule: setting $(VENV)-other up with $$other"; \
	  rm -rf $(VENV)-other; "$$other" -m venv $(VENV)-other; \
	  $(call install,$(VENV)-other,requirements.lock); $(call install,$(VENV)-other,requirements-dev.lock); \
	  touch "$$key"; \
	fi; \
	echo "kjoule: unit tests and syntax check with $$($(VENV)-other/bin/python -V)"; \
	PATH=$(CURDIR)/$(VENV)-other/bin:$$PATH; \
	python -m pytest -q -n auto -p no:cacheprovider tests/unit; \
	ansible-playbook site.yml -i $(INVENTORY) --syntax-check

test-programs: ## Programs of the distribution that tests talk to (Chromium, Prometheus, ipmitool, sshd): Debian's, if this is root
	@.ci/test_programs

integration: setup-dev test-programs ## Tests on real binaries and real labs
	@echo "kjoule: getting the binaries, as 'make answer' does"
	@$(PLAYBOOK) --tags prepare,lab,stack
	@echo "kjoule: integration tests"
	@# Three files at a time: most of them wait for a lab most of the time.
	@python -m pytest -q -rs -n 3 --dist loadfile -m integration tests/integration

validate: setup ## Put the statistics on simulated truth and write docs/validation.md (a minute)
	@PYTHONPATH=collections python bench/validate.py

test-containers: setup-dev ## Roles and a whole site.yml over ssh, on a container with systemd; needs root and debootstrap
	@MOLECULE_GLOB='molecule/*/molecule.yml' molecule test -s roles
	@MOLECULE_GLOB='molecule/*/molecule.yml' KJOULE_MACHINE=container molecule test -s site

test-vm: setup-dev ## What needs a kernel of its own, in virtual machines, and test-node; needs root, qemu, debootstrap, a C compiler and three hours
	@MOLECULE_GLOB='molecule/*/molecule.yml' molecule test -s vm
	@MOLECULE_GLOB='molecule/*/molecule.yml' molecule test -s services
	@MOLECULE_GLOB='molecule/*/molecule.yml' KJOULE_MACHINE=vm molecule test -s site
	@$(MAKE) --no-print-directory test-node

test-node: setup-dev ## A node where pods run, in a virtual machine; needs root, qemu, debootstrap and a C compiler
	@MOLECULE_GLOB='molecule/*/molecule.yml' molecule test -s node

bench: setup-dev ## How long a lab and an analysis take, how far off energy readers are, what measuring costs
	@$(PLAYBOOK) --tags prepare,lab,stack > /dev/null
	@PYTHONPATH=collections python bench/analysis.py
	@PYTHONPATH=collections python bench/fleet.py
	@PYTHONPATH=collections python bench/lab.py
	@PYTHONPATH=collections python bench/energy_facts.py
	@PYTHONPATH=collections:tests python bench/energy.py

format: setup-dev ## Lay the Python files out
	@ruff check --fix -q .; ruff format .

lock: setup-dev ## Renew the lock files
	@echo uv | uv pip compile -q -U - --python $(BIN)/python --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements-uv.lock
	@uv pip compile -q -U requirements.txt --python $(BIN)/python --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements.lock
	@uv pip compile -q -U requirements-dev.in --python $(BIN)/python --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements-dev.lock

build: setup ## Build the collection as an archive
	@ansible-galaxy collection build --force --output-path build .

clean: ## End what a crashed run left running, remove .venv; keeps reports and the cache
	@if [ -x $(BIN)/ansible ]; then $(BIN)/ansible all -i $(INVENTORY) -m kjoule.bench.leftovers -a "state_dir={{ kjoule_state_dir | default(omit) }}" $(ARGS) || echo "kjoule: could not end everything, see above" >&2; fi
	@rm -rf $(VENV) $(VENV)-other build .mypy_cache .pytest_cache .ruff_cache .ansible
	@echo "kjoule: removed the virtual environments; reports/ and $(CACHE_DIR) are kept"

clean-cache: ## Remove the cache: binaries and what they were built from
	@if [ -d "$(CACHE_DIR)" ]; then chmod -R u+w "$(CACHE_DIR)"; rm -rf "$(CACHE_DIR)"; echo "kjoule: removed $(CACHE_DIR)"; else echo "kjoule: there is no $(CACHE_DIR)"; fi

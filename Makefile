# SPDX-License-Identifier: AGPL-3.0-or-later

# The Python that is inside Debian's Orthanc: the packages installed for it must be of the same version.
PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
INSTALL_DEBIAN := .ci/install-debian-packages
ORTHANC_PACKAGES := $(if $(ORTHANC_BINARY),,orthanc) $(if $(ORTHANC_PLUGINS),,orthanc-python)
POSTGRES_PACKAGES := postgresql $(if $(ORTHANC_PLUGINS),,orthanc-postgresql)

WEB := plugin/web/vendor/import-map.json
# The time that is written into the package: that of the last commit, or for sources without history a fixed one.
EPOCH = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),1767225600)

.PHONY: help setup orthanc dicom-web postgresql web browser run wheel chaos bench test test-unit test-postgresql test-integration \
	test-matrix test-smoke test-containers screenshots lint clean
.DEFAULT_GOAL := help

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(VENV)/.tests-ready web browser | orthanc dicom-web postgresql ## Install what is missing, for running and for the tests

web: $(WEB) ## Fetch the modules of the web page into plugin/web/vendor

run: $(VENV)/.run-ready$(if $(findstring postgresql:,$(ROUTER_DATABASE)),-postgres) web | orthanc ## Start the router and two destinations and send a study; ONCE=1 ends by itself
	@PYTHONPATH=integration $(BIN)/python demo/run.py

test: lint test-unit test-postgresql test-integration ## Everything

test-unit: $(VENV)/.tests-ready ## The fast tests, without Orthanc
	$(BIN)/pytest -q tests

test-postgresql: $(VENV)/.tests-ready | postgresql ## Those of the fast tests that have a database, on PostgreSQL
	$(BIN)/pytest -q tests --database postgresql

test-integration: $(VENV)/.tests-ready web browser | orthanc dicom-web postgresql ## The tests with real Orthancs
	$(BIN)/pytest -q integration

# The same sources make the same file, byte for byte, with the same version of setuptools.
wheel: web | $(BIN)/pip ## Build the package into dist/
	@rm -rf build dist
	SOURCE_DATE_EPOCH=$(EPOCH) $(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@rm -rf build
	@cd dist && sha256sum *.whl

chaos: $(VENV)/.tests-ready | orthanc ## Fault injection; TRIALS, SEED, FAULT (part of a name)
	@mkdir -p run
	PYTHONPATH=integration:. $(BIN)/python -m chaos --trials $(or $(TRIALS),30) --seed $(or $(SEED),1) --fault "$(FAULT)" --results run/chaos.jsonl

bench: $(VENV)/.tests-ready web | orthanc postgresql ## Measure, beside what others use; QUICK=1 for a look in two minutes
	@$(INSTALL_DEBIAN) dcmtk
	PYTHONPATH=plugin:integration:bench $(BIN)/python bench/all.py $(if $(QUICK),--quick) --only "$(ONLY)"

screenshots: $(VENV)/.tests-ready web browser | orthanc ## Make the pictures of the web page, in docs/images
	@$(INSTALL_DEBIAN) fonts-inter
	PYTHONPATH=integration $(BIN)/python demo/screenshots.py

test-matrix: ## The tests again on the Orthancs of Debian 13 and of Debian testing; SUITES and TESTS choose
	@.ci/matrix

test-smoke: ## A few of the tests with real Orthancs on each of those, in minutes
	@TESTS="-m smoke integration" .ci/matrix

test-containers: ## Build the image and check both compose files; needs podman or docker, see docs/maintaining.md
	@.ci/containers

lint: $(VENV)/.tests-ready ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=docker $(BIN)/mypy --config-file= --strict --no-error-summary docker/check.py
	MYPYPATH=docker $(BIN)/mypy --config-file= --strict --no-error-summary examples/two-sites/check.py

clean: ## Remove what was made here: the environment, fetched modules, the data of `make run`, caches
	rm -rf $(VENV) node_modules plugin/web/vendor run build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

orthanc:
	@$(INSTALL_DEBIAN) $(ORTHANC_PACKAGES)

postgresql:
	@$(INSTALL_DEBIAN) $(POSTGRES_PACKAGES)

dicom-web:
	@$(INSTALL_DEBIAN) $(if $(ORTHANC_PLUGINS),,orthanc-dicomweb)

browser:
	@$(INSTALL_DEBIAN) chromium

$(WEB): package-lock.json .ci/vendor-web-modules
	@$(INSTALL_DEBIAN) $(if $(shell command -v npm),,npm)
	npm ci --ignore-scripts --no-audit --no-fund --loglevel error
	$(PYTHON) .ci/vendor-web-modules

$(BIN)/pip:
	@$(INSTALL_DEBIAN) python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-ready: setup.cfg pyproject.toml | $(BIN)/pip
	$(PIP) --editable '.'
	@touch $@

$(VENV)/.run-ready-postgres: setup.cfg pyproject.toml | $(BIN)/pip
	$(PIP) --editable '.[postgres]'
	@touch $@ $(VENV)/.run-ready

$(VENV)/.tests-ready: setup.cfg pyproject.toml | $(BIN)/pip
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.run-ready

# SecondRead's chores. `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUNTIME := .venv
TESTING := .venv-test
OHIF := build/ohif
OHIF_VERSION := 3.13.2
TRITON := build/triton
TRITON_VERSION := 0.7.0
IMAGES ?=
SEED ?=
FILES ?=
SESSIONS ?=
MINUTES ?=
ONCE ?=
ONLY ?=
QUICK ?=

.DEFAULT_GOAL := help
.PHONY: help setup develop demo docs test check sbom deploy-check debian-packages chaos soak fuzz bench bench-gpu capacity clean

help: ## list the chores
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(RUNTIME)/.ready ## make .venv: the runtime, without torch, with `secondread` in it

$(RUNTIME)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("SecondRead needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(RUNTIME)
	$(RUNTIME)/bin/pip install --quiet --editable '.[cpu]'
	@touch $@

demo: setup ## real ultrasound files through everything [IMAGES=folder] [ONCE=1]
	@$(RUNTIME)/bin/secondread demo $(if $(ONCE),--once) $(if $(IMAGES),"$(IMAGES)")

debian-packages:
	@deploy/debian-packages.sh

$(TESTING)/.ready: pyproject.toml
	$(PYTHON) -m venv $(TESTING)
	$(TESTING)/bin/pip install --quiet --editable '.[cpu,postgres,s3,trace,triton,model,docs,dev]'
	@touch $@

develop: $(TESTING)/.ready debian-packages $(OHIF)/$(OHIF_VERSION) $(TRITON)/$(TRITON_VERSION) ## all that a developer needs: .venv-test, Debian packages, the viewer, Triton

# Not --quiet: it would swallow the warnings that strict counts.
docs: $(TESTING)/.ready ## the manuals as a site in build/site; a link or anchor that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 $(TESTING)/bin/python -m mkdocs build --strict

check: $(TESTING)/.ready ## ruff, mypy --strict, import-linter
	$(TESTING)/bin/ruff check .
	$(TESTING)/bin/ruff format --check .
	$(TESTING)/bin/mypy
	$(TESTING)/bin/lint-imports

# Its dependencies are for who builds it: the package holds the built viewer, which is all that is needed.
$(OHIF)/$(OHIF_VERSION): debian-packages
	@[ -e $@ ] || { rm -rf $(OHIF) && mkdir -p $(OHIF) && \
		npm pack --silent --pack-destination build @ohif/app@$(OHIF_VERSION) >/dev/null && \
		tar -xzf build/ohif-app-$(OHIF_VERSION).tgz -C $(OHIF) --strip-components=2 package/dist && \
		rm build/ohif-app-$(OHIF_VERSION).tgz && touch $@; }

# A Triton Inference Server with its Python back end, out of the wheel of PyTriton, which is not installed: it wants another NumPy.
$(TRITON)/$(TRITON_VERSION): $(TESTING)/.ready
	@[ -e $@ ] || [ "$$(uname -sm)" != "Linux x86_64" ] || { rm -rf $(TRITON) && mkdir -p $(TRITON) && \
		$(TESTING)/bin/pip download --quiet --no-deps --dest $(TRITON) nvidia-pytriton==$(TRITON_VERSION) && \
		$(TESTING)/bin/python -m zipfile -e $(TRITON)/*.whl $(TRITON) && rm $(TRITON)/*.whl && touch $@; }

test: debian-packages check $(OHIF)/$(OHIF_VERSION) $(TRITON)/$(TRITON_VERSION) ## everything that CI does: linters and all tests
	$(TESTING)/bin/pytest

sbom: setup $(TESTING)/.ready ## what the runtime is made of, as CycloneDX, into build/sbom.json
	@mkdir -p build
	$(TESTING)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.json $(RUNTIME)/bin/python

# Tools of its own, in build/deploy-check: checkov brings some hundred packages. CI runs the light checks among the tests.
deploy-check: $(TESTING)/.ready debian-packages ## image, chart, manifests, compose and units: lint, policy, and what is installed
	PYTHON=$(PYTHON) deploy/check.sh
	$(TESTING)/bin/pytest tests/system/test_deploy.py tests/system/test_kubernetes.py tests/system/test_systemd.py \
		tests/system/test_image.py tests/system/test_healthcheck.py

chaos: $(TESTING)/.ready debian-packages ## kill and freeze everything under a stream of images [IMAGES=200] [SEED=7]
	$(TESTING)/bin/python -m tests.chaos --images $(or $(IMAGES),200) --seed $(or $(SEED),7)

soak: $(TESTING)/.ready debian-packages ## steady load with faults: does anything grow? [MINUTES=60] [SEED=7]
	$(TESTING)/bin/python -m tests.soak --minutes $(or $(MINUTES),60) --seed $(or $(SEED),7)

fuzz: $(TESTING)/.ready debian-packages ## hostile files and network sessions [FILES=2000] [SESSIONS=2000] [SEED=1]
	$(TESTING)/bin/python -m tests.fuzz files --count $(or $(FILES),2000) --seed $(or $(SEED),1)
	$(TESTING)/bin/python -m tests.fuzz sessions --count $(or $(SESSIONS),2000) --seed $(or $(SEED),1)

bench: $(TESTING)/.ready debian-packages ## speed beside peers, into build/bench and docs/measured.md [ONLY=road] [QUICK=1]
	$(TESTING)/bin/python -m tests.bench $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

capacity: $(TESTING)/.ready ## on paper: what many hospitals would need, into docs/capacity.md
	$(TESTING)/bin/python -m tests.bench.capacity --write

bench-gpu: $(TESTING)/.ready ## CUDA and TensorRT beside the CPU; exit code 2 without a GPU
	$(TESTING)/bin/python -m tests.bench.gpu

clean: ## remove environments and build products
	rm -rf $(RUNTIME) $(TESTING) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

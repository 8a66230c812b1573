"""Run the main() of every benchmark in this folder; 1 if one of them falls short of what is asked."""

import importlib
import pkgutil
import sys

import benchmarks

short = False
for found in sorted(pkgutil.iter_modules(benchmarks.__path__), key=lambda module: module.name):
    if not found.name.startswith("_"):
        print(f"-- {found.name}", flush=True)
        short |= bool(importlib.import_module(f"benchmarks.{found.name}").main())
sys.exit(short)

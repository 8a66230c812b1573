"""Run the main() of every benchmark in this folder."""

import importlib
import pkgutil

import benchmarks

for found in sorted(pkgutil.iter_modules(benchmarks.__path__), key=lambda module: module.name):
    if not found.name.startswith("_"):
        print(f"-- {found.name}", flush=True)
        importlib.import_module(f"benchmarks.{found.name}").main()

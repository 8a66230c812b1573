"""What is measured against named alternatives: ``python -m benchmarks`` runs everything, ``-m benchmarks.NAME`` one."""

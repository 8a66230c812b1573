"""What builds the book and what checks it from outside: each module is a command, ``python -m tools.NAME --help``."""

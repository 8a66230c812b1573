"""Claims: the record of a meeting between a derivation, a formula and a simulation."""

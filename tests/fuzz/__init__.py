"""Mutated input from strangers into everything that reads it: `python -m tests.fuzz`."""

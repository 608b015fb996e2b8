"""Benchmarks that print ratios to peers measured in the same run."""

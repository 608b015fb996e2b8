"""Faults under a seed, upon the real processes; then every window against the truth.

`python -m tests.faults --help` runs it. The parts: `plan` says which faults come when, `world` runs
agents, collectors and ClickHouse with a `proxy` on every connection, `inflict` does the damage.
`course` is what the simulated GPUs do, `diary` what the agents' processes noted, `truth` what must
therefore stand in the books, and `compare` holds ClickHouse to it.
"""

"""The statements of roll-ups, as they stand in `gpuledger_sql/rollups`, and how they are run."""

from __future__ import annotations

from functools import cache
from importlib import resources

LIMIT_S = 180
"""How long a statement that computes or commits a version may take."""

KEEP_S = 10 * LIMIT_S
"""Superseded versions stay so long: more than all statements of an hour, or of a day, can take."""

VERSIONS_AT_ONCE = 150
"""Versions named at a time: they travel in the address of an HTTP request."""

SETTINGS = {
    "max_execution_time": LIMIT_S,
    # Days are deduplicated apart from one another: a row's key holds its time.
    "do_not_merge_across_partitions_select_final": 1,
    # One block, one part: a version becomes visible whole.
    "min_insert_block_size_rows": 100_000_000,
    "min_insert_block_size_bytes": 0,
    "max_insert_threads": 1,
}
"""Of the statements that compute and write versions."""


@cache
def sql(name: str) -> str:
    """The text of a statement."""
    file = resources.files("gpuledger_sql") / "rollups" / f"{name}.sql"
    return file.read_text("utf-8")

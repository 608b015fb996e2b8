"""How many files this process may have open."""

from __future__ import annotations

import resource

FILES = 65_536


def raise_file_limit() -> None:
    """Ask for 65,536 open files, or for as many as the system lets us have.

    1,024 is a common limit. An agent keeps one per process on a GPU, a collector one per agent.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

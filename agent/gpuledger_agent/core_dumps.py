"""Keep what is in memory out of files."""

from __future__ import annotations

import resource


def forbid_core_dumps() -> None:
    """Let neither this process nor its children leave a core: keys and tokens would be in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

"""All benchmarks of the README, one after the other: `python -m bench`.

Each runs in an interpreter of its own, so that none measures what another left behind.
"""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "bench.agent_cost",
    "bench.attribution_cost",
    "bench.collector_rows",
    "bench.reconnect",
    "bench.scrape_cost",
    "bench.spool_cost",
    "bench.store_bytes",
    "bench.views",
    "bench.fleet_views",
)


def main() -> None:
    """Run them; end with the first that fails."""
    for name in BENCHMARKS:
        print(f"\n# python -m {name}", flush=True)
        if code := subprocess.run([sys.executable, "-m", name], check=False).returncode:
            sys.exit(code)


if __name__ == "__main__":
    main()

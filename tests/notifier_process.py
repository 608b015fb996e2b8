"""A collector's notifier as a process of its own, to be killed: URL DATABASE FILE LEASE_S."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from gpuledger_collector.ledger.notify import config
from gpuledger_collector.ledger.notify.lease import Lease
from gpuledger_collector.ledger.notify.notifier import Notifier
from gpuledger_collector.ledger.notify.wording import Wording
from gpuledger_collector.metrics import Metrics
from gpuledger_collector.store.client import StoreConfig, connect


def main(url: str, database: str, file: str, lease_s: str) -> None:
    """Tell until the process is ended."""
    lease = Lease(float(lease_s), settle_s=0.2, need_s=1.0)
    notifier = Notifier(config.load(Path(file)), Wording({}), Metrics(), lease, backoff_s=0.0)
    password = Path(os.environ["GPULEDGER_PASSWORD_FILE"]).read_text("ascii").strip()
    store = StoreConfig(url, database, os.environ["GPULEDGER_USERNAME"], password)
    with connect(store) as client:
        notifier.run(client, threading.Event(), pause_s=0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])

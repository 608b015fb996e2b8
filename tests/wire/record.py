"""Records how this version speaks: `python -m tests.wire.record`.

A real agent's uplink sends a real spool to a real collector, which stores it in a real ClickHouse.
What is recorded stands for agents, collectors and spools that are out there: a version that was
released is never recorded again. Until then `--again` takes what has changed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from clickhouse_connect.driver.client import Client
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from gpuledger_agent import __version__
from gpuledger_agent.spool import Spool
from gpuledger_agent.stream import Uplink
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.store import retention
from gpuledger_collector.store.client import StoreConfig, connect
from gpuledger_collector.store.embedded import EmbeddedServer
from gpuledger_collector.store.migrate import migrate
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.collector_fixture import settings_for
from tests.waiting import wait_until
from tests.wire.host import fill, hello
from tests.wire.release import RELEASES, Release, packed, stored
from tests.wire.tee import Tee


def keep_for_ever(client: Client) -> None:
    """Let the books take windows of any age: recordings are old."""
    forever = retention.parse(retention.FOREVER)
    retention.apply(client, retention.plan(client, {"raw": forever, "hourly": forever}))


def deliver(spool_file: Path, address: str) -> None:
    """Send all of a spool, until everything is answered."""
    spool = Spool(spool_file)
    uplink = Uplink([address], spool, hello)
    thread = threading.Thread(target=uplink.run)
    thread.start()
    try:
        wait_until(lambda: not spool.state().batches)
    finally:
        uplink.stop()
        thread.join()
        spool.close()


def record(folder: Path, store: StoreConfig) -> None:
    """Write the recording into this folder. The database is empty and keeps windows for ever."""
    release = Release(folder)
    schema = FileDescriptorProto()
    wire.DESCRIPTOR.CopyToProto(schema)
    (folder / "schema.bin").write_bytes(schema.SerializeToString())
    fill(release.spool)
    sent = shutil.copy(release.spool, folder / "sent.sqlite")
    with CollectorThread(settings_for(store)) as collector, Tee(collector.address) as tee:
        deliver(Path(sent), tee.address)
    for rest in folder.glob("sent.sqlite*"):
        rest.unlink()
    (folder / "spool.sqlite.lock").unlink(missing_ok=True)
    (folder / "agent.bin").write_bytes(packed(tee.said))
    (folder / "collector.bin").write_bytes(packed(tee.answered))
    with connect(store) as client:
        rows = json.dumps(stored(client), indent=1)
    (folder / "rows.json").write_text(rows + "\n")
    about = {"version": __version__, "recorded_at": f"{datetime.now(UTC):%Y-%m-%d}"}
    (folder / "about.json").write_text(json.dumps(about) + "\n")


def main() -> None:
    """Record this version in a database made for it."""
    parser = argparse.ArgumentParser(prog="python -m tests.wire.record", description=__doc__)
    parser.add_argument("--again", action="store_true", help="replace what is not released yet")
    again = parser.parse_args().again
    folder = RELEASES / __version__
    if folder.exists() and not again:
        sys.exit(f"{folder} is there: a released version is not recorded again (else: --again)")
    with tempfile.TemporaryDirectory() as made:
        books, recorded = Path(made, "books"), Path(made, "recorded")
        recorded.mkdir()
        with EmbeddedServer(books) as server:
            store = replace(server.store, database="recording")
            with connect(store, create_database=True) as client:
                migrate(client)
                keep_for_ever(client)
            record(recorded, store)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(recorded, folder)


if __name__ == "__main__":
    main()

"""Releases that are out there go on working with this one, whichever end is upgraded first."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import grpc
import pytest
from clickhouse_connect.driver.client import Client

from gpuledger_agent import __version__
from gpuledger_agent.spool import Spool
from gpuledger_collector.serve import CollectorThread
from gpuledger_collector.tables import TABLES
from gpuledger_proto.v1 import telemetry_pb2 as wire
from tests.wire.byte_server import SERVICE
from tests.wire.host import fill, hello
from tests.wire.record import deliver, keep_for_ever
from tests.wire.release import RELEASES, Release, releases, stored_as
from tests.wire.replayed import ReplayedCollector
from tests.wire.schema import classes, fields, present, values, without
from tests.wire.tee import Tee

released = pytest.mark.parametrize("release", releases(), ids=lambda release: release.version)


@pytest.fixture
def books(client: Client) -> Client:
    """Books that take windows of any age."""
    keep_for_ever(client)
    return client


@pytest.fixture
def spooled(release: Release, tmp_path: Path) -> Path:
    """A copy of the spool that the release left behind."""
    return Path(shutil.copy(release.spool, tmp_path))


def spoken(address: str, messages: list[bytes]) -> list[wire.CollectorMessage]:
    """What a collector answers to these bytes."""
    with grpc.insecure_channel(address) as channel:
        answers = channel.stream_stream(f"/{SERVICE}/Stream")(iter(messages), timeout=60)
        return [wire.CollectorMessage.FromString(answer) for answer in answers]


def verdicts(answers: list[wire.CollectorMessage]) -> tuple[set[int], set[tuple[int, int, bool]]]:
    """Batches that were committed; and of those that were not: rows, and whether it is all."""
    refusals = [answer.refusal for answer in answers if answer.HasField("refusal")]
    return (
        {sequence for answer in answers for sequence in answer.ack.sequences},
        {(one.sequence, one.rows_refused, one.whole_batch) for one in refusals},
    )


def set_aside(path: Path) -> list[int]:
    """Sequences of the batches that were refused for good."""
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT sequence FROM refused ORDER BY sequence").fetchall()
    db.close()
    return [sequence for (sequence,) in found]


@released
def test_collector_when_an_agent_of_a_release_speaks_then_its_answers_and_books_are_as_then(
    release: Release, books: Client, collector: CollectorThread
) -> None:
    recorded = [wire.CollectorMessage.FromString(answer) for answer in release.answered]
    assert verdicts(spoken(collector.address, release.said)) == verdicts(recorded)
    assert verdicts(recorded)[0]
    assert verdicts(recorded)[1]
    assert stored_as(books, release.rows) == release.rows


@released
def test_agent_when_it_finds_the_spool_of_a_release_then_that_collector_has_all_of_it(
    release: Release, spooled: Path
) -> None:
    """The agent was upgraded first: an old spool, an old collector."""
    with ReplayedCollector(release) as collector:
        deliver(spooled, collector.address)
    said = [classes(release.schema).agent.FromString(message) for message in release.said]
    sent = [message.batch.SerializeToString(deterministic=True) for message in collector.heard[1:]]
    assert sent == [message.batch.SerializeToString(deterministic=True) for message in said[1:]]
    refused = {sequence for sequence, _, whole in verdicts(answers_of(release))[1] if whole}
    assert set(set_aside(spooled)) == refused | set(set_aside(release.spool))


def answers_of(release: Release) -> list[wire.CollectorMessage]:
    return [wire.CollectorMessage.FromString(answer) for answer in release.answered]


@released
@pytest.mark.usefixtures("release")
def test_agent_when_it_finds_the_spool_of_a_release_then_losses_noted_there_are_told(
    spooled: Path,
) -> None:
    spool = Spool(spooled)
    spool.tell_gaps()
    *_, gaps = spool.after(0, 100)
    spool.close()
    assert list(gaps.telemetry_gaps.reason) == [wire.GAP_REASON_REFUSED]
    assert sum(gaps.telemetry_gaps.rows) == 2


@pytest.mark.parametrize("release", releases()[-1:], ids=lambda release: release.version)
def test_collector_when_it_knows_less_than_the_agent_then_what_it_knows_is_in_its_books(
    release: Release, spooled: Path, books: Client, collector: CollectorThread
) -> None:
    """As one would that was made before traffic, losses and shares of grants were told."""
    older = classes(
        without(
            present(),
            *("Batch.endpoint_traffic", "Batch.layouts", "Batch.telemetry_gaps"),
            *("GpuAllocation.share_milli", "Hello.boot_id"),
        )
    )
    with Tee(collector.address, older.without_what_it_does_not_know) as tee:
        deliver(spooled, tee.address)
    expected = release.rows
    expected["endpoint_traffic"] = expected["telemetry_gaps"] = []
    expected["hosts"][0]["boot_id"] = ""
    expected["gpu_allocation"][0]["share_milli"] = 0  # not told
    known = {table: rows for table, rows in expected.items() if rows}
    assert stored_as(books, known) == known
    for table in ("endpoint_traffic", "telemetry_gaps"):
        assert books.query(f"SELECT count() FROM {table}").result_rows == [(0,)]


@released
def test_schema_when_it_goes_on_then_no_number_of_a_release_means_something_else(
    release: Release,
) -> None:
    assert fields(release.schema).items() <= fields(present()).items()
    assert values(release.schema).items() <= values(present()).items()


def test_this_version_when_it_speaks_then_it_is_as_recorded(tmp_path: Path) -> None:
    release = Release(RELEASES / __version__)
    record = "run python -m tests.wire.record (--again while this version is not released)"
    assert release.folder.is_dir(), f"{__version__} is not recorded: {record}"
    assert fields(release.schema) == fields(present()), record
    assert values(release.schema) == values(present()), record
    fill(tmp_path / "spool.sqlite")
    spools = [
        Spool(tmp_path / "spool.sqlite"),
        Spool(Path(shutil.copy(release.spool, tmp_path / "was"))),
    ]
    made, recorded = ([b.SerializeToString() for b in spool.after(0, 100)] for spool in spools)
    for spool in spools:
        spool.close()
    assert made == recorded, record
    assert release.said == [
        wire.AgentMessage(hello=hello()).SerializeToString(),
        *(wire.AgentMessage(batch=wire.Batch.FromString(b)).SerializeToString() for b in recorded),
    ], record


def test_recording_when_it_is_read_then_every_column_of_every_table_says_something() -> None:
    """Less would leave the next release free to break what is not in it."""
    heard = [
        wire.AgentMessage.FromString(message) for message in Release(RELEASES / __version__).said
    ]
    for table in TABLES:
        columns = [getattr(message.batch, table.name) for message in heard]
        for field in columns[0].DESCRIPTOR.fields:
            said = [value for column in columns for value in getattr(column, field.name)]
            assert any(said), f"{table.name}.{field.name}"

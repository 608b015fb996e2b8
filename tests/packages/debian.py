"""The Debian packages from `dpkg -i` to purge, in a booted Debian: `make test-packages`.

It takes minutes, so the file has a name that pytest does not collect by itself.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from gpuledger_collector.serve import CollectorSettings, CollectorThread
from gpuledger_collector.store.client import StoreConfig, connect
from tests.nvml_standin.world import SONAME, Standin
from tests.packages import probe
from tests.packages.machine import Machine, debian, machine, packages  # noqa: F401  # fixtures
from tests.test_packaging_units import SYSTEMD
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(1200)  # both packages are built, and a Debian is fetched

AGENT, COLLECTOR = "gpuledger-agent", "gpuledger-collector"
READER = 1 << 2 | 1 << 19
"""CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE."""

STANDIN = """
[Service]
Environment=GPULEDGER_STANDIN=/srv/gpus/world
ReadWritePaths=/srv/gpus
"""

SETTINGS = """
collector = "{}"
host = "node-1"
window = 1
tick = 0.25
metrics = ""
health = ""
"""


PASSWORD = "/etc/gpuledger/collector/password"


def collector_toml(store: StoreConfig, listen: str) -> str:
    return (
        f'clickhouse_url = "{store.url}"\ndatabase = "{store.database}"\n'
        f'username = "{store.username}"\npassword_file = "{PASSWORD}"\n'
        f'[serve]\nlisten = "{listen}"\nmetrics = ""\n'
    )


def package(packages: Path, name: str, revision: int) -> Path:  # noqa: F811
    (found,) = packages.glob(f"{name}_*-{revision}_*.deb")
    return found


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


def give_gpus(machine: Machine, library: Path) -> Standin:  # noqa: F811
    """One GPU, as a driver would bring it."""
    place = (
        machine.root
        / "usr/lib"
        / subprocess.check_output(["gcc", "-print-multiarch"], text=True).strip()
    )
    shutil.copy(library / SONAME, place)
    world = machine.root / "srv/gpus/world"
    world.parent.mkdir()
    standin = Standin(world, library, gpus=1)
    world.chmod(0o666)
    machine.write(f"/etc/systemd/system/{AGENT}.service.d/standin.conf", STANDIN)
    return standin


def stranger(machine: Machine) -> AbstractContextManager[str]:  # noqa: F811
    """A process of another user, which names its team in its environment; its pid in there."""
    script = "echo $$; exec setpriv --reuid=65534 --regid=65534 --clear-groups sleep 600"
    return machine.background("env", "GPULEDGER_TEAM=search", "sh", "-c", script)


def count(store: StoreConfig, sql: str) -> int:
    with connect(store) as client:
        return int(client.query(sql).result_rows[0][0])


def spooled(machine: Machine) -> int:  # noqa: F811
    """Batches that wait, as `systemctl status` says."""
    words = machine.shows(AGENT, "StatusText").split()
    return int(words[words.index("batches") - 1]) if "batches" in words else 0


def assert_purged(machine: Machine, name: str, user: str, *paths: str) -> None:  # noqa: F811
    for path in (
        f"/usr/lib/{name}",
        f"/lib/systemd/system/{name}.service",
        "/etc/gpuledger",
        *paths,
    ):
        assert not (machine.root / path.lstrip("/")).exists(), path
    left = machine.says("sh", "-c", f"find /etc/systemd /var/lib/systemd -name '{name}*'")
    assert left in {"", f"/etc/systemd/system/{name}.service.d"}
    assert machine.run("id", "-un", user) == user


def test_agent_when_installed_upgraded_removed_and_purged_then_no_window_is_lost_and_nothing_left(
    machine: Machine,  # noqa: F811
    packages: Path,  # noqa: F811
    standin_library: Path,
    database: StoreConfig,
    record_property: pytest.RecordProperty,
) -> None:
    port = free_port()
    settings = CollectorSettings(f"127.0.0.1:{port}", "", database, max_wait_s=0.01)
    machine.write("/etc/gpuledger/agent.toml", SETTINGS.format(settings.listen))
    standin = give_gpus(machine, standin_library)
    with machine, stranger(machine) as pid:
        standin.add(0, int(pid))
        with CollectorThread(settings):
            began = time.monotonic()
            machine.install(package(packages, AGENT, 1))
            of_search = "SELECT count() FROM process_usage WHERE team = 'search'"
            wait_until(lambda: count(database, of_search) > 0, 60)
            seconds = time.monotonic() - began
            print(f"{seconds:.1f} s from dpkg -i to the first row")  # noqa: T201  # with pytest -s
            record_property("seconds_to_first_row", seconds)
        first = machine.shows(AGENT, "MainPID")
        status = machine.run("cat", f"/proc/{first}/status").splitlines()
        assert int(next(x for x in status if x.startswith("CapEff")).split()[1], 16) == READER
        assert machine.run("stat", "-c", "%U", f"/proc/{first}") == AGENT
        mounts = machine.run("cat", f"/proc/{first}/mountinfo").splitlines()
        assert all(" ro," in m for m in mounts if m.split()[4] == "/proc")
        assert machine.run("systemctl", "is-enabled", AGENT) == "enabled"

        wait_until(lambda: spooled(machine) >= 5, 60)
        until = count(database, "SELECT max(toUnixTimestamp(ts)) FROM gpu_usage")
        machine.install(package(packages, AGENT, 2))
        second = machine.shows(AGENT, "MainPID")
        assert second not in {first, "0"}
        upgraded = int(time.time())
        with CollectorThread(settings):
            since = f"SELECT count() FROM gpu_usage WHERE ts > toDateTime({upgraded})"
            wait_until(lambda: count(database, since) > 0, 60)
            wait_until(lambda: spooled(machine) <= 1, 60)
        waited = f"SELECT count() FROM gpu_usage WHERE ts > toDateTime({until})"
        assert count(database, f"{waited} AND ts < toDateTime({upgraded})") >= 5
        lost = "SELECT count() FROM telemetry_gaps WHERE reason != 'stopped'"
        assert count(database, lost) == 0

        machine.run("dpkg", "--remove", AGENT)
        assert machine.says("systemctl", "is-active", AGENT) == "inactive"
        assert (machine.root / "var/lib/gpuledger-agent/spool.sqlite").exists()
        assert "node-1" in (machine.root / "etc/gpuledger/agent.toml").read_text()
        machine.run("dpkg", "--purge", AGENT)
        assert_purged(machine, AGENT, AGENT, "/var/lib/gpuledger-agent", "/usr/bin/gpuledger-agent")


def test_collector_when_installed_before_its_schema_then_it_serves_as_soon_as_that_is_made(
    machine: Machine,  # noqa: F811
    packages: Path,  # noqa: F811
    empty_database: StoreConfig,
) -> None:
    store, port = empty_database, free_port()
    machine.write("/etc/gpuledger/collector.toml", collector_toml(store, f"127.0.0.1:{port}"))
    machine.write(PASSWORD, store.password)
    with machine:
        machine.install(package(packages, COLLECTOR, 1))
        assert machine.run("stat", "-c", "%U %G %a", Path(PASSWORD).parent) == "root gpuledger 750"
        wait_until(lambda: "gpuledger migrate" in machine.says("journalctl", "--unit", COLLECTOR))
        machine.run("gpuledger", "migrate")
        wait_until(lambda: machine.shows(COLLECTOR, "ActiveState") == "active", 60)
        socket.create_connection(("127.0.0.1", port), 10).close()
        assert machine.shows(COLLECTOR, "StatusText").endswith("ClickHouse takes inserts")
        first = machine.shows(COLLECTOR, "MainPID")
        assert machine.run("stat", "-c", "%U", f"/proc/{first}") == "gpuledger"

        machine.install(package(packages, COLLECTOR, 2))
        assert machine.shows(COLLECTOR, "MainPID") not in {first, "0"}
        assert machine.shows(COLLECTOR, "NRestarts") == "0"
        machine.run("dpkg", "--purge", COLLECTOR)
        assert_purged(machine, COLLECTOR, "gpuledger", "/var/lib/gpuledger", "/usr/bin/gpuledger")


IMPATIENT = """
[Service]
WatchdogSec=20
RestartSec=1
"""
"""A watchdog that a test can wait for; on a busy machine life is a sign of it three times over."""


def test_daemon_when_it_is_stuck_then_systemd_kills_it_and_another_goes_on(
    machine: Machine,  # noqa: F811
    packages: Path,  # noqa: F811
    standin_library: Path,
    database: StoreConfig,
) -> None:
    """Stopped by a signal it answers nothing, as when a disk or a lock holds its loop."""
    listen = f"127.0.0.1:{free_port()}"
    machine.write("/etc/gpuledger/agent.toml", SETTINGS.format(listen))
    machine.write("/etc/gpuledger/collector.toml", collector_toml(database, listen))
    machine.write(PASSWORD, database.password)
    for name in (AGENT, COLLECTOR):
        machine.write(f"/etc/systemd/system/{name}.service.d/impatient.conf", IMPATIENT)
    give_gpus(machine, standin_library)
    with machine:
        for name in (COLLECTOR, AGENT):
            machine.install(package(packages, name, 1))
        assert_rows_flow(database, 0)
        for name in (COLLECTOR, AGENT):
            stuck = machine.shows(name, "MainPID")
            machine.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", name)
            wait_until(lambda unit=name: machine.shows(unit, "NRestarts") == "1", 180)  # type: ignore[misc]
            wait_until(lambda unit=name: machine.shows(unit, "ActiveState") == "active", 120)  # type: ignore[misc]
            assert machine.shows(name, "MainPID") not in {stuck, "0"}
            machine.run("journalctl", "--sync")
            said = machine.says("journalctl", "--unit", name)
            assert "Watchdog timeout" in said
            assert "Fatal Python error: Aborted" in said, "where its threads were"
            assert_rows_flow(database, int(time.time()))
        lost = "SELECT count() FROM telemetry_gaps WHERE reason != 'stopped'"
        assert count(database, lost) == 0


def assert_rows_flow(store: StoreConfig, since: int) -> None:
    later = f"SELECT count() FROM gpu_usage WHERE ts > toDateTime({since})"
    wait_until(lambda: count(store, later) > 0, 120)


READS = {"read environ", "write spool"}


def test_unit_of_the_agent_when_probed_then_it_reads_and_each_drop_in_opens_what_it_says(
    machine: Machine,  # noqa: F811
    packages: Path,  # noqa: F811
) -> None:
    unit = (SYSTEMD / f"{AGENT}.service").read_text()
    for setting, value in (
        ("ExecStart", "/usr/bin/python3 -IS /opt/probe.py"),
        ("Type", "oneshot"),
        ("Restart", "no"),
        ("WatchdogSec", "0"),
    ):
        unit = re.sub(f"^{setting}=.*$", f"{setting}={value}", unit, flags=re.MULTILINE)
    machine.write("/opt/probe.py", Path(probe.__file__).read_text())
    opened = {
        "none": set(),
        "root-sockets": {"ask root's socket", "write file by /proc"},
        "container-networks": {"enter network"},
    }
    for name in opened:
        machine.write(f"/etc/systemd/system/{name}.service", unit)
    listen = f"socket, os; os.mkdir({str(Path(probe.SOCKET).parent)!r}, 0o700);"
    listen += f" s = socket.socket(socket.AF_UNIX); s.bind({probe.SOCKET!r}); s.listen();"
    with machine:
        machine.install(package(packages, AGENT, 1))
        for name in opened:
            dropped = machine.root / f"usr/share/doc/{AGENT}/examples/{name}.conf"
            if dropped.exists():
                folder = f"/etc/systemd/system/{name}.service.d/{name}.conf"
                machine.write(folder, dropped.read_text())
        machine.run("systemctl", "daemon-reload")
        server = f"import {listen} print('hears'); s.accept()"
        with machine.background("python3", "-uc", server) as word:
            assert word == "hears"
            for name, more in opened.items():
                machine.run("systemctl", "start", name)
                machine.run("journalctl", "--sync")
                said = machine.run("journalctl", "--unit", name, "--output=cat").splitlines()
                could = {line[6:] for line in said if line.startswith("could ")}
                assert (name, could) == (name, READS | more)
                # Whoever made it once could write it again.
                (machine.root / "etc/probe").unlink(missing_ok=True)

"""Slurm (munged, slurmctld and slurmd of Debian), started by the tests in directories of its own.

One node with four GPUs, whose device files no driver stands behind, and 16 shards of them. The
node has another name than the host. Jobs run as root, in cgroups of the host.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtimes.enclosure import Enclosure, require
from tests.waiting import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "scontrol", "sbatch", "unshare", "setpriv")

SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
AuthInfo=socket={home}/munge
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=1
GresTypes=gpu,shard
NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=64 Gres=gpu:a100:4,shard:16
PartitionName=batch Nodes=ALL Default=YES State=UP
"""

GRES_CONF = """\
Name=gpu Type=a100 File={home}/dev/nvidia[0-3]
Name=shard Count=16
"""

CGROUP_CONF = """\
CgroupPlugin=cgroup/v1
ConstrainDevices=yes
"""

START = """\
export SLURM_CONF={home}/slurm.conf
munged --foreground --force --key-file={home}/key --socket={home}/munge \\
    --pid-file={home}/munge.pid --seed-file={home}/munge.seed &
slurmctld -D -c &
exec slurmd -D -N {node}
"""

CGROUPS = Path("/sys/fs/cgroup")


class Slurm:
    """A cluster of one node. `node` is its name, `path` where its configuration is."""

    def __init__(self, home: Path, node: str) -> None:
        self.node = node
        self.configuration = home / "slurm.conf"
        self._home = home
        self._environment = {"PATH": os.environ["PATH"], "SLURM_CONF": str(self.configuration)}

    def run(self, *command: str) -> str:
        """What a command of Slurm says."""
        program = shutil.which(command[0], path=self._environment["PATH"])
        assert program is not None
        done = subprocess.run(
            [program, *command[1:]],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up(self) -> bool:
        """Whether the node takes jobs."""
        with contextlib.suppress(AssertionError):
            return "idle" in self.run("sinfo", "--noheader", "--format=%T")
        return False

    def submit(self, *options: str, script: str = "exec sleep 1000000") -> str:
        """Number of a new job that runs this shell script."""
        quiet = ("--parsable", "--output=/dev/null", f"--chdir={self._home}")
        return self.run("sbatch", *quiet, *options, "--wrap", script).strip()

    def cancel_all(self) -> None:
        """End all jobs."""
        self.run("scancel", "--partition=batch")
        wait_until(lambda: not self.run("squeue", "--noheader"))


@contextlib.contextmanager
def running(home: Path) -> Iterator[Slurm]:
    """Slurm as it runs in this directory; skips where it cannot."""
    require(PROGRAMS, "slurm-wlm munge")
    if (CGROUPS / "cgroup.controllers").exists():
        pytest.skip("only cgroup v2 here, where Slurm needs systemd: the recorded answers must do")
    slurm = Slurm(home, f"node-{secrets.token_hex(4)}")
    _configure(home, slurm.node)
    start = START.format(home=home, node=slurm.node)
    try:
        with Enclosure(["sh", "-c", start], home):
            wait_until(slurm.up)
            yield slurm
    finally:
        _remove_cgroups(slurm.node)


def _configure(home: Path, node: str) -> None:
    home.chmod(0o755)  # munged wants nobody else to write there
    (home / "key").write_bytes(secrets.token_bytes(128))
    (home / "key").chmod(0o400)
    (home / "dev").mkdir()
    for gpu in range(4):
        os.mknod(home / f"dev/nvidia{gpu}", 0o600 | stat.S_IFCHR, os.makedev(195, gpu))
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], other.getsockname()[1]
    values = {"home": home, "node": node, "controller_port": ports[0], "node_port": ports[1]}
    (home / "slurm.conf").write_text(SLURM_CONF.format(**values))
    (home / "gres.conf").write_text(GRES_CONF.format(**values))
    (home / "cgroup.conf").write_text(CGROUP_CONF)


def _remove_cgroups(node: str) -> None:
    for top in CGROUPS.glob(f"*/slurm_{node}"):
        wait_until(lambda top=top: _removed(top))


def _removed(top: Path) -> bool:
    for path, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            Path(path).rmdir()
    return not top.exists()

"""The locks of the images are of what the project says that it needs, to the byte."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "packaging" / "container"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; .*)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def pins(lock: str) -> dict[str, str]:
    """Name -> version; every line is one or the hash of one."""
    found: dict[str, str] = {}
    hashed = set()
    for line in (FOLDER / lock).read_text().splitlines():
        if HASH.match(line):
            hashed.add(list(found)[-1])
            continue
        pin = PIN.match(line)
        assert pin, line
        found[canonicalize_name(pin[1])] = pin[2]
    assert hashed == found.keys()
    return found


@pytest.mark.parametrize("extra", ["agent", "collector"])
def test_lock_when_the_project_says_what_it_needs_then_it_has_all_of_it(extra: str) -> None:
    locked = pins(f"{extra}.lock")
    project = PROJECT["project"]
    wanted = map(Requirement, project["dependencies"] + project["optional-dependencies"][extra])
    for requirement in wanted:
        assert locked[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_lock_when_it_is_the_agents_then_no_database_driver_is_on_gpu_hosts() -> None:
    only = pins("collector.lock").keys() - pins("agent.lock").keys()
    assert {"clickhouse-connect", "pyyaml", "rich"} <= only


def test_lock_when_the_wheel_is_built_then_its_tools_are_pinned_as_well() -> None:
    locked = pins("build.lock")
    for requirement in map(Requirement, PROJECT["build-system"]["requires"]):
        assert locked[requirement.name] in requirement.specifier
    assert "pip" in locked

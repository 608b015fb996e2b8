"""The images, built by `make images` on a base of Debian's packages: no image registry is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.podman import Podman
from tests.kubernetes.rendering import ROOT
from tests.runtimes.enclosure import require

BASE = "localhost/gpuledger-base"
LOCKS = ROOT / "packaging" / "container"
PIP = [sys.executable, "-m", "pip"]


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Podman with both images, as `localhost/gpuledger-agent:VERSION` and so on."""
    require(("podman", "runc", "mmdebstrap", "setpriv", "ip"), "podman runc mmdebstrap iproute2")
    folder = tmp_path_factory.mktemp("images")
    podman = Podman(folder)
    try:
        podman("import", _debian(folder / "base.tar"), BASE)
        subprocess.run(
            ["make", "images", f"BUILDER={podman.command}", f"IMAGE_BASE={BASE}",
             f"IMAGE_FLAGS={_offline(folder)}"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        yield podman
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error.cmd}: {(error.stderr or error.stdout)[-4000:]}")
    finally:
        podman.remove()


def _debian(tar: Path) -> Path:
    """What a base has: Python and what verifies certificates."""
    packages = "--include=python3-venv,ca-certificates"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", packages, "bookworm", tar],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return tar


def _offline(folder: Path) -> str:
    """Flags for a build that takes its packages from here, as where there is no network."""
    wheels = folder / "wheels"
    for lock in ("build", "agent", "collector"):
        subprocess.run(
            [*PIP, "download", "--quiet", "--require-hashes", "--only-binary=:all:",
             f"--dest={wheels}", f"--requirement={LOCKS / lock}.lock"],
            check=True, capture_output=True, text=True, env=os.environ,
        )  # fmt: skip
    settings = folder / "pip.conf"
    settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    volumes = f"--volume={wheels}:/wheels:ro --volume={settings}:/etc/pip.conf:ro"
    return f"--isolation=chroot --quiet {volumes}"

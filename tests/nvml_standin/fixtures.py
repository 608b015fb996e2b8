"""The stand-in library for tests in this process and in others."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nvml_standin.world import SONAME, Standin, build


@pytest.fixture(scope="session")
def standin_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the library, which is also loaded into this process under its SONAME."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc builds the NVML stand-in: install gcc")
    directory = build(tmp_path_factory.mktemp("nvml"))
    ctypes.CDLL(str(directory / SONAME), mode=ctypes.RTLD_GLOBAL)
    return directory


@pytest.fixture
def standin(
    standin_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Standin]:
    """A world of 8 idle GPUs of its own."""
    world = Standin(tmp_path / "world", standin_library)
    monkeypatch.setenv("GPULEDGER_STANDIN", str(tmp_path / "world"))
    # This process cannot load the library afresh: its nvmlInit stands for that.
    monkeypatch.setenv("GPULEDGER_STANDIN_PRELOADED", "1")
    yield world
    for index in range(world.raw.gpus):
        world.raw.gpu[index].hang = 0

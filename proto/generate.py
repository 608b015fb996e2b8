"""Generate `gpuledger_proto` from `gpuledger/v1/*.proto`, or check that it is fresh.

Usage: python proto/generate.py [--check]
"""

from __future__ import annotations

import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
PACKAGE = "gpuledger_proto/v1"


def generate(target: Path) -> None:
    """Write the generated modules and their type stubs under `target`."""
    well_known = resources.files("grpc_tools") / "_proto"
    code = protoc.main(
        [
            "protoc",
            # The virtual path makes the modules import each other by our package name.
            f"--proto_path={PACKAGE}={ROOT / 'gpuledger/v1'}",
            f"--proto_path={well_known}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
            f"{PACKAGE}/telemetry.proto",
        ],
    )
    if code:
        sys.exit(f"protoc failed with exit code {code}")


def stale(fresh: Path) -> list[str]:
    """Names of generated files that differ from what is checked in under ROOT."""
    return [
        path.name
        for path in sorted((fresh / PACKAGE).iterdir())
        if not (ROOT / PACKAGE / path.name).exists()
        or (ROOT / PACKAGE / path.name).read_bytes() != path.read_bytes()
    ]


def main() -> None:
    """Write, or with --check compare and exit 1 when stale."""
    if sys.argv[1:] != ["--check"]:
        generate(ROOT)
        return
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        names = stale(Path(scratch))
    if names:
        sys.exit(f"generated code is stale ({', '.join(names)}): run `make proto`")


if __name__ == "__main__":
    main()

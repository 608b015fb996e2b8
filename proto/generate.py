"""Generate `gpuledger_proto` from the `.proto` files beside, or check that it is fresh.

Usage: python proto/generate.py [--check]
"""

from __future__ import annotations

import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
PACKAGES = {
    "gpuledger_proto/v1": ROOT / "gpuledger/v1",
    "gpuledger_proto/kubernetes": ROOT / "kubernetes",
}
"""Generated package -> directory of its `.proto` files."""


def generate(target: Path) -> None:
    """Write the generated modules and their type stubs under `target`."""
    well_known = resources.files("grpc_tools") / "_proto"
    code = protoc.main(
        [
            "protoc",
            # The virtual paths make the modules import each other by our package names.
            *(f"--proto_path={package}={source}" for package, source in PACKAGES.items()),
            f"--proto_path={well_known}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
            *(
                f"{package}/{file.name}"
                for package, source in PACKAGES.items()
                for file in sorted(source.glob("*.proto"))
            ),
        ],
    )
    if code:
        sys.exit(f"protoc failed with exit code {code}")


def stale(fresh: Path) -> list[str]:
    """Names of generated files that differ from what is checked in under ROOT."""
    return [
        name
        for package in PACKAGES
        for name in sorted(f"{package}/{path.name}" for path in (fresh / package).iterdir())
        if not (ROOT / name).exists() or (ROOT / name).read_bytes() != (fresh / name).read_bytes()
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

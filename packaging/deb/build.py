"""Build the Debian packages: `python packaging/deb/build.py dist`, or make deb.

They hold their Python packages themselves, by the hashes of the images' locks, and fit the minor
version of the Python that runs this. SOURCE_DATE_EPOCH, by default the last commit, dates them.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from email.utils import formatdate
from hashlib import md5
from pathlib import Path
from textwrap import fill

ROOT = Path(__file__).parents[2]
DEB, SYSTEMD = ROOT / "packaging/deb", ROOT / "packaging/systemd"
LOCKS = ROOT / "packaging/container"
MAINTAINER = "The gpuledger maintainers <maintainers@gpuledger.invalid>"
PYTHON = sys.version_info[:2]
_INDENT = {"initial_indent": " ", "subsequent_indent": " "}
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@dataclass(frozen=True, slots=True)
class Package:
    """What one package is made of; `state` and `secrets` are what a purge removes."""

    name: str
    lock: str
    program: str
    module: str
    settings: str
    state: str
    secrets: str
    without: tuple[str, ...]
    summary: str
    description: str


AGENT = Package(
    name="gpuledger-agent",
    lock="agent.lock",
    program="gpuledger-agent",
    module="gpuledger_agent",
    settings="agent.toml",
    state="/var/lib/gpuledger-agent",
    secrets="/etc/gpuledger/agent",
    without=("gpuledger_collector", "gpuledger_sql"),
    summary="measures who uses the GPUs of this host",
    description="Asks NVIDIA's driver once a second which processes are on the GPUs and what they"
    " do, names their owners, and sends windows of that to a gpuledger collector.",
)
COLLECTOR = Package(
    name="gpuledger-collector",
    lock="collector.lock",
    program="gpuledger",
    module="gpuledger_collector",
    settings="collector.toml",
    state="/var/lib/gpuledger",
    secrets="/etc/gpuledger/collector",
    without=(),
    summary="keeps the books of GPUs in ClickHouse",
    description="Receives what gpuledger agents measured, commits it to ClickHouse, and keeps the"
    " hourly ledger fresh; and the command gpuledger, which plans, reports and declares.",
)


def build(package: Package, version: str, wheel: Path, out: Path) -> Path:
    """Write the package to the directory `out`."""
    architecture = _output("dpkg", "--print-architecture")
    made = out / f"{package.name}_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / package.name
        _libraries(package, tree / "usr/lib" / package.name, wheel)
        _files(package, tree)
        _documents(package, tree / "usr/share/doc" / package.name, version)
        _control(package, tree, version, architecture)
        _modes(tree)
        _run("dpkg-deb", "-Zxz", "--root-owner-group", "--build", tree, made)
    return made


def _libraries(package: Package, target: Path, wheel: Path) -> None:
    """The Python packages, without what never runs (programs, tests, types) or tells of here."""
    install = (*PIP, "install", "--target", target, "--no-compile", "--no-deps")
    lock = LOCKS / package.lock
    chosen = ("--require-hashes", "--only-binary", ":all:", "--requirement", lock)
    _run(*install, *chosen)
    _run(*install, "--upgrade", wheel)
    for name in ("bin", *package.without):
        shutil.rmtree(target / name, ignore_errors=True)
    for pattern in ("**/tests", "**/test"):
        for found in sorted(target.glob(pattern)):
            shutil.rmtree(found, ignore_errors=True)
    for pattern in ("**/*.pyi", "**/*.pyx", "**/*.pxd", "**/*.pxi", "**/*.[ch]", "**/py.typed",
                    "*.dist-info/direct_url.json", "*.dist-info/RECORD",
                    "*.dist-info/REQUESTED"):  # fmt: skip
        for found in target.glob(pattern):
            found.unlink()
    for source in target.glob("**/*.py"):
        if (text := source.read_bytes()).startswith(b"#!"):  # a module is no program
            source.write_bytes(text.partition(b"\n")[2])
    for library in target.glob("**/*.so*"):
        _run("strip", "--strip-unneeded", library)


def _files(package: Package, tree: Path) -> None:
    """Program, unit, user, directories and settings in their places."""
    name = package.name
    _write(tree / "usr/bin" / package.program, _filled("launcher", package), executable=True)
    for source, place in (
        (f"{name}.service", f"lib/systemd/system/{name}.service"),
        (f"{name}.sysusers", f"usr/lib/sysusers.d/{name}.conf"),
        (f"{name}.tmpfiles", f"usr/lib/tmpfiles.d/{name}.conf"),
        (package.settings, f"etc/gpuledger/{package.settings}"),
    ):
        _write(tree / place, (SYSTEMD / source).read_text())
    _write(tree / "usr/share/lintian/overrides" / name, _filled("lintian-overrides", package))


def _documents(package: Package, place: Path, version: str) -> None:
    date = formatdate(int(os.environ["SOURCE_DATE_EPOCH"]))
    entry = f"  * {version}: see CHANGELOG.md of the project.\n\n -- {MAINTAINER}  {date}\n"
    place.mkdir(parents=True)
    log = f"{package.name} ({version}) stable; urgency=medium\n\n{entry}"
    (place / "changelog.Debian.gz").write_bytes(gzip.compress(log.encode(), mtime=0))
    news = (ROOT / "CHANGELOG.md").read_bytes()
    (place / "changelog.gz").write_bytes(gzip.compress(news, mtime=0))
    _write(place / "copyright", (DEB / "copyright").read_text())
    if package is AGENT:
        shutil.copytree(SYSTEMD / "drop-ins", place / "examples")


def _control(package: Package, tree: Path, version: str, architecture: str) -> None:
    control = tree / "DEBIAN"
    size = sum(f.stat().st_size for f in tree.rglob("*") if f.is_file()) >> 10
    major, minor = PYTHON
    fields = {
        "Package": package.name,
        "Version": version,
        "Architecture": architecture,
        "Maintainer": MAINTAINER,
        "Section": "admin",
        "Priority": "optional",
        "Installed-Size": size,
        "Depends": f"python3 (>= {major}.{minor}~), python3 (<< {major}.{minor + 1}~),"
        " libc6 (>= 2.28), libstdc++6, systemd, init-system-helpers (>= 1.52)",
        "Description": f"{package.summary}\n{fill(package.description, 78, **_INDENT)}",
    }
    _write(control / "control", "".join(f"{name}: {value}\n" for name, value in fields.items()))
    _write(control / "conffiles", f"/etc/gpuledger/{package.settings}\n")
    for script in ("postinst", "prerm", "postrm"):
        _write(control / script, _filled(script, package), executable=True)
    files = sorted(f for f in tree.rglob("*") if f.is_file() and control not in f.parents)
    sums = (f"{md5(f.read_bytes()).hexdigest()}  {f.relative_to(tree)}\n" for f in files)  # noqa: S324  # what dpkg --verify compares
    _write(control / "md5sums", "".join(sums))


def _filled(template: str, package: Package) -> str:
    text = (DEB / template).read_text()
    for name in ("name", "module", "state", "secrets"):
        place = "PACKAGE" if name == "name" else name.upper()
        text = text.replace(f"@{place}@", getattr(package, name))
    return text


def _write(path: Path, text: str, *, executable: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755 if executable else 0o644)


def _modes(tree: Path) -> None:
    """As root would install them, whatever the umask here is."""
    programs = {tree / "usr/bin", tree / "DEBIAN"}
    for path in (tree, *tree.rglob("*")):
        executable = path.is_dir() or (path.parent in programs and os.access(path, os.X_OK))
        path.chmod(0o755 if executable else 0o644)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def _output(*command: str) -> str:
    return subprocess.check_output(command, cwd=ROOT, text=True).strip()


def main(out: Path, revision: str = "1") -> None:
    """Build both packages into `out`."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", _output("git", "log", "-1", "--format=%ct"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as wheels:
        _run(*PIP, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT)
        (wheel,) = Path(wheels).glob("gpuledger-*.whl")
        for package in (AGENT, COLLECTOR):
            build(package, f"{project['version']}-{revision}", wheel, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), *sys.argv[2:3])

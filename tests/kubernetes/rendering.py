"""What `kubectl kustomize` makes of packaging/kubernetes: the objects that a cluster is given."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "packaging" / "kubernetes"
BIN = Path(sys.executable).parent
NAMESPACE = "gpuledger"
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
MIGRATE = f"gpuledger-migrate-{VERSION}"

COMPONENTS = tuple(sorted(path.name for path in (SOURCE / "components").iterdir()))
EXAMPLES = tuple(sorted(path.name for path in (SOURCE / "examples").iterdir()))
VARIANTS = ("base", *EXAMPLES, *COMPONENTS)
"""The base, each example, and the example `site` with each of the components."""


@functools.cache
def tree() -> Path:
    """A copy of the manifests with secrets as `make-secrets` makes them, gone with this process."""
    folder = tempfile.TemporaryDirectory()
    _KEPT.append(folder)
    made = Path(folder.name) / "kubernetes"
    shutil.copytree(SOURCE, made)
    # A console script is found like its interpreter, whatever PATH the tests run with.
    env = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    subprocess.run(
        [made / "make-secrets", made / "examples/site/secrets"],
        env=env,
        check=True,
        capture_output=True,
    )
    return made


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def rendered(variant: str) -> tuple[Object, ...]:
    """All objects of one of VARIANTS. They are shared: leave them as they are."""
    if variant in COMPONENTS:
        return tuple(_kustomize(_with(tree() / "examples/site", variant)))
    return tuple(_kustomize(tree() / ("base" if variant == "base" else f"examples/{variant}")))


def of_kind(variant: str, *kinds: str) -> list[Object]:
    """The objects of these kinds."""
    return [one for one in rendered(variant) if one["kind"] in kinds]


def named(variant: str, kind: str, name: str) -> Object:
    """The one object of this kind and name."""
    (found,) = (one for one in of_kind(variant, kind) if one["metadata"]["name"] == name)
    return found


def pods(variant: str) -> Iterator[tuple[str, Object]]:
    """Name of each workload, and the template of its pods."""
    for one in of_kind(variant, "DaemonSet", "Deployment", "Job"):
        yield one["metadata"]["name"], one["spec"]["template"]


def agents(variant: str) -> list[Object]:
    """Specifications of the agents' pods, one a DaemonSet."""
    return [one["spec"]["template"]["spec"] for one in of_kind(variant, "DaemonSet")]


def others(variant: str) -> list[Object]:
    """Those of all other pods."""
    workloads = of_kind(variant, "Deployment", "Job")
    return [one["spec"]["template"]["spec"] for one in workloads]


def environment(container: Object) -> dict[str, str]:
    """Its variables, those of the pod's own fields by the field's name."""
    return {
        one["name"]: one["value"] if "value" in one else one["valueFrom"]["fieldRef"]["fieldPath"]
        for one in container.get("env", ())
    }


def _with(site: Path, component: str) -> Path:
    """An overlay of a site, whose parts it names by relative paths as kustomize wants it."""
    folder = site.parent / f"with-{component}"
    folder.mkdir(exist_ok=True)
    overlay = {"resources": ["../site"], "components": [f"../../components/{component}"]}
    if component == "autoscaling":  # the example has it already
        overlay = {"resources": ["../../base"], "components": ["../../components/autoscaling"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return folder


def _kustomize(folder: Path) -> Sequence[Object]:
    done = subprocess.run(
        [BIN / "kubectl", "kustomize", folder], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return list(yaml.safe_load_all(done.stdout))

"""An image made here, of Debian's static busybox: no registry is asked.

One tar holds it in both forms, as `docker save` writes since version 25: an OCI layout, and
`manifest.json` over the same blobs. So `podman load`, `docker load` of any version and
`ctr images import` all take it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
"""Of the package busybox-static: a program without libraries."""

IMAGE = "localhost/gpuledger-test:latest"
"""The name that all runtimes give it."""

APPLETS = ("sh", "sleep", "true", "cat", "env")

FOREVER = ("/bin/sleep", "1000000000")
"""What the image runs unless told otherwise. First in its container, only SIGKILL ends it."""

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


def build(
    path: Path, name: str = IMAGE, env: Sequence[str] = (), labels: Sequence[str] = ()
) -> Path:
    """Write the image as a tar to `path` and return it.

    `env` and `labels` are the image's own, as KEY=VALUE. The same arguments make the same bytes.
    """
    layer = _layer()
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Env": ["PATH=/bin", *env],
                "Cmd": list(FOREVER),
                "Labels": dict(label.split("=", 1) for label in labels),
                "StopSignal": "SIGKILL",
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "tests/runtimes"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_LAYER, layer)],
        }
    )
    names = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    index = {
        "schemaVersion": 2,
        "mediaType": _INDEX,
        "manifests": [{**_descriptor(_MANIFEST, manifest), "annotations": names}],
    }
    archive = {"Config": _blob(config), "RepoTags": [name], "Layers": [_blob(layer)]}
    with tarfile.open(path, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        for blob in (layer, config, manifest):
            _add(tar, _blob(blob), blob)
        _add(tar, "index.json", _json(index))
        _add(tar, "manifest.json", _json([archive]))
    return path


def _layer() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for directory in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        _add(tar, "bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _blob(data: bytes) -> str:
    return f"blobs/{_digest(data).replace(':', '/')}"


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}

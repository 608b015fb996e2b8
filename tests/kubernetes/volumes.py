"""What a pod's volumes hold, by name of the file."""

from __future__ import annotations

import base64

from tests.kubernetes.rendering import Object, named


def files(variant: str, volume: Object) -> dict[str, bytes]:
    """Names and contents of the files of a ConfigMap or a Secret; none, of a path of the host."""
    match volume:
        case {"configMap": {"name": name}}:
            found = named(variant, "ConfigMap", name)["data"]
            return {key: value.encode() for key, value in found.items()}
        case {"secret": {"secretName": "gpuledger-agent-tls"}}:  # cert-manager would make it
            return _secret("site", "gpuledger-collector-tls") | _authority()
        case {"secret": {"secretName": name}}:
            own = _secret(variant, name)
            issued = (variant, name) == ("cert-manager", "gpuledger-collector-tls")
            return own | _authority() if issued else own
    return {}


def _secret(variant: str, name: str) -> dict[str, bytes]:
    data = named(variant, "Secret", name)["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


def _authority() -> dict[str, bytes]:
    """What cert-manager puts beside a certificate."""
    return {"ca.crt": named("site", "ConfigMap", "gpuledger-ca")["data"]["ca.crt"].encode()}

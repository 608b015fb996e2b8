"""Kinds that are no part of Kubernetes, as far as we use them, in JSON Schema.

After the operators' references: monitoring.coreos.com/v1 and cert-manager.io/v1. No package that
ships their whole definitions installs by name without more than we want of it.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
DURATION: Schema = {"type": "string", "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", "minLength": 2}
MAP: Schema = {"type": "object", "additionalProperties": TEXT, "minProperties": 1}


def exactly(required: Schema, **optional: Schema) -> Schema:
    """An object of these fields and no others."""
    return {
        "type": "object",
        "properties": required | optional,
        "required": list(required),
        "additionalProperties": False,
    }


def some(one: Schema) -> Schema:
    """A list of at least one."""
    return {"type": "array", "items": one, "minItems": 1}


RELABELING = exactly(
    {"targetLabel": TEXT},
    sourceLabels=some(TEXT),
    action={"enum": ["replace", "keep", "drop", "labelmap"]},
)
ENDPOINT = exactly({"port": TEXT}, interval=DURATION, path=TEXT, relabelings=some(RELABELING))
SELECTOR = exactly({"matchLabels": MAP})
NAMED = exactly({"name": TEXT}, kind={"enum": ["Issuer", "ClusterIssuer"]})
USAGE = {"enum": ["digital signature", "key encipherment", "server auth", "client auth"]}
PRIVATE_KEY = exactly(
    {"algorithm": {"enum": ["ECDSA"]}, "size": {"enum": [256, 384, 521]}},
    rotationPolicy={"enum": ["Always", "Never"]},
)

SPECIFICATIONS = {
    "ServiceMonitor": exactly({"selector": SELECTOR, "endpoints": some(ENDPOINT)}),
    "PodMonitor": exactly({"selector": SELECTOR, "podMetricsEndpoints": some(ENDPOINT)}),
    "Issuer": {
        "oneOf": [
            exactly({"selfSigned": {"type": "object", "maxProperties": 0}}),
            exactly({"ca": exactly({"secretName": TEXT})}),
        ]
    },
    "Certificate": exactly(
        {"secretName": TEXT, "issuerRef": NAMED},
        # One that names nobody is refused.
        commonName={**TEXT, "maxLength": 64},
        dnsNames=some(TEXT),
        isCA={"type": "boolean"},
        usages=some(USAGE),
        duration=DURATION,
        renewBefore=DURATION,
        privateKey=PRIVATE_KEY,
    )
    | {"anyOf": [{"required": ["commonName"]}, {"required": ["dnsNames"]}]},
}
"""Kind -> what its `spec` must look like."""

GROUPS = {
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "Issuer": "cert-manager.io/v1",
    "Certificate": "cert-manager.io/v1",
}


def schema(kind: str) -> Schema:
    """The schema of a whole object."""
    metadata = exactly({"name": TEXT, "namespace": TEXT}, labels=MAP)
    return exactly(
        {
            "apiVersion": {"const": GROUPS[kind]},
            "kind": {"const": kind},
            "metadata": metadata,
            "spec": SPECIFICATIONS[kind],
        }
    )

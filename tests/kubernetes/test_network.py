"""Who may speak to whom, by the NetworkPolicies as Kubernetes adds them up."""

from __future__ import annotations

import pytest

from tests.kubernetes.rendering import MIGRATE, VARIANTS, Object, of_kind
from tests.kubernetes.test_wiring import labels, matches

Peer = tuple[str, Object]
"""Namespace and labels of a pod."""

PROMETHEUS: Peer = ("monitoring", {"app": "prometheus"})
CLICKHOUSE: Peer = ("clickhouse", {"app": "clickhouse"})
STRANGER: Peer = ("default", {"app.kubernetes.io/name": "gpuledger-agent"})
NAMES: Peer = ("kube-system", {"k8s-app": "kube-dns"})


def ours(variant: str) -> dict[str, Peer]:
    return {name: ("gpuledger", own) for name, own in labels(variant).items()}


def allowed(variant: str, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is let through, at both of its ends."""
    policies = of_kind(variant, "NetworkPolicy")
    ends = (("Egress", source, target), ("Ingress", target, source))
    return all(_passes(policies, way, *end, port, protocol) for way, *end in ends)


def _passes(
    policies: list[Object], way: str, own: Peer, other: Peer, port: int, protocol: str
) -> bool:
    """Whether the policies of one end let it through: all do, where none is for this end."""
    meant = [
        one["spec"]
        for one in policies
        if own[0] == one["metadata"]["namespace"]
        and way in one["spec"]["policyTypes"]
        and matches(one["spec"]["podSelector"], own[1])
    ]
    side = "to" if way == "Egress" else "from"
    return not meant or any(
        {"protocol": protocol, "port": port} in rule["ports"]
        and (side not in rule or any(_is(peer, other) for peer in rule[side]))
        for spec in meant
        for rule in spec.get(way.lower(), ())
    )


def _is(peer: Object, other: Peer) -> bool:
    namespace, own = other
    if "namespaceSelector" in peer:
        of_namespace = {"kubernetes.io/metadata.name": namespace}
        return matches(peer["namespaceSelector"], of_namespace) and matches(
            peer.get("podSelector", {}), own
        )
    return namespace == "gpuledger" and matches(peer["podSelector"], own)


@pytest.mark.parametrize("variant", VARIANTS)
def test_network_when_agents_and_collectors_work_then_they_can(variant: str) -> None:
    pods = ours(variant)
    collector = pods["gpuledger-collector"]
    found = [name for name in pods if name.startswith("gpuledger-agent")]
    assert found
    for name in found:
        assert allowed(variant, pods[name], collector, 7670)
        assert allowed(variant, PROMETHEUS, pods[name], 7672)
    assert allowed(variant, PROMETHEUS, collector, 7671)
    assert allowed(variant, collector, CLICKHOUSE, 8123)
    assert allowed(variant, pods[MIGRATE], CLICKHOUSE, 8123)
    for pod in pods.values():
        assert allowed(variant, pod, NAMES, 53, "UDP")


@pytest.mark.parametrize("variant", VARIANTS)
def test_network_when_anybody_else_tries_then_it_is_closed(variant: str) -> None:
    pods = ours(variant)
    collector = pods["gpuledger-collector"]
    assert not allowed(variant, STRANGER, collector, 7670)
    assert not allowed(variant, STRANGER, collector, 7671)
    assert not allowed(variant, PROMETHEUS, collector, 7670)
    for name, pod in pods.items():
        assert not allowed(variant, STRANGER, pod, 7672)
        assert not allowed(variant, collector, pod, 7672)
        if name.startswith("gpuledger-agent"):
            assert not allowed(variant, pod, CLICKHOUSE, 8123)
            assert not allowed(variant, pod, collector, 7671)
            assert not allowed(variant, pod, STRANGER, 443)

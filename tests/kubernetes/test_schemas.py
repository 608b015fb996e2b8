"""Every object that is rendered is one that a cluster would take."""

from __future__ import annotations

import copy

import kubernetes_validate
import pytest
from jsonschema import Draft202012Validator

from tests.kubernetes.custom import GROUPS, schema
from tests.kubernetes.rendering import VARIANTS, Object, named, of_kind, rendered

VERSIONS = ("1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
"""Of Kubernetes. appArmorProfile, which the agent needs, is a field since 1.30."""


def distinct() -> list[Object]:
    """Every object of every variant, those that are alike once, without the custom ones."""
    found = {str(one): one for variant in VARIANTS for one in rendered(variant)}
    return [one for one in found.values() if one["kind"] not in GROUPS]


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_when_held_against_kubernetes_own_schemas_then_each_is_valid(version: str) -> None:
    objects = distinct()
    assert {"DaemonSet", "Deployment", "Job", "NetworkPolicy"} <= {one["kind"] for one in objects}
    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_schemas_when_a_field_is_misspelt_then_they_refuse_it(version: str) -> None:
    daemonset = copy.deepcopy(named("base", "DaemonSet", "gpuledger-agent"))
    daemonset["spec"]["template"]["spec"]["hostPid"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="hostPid"):
        kubernetes_validate.validate(daemonset, version, strict=True)


@pytest.mark.parametrize(
    ("variant", "kinds"),
    [
        ("monitoring", ["PodMonitor", "ServiceMonitor"]),
        ("cert-manager", ["Certificate", "Certificate", "Certificate", "Issuer", "Issuer"]),
    ],
)
def test_custom_objects_when_held_against_their_schemas_then_each_is_valid(
    variant: str, kinds: list[str]
) -> None:
    custom = of_kind(variant, *GROUPS)
    assert sorted(one["kind"] for one in custom) == kinds
    for one in custom:
        Draft202012Validator(schema(one["kind"])).validate(one)


@pytest.mark.parametrize("variant", ["base", "site", "two-pools"])
def test_objects_when_no_component_is_taken_then_no_operator_is_needed(variant: str) -> None:
    assert not of_kind(variant, *GROUPS)

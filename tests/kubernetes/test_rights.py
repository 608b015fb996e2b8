"""What pods may do: nothing, but for what the agent cannot do without."""

from __future__ import annotations

import pytest

from tests.kubernetes.rendering import (
    MIGRATE,
    NAMESPACE,
    VARIANTS,
    Object,
    agents,
    of_kind,
    others,
    pods,
    rendered,
)

AGENT_CAPABILITIES = {"DAC_READ_SEARCH", "SYS_PTRACE", "SYS_ADMIN"}
RUNTIMES = {"cri-o": "/run/crio", "k3s": "/run/k3s/containerd"}
HARMLESS = {"configMap", "secret", "emptyDir", "projected", "downwardAPI"}


def containers(variant: str) -> list[Object]:
    found = [one for _, pod in pods(variant) for one in pod["spec"]["containers"]]
    assert len(found) >= 3
    return found


def secrets(pod: Object) -> set[str]:
    return {one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}


def host_paths(pod: Object) -> dict[str, Object]:
    return {one["name"]: one["hostPath"] for one in pod["volumes"] if "hostPath" in one}


@pytest.mark.parametrize("variant", VARIANTS)
def test_containers_when_rendered_then_each_is_confined(variant: str) -> None:
    for one in containers(variant):
        context = one["securityContext"]
        assert not context.get("privileged")
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"]["drop"] == ["ALL"]
    for _, pod in pods(variant):
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_containers_when_rendered_then_each_has_requests_and_limits(variant: str) -> None:
    for one in containers(variant):
        for side in ("requests", "limits"):
            assert set(one["resources"][side]) == {"cpu", "memory"}  # and no GPU


@pytest.mark.parametrize("variant", VARIANTS)
def test_pods_when_rendered_then_they_have_no_word_with_the_api_server(variant: str) -> None:
    for _, pod in pods(variant):
        assert pod["spec"]["automountServiceAccountToken"] is False
        # Variables of Services begin like our settings: GPULEDGER_COLLECTOR_PORT.
        assert pod["spec"]["enableServiceLinks"] is False
    assert not of_kind(variant, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


@pytest.mark.parametrize("variant", VARIANTS)
def test_secrets_when_rendered_then_they_are_files_and_never_variables(variant: str) -> None:
    for one in containers(variant):
        assert "envFrom" not in one
        for variable in one.get("env", ()):
            assert set(variable.get("valueFrom", {"fieldRef": {}})) == {"fieldRef"}
    for _, pod in pods(variant):
        for volume in pod["spec"]["volumes"]:
            if "secret" in volume:
                assert not volume["secret"]["defaultMode"] & 0o007


def test_secrets_when_a_site_is_rendered_then_no_other_object_shows_one() -> None:
    values = [
        value for one in of_kind("site", "Secret") for value in (one.get("data") or {}).values()
    ]
    assert len(values) == 6
    rest = str([one for one in rendered("site") if one["kind"] != "Secret"])
    assert not [value for value in values if value in rest]


@pytest.mark.parametrize("variant", VARIANTS)
def test_mounts_when_rendered_then_all_but_the_spool_are_read_only(variant: str) -> None:
    writable = [
        mount["mountPath"]
        for one in containers(variant)
        for mount in one["volumeMounts"]
        if not mount.get("readOnly")
    ]
    assert writable == ["/var/lib/gpuledger-agent"] * len(agents(variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_agents_when_containers_on_their_node_end_then_they_hold_none_of_their_mounts(
    variant: str,
) -> None:
    for pod in agents(variant):
        (container,) = pod["containers"]
        spread = {one["name"]: one.get("mountPropagation") for one in container["volumeMounts"]}
        assert spread.pop("runtime", "HostToContainer") == "HostToContainer"
        assert set(spread.values()) == {None}


@pytest.mark.parametrize("variant", VARIANTS)
def test_agents_when_rendered_then_they_have_what_they_need_and_no_more(variant: str) -> None:
    lacking = {"runtime", "SYS_ADMIN"} if variant == "without-runtime" else set()
    for pod in agents(variant):
        (container,) = pod["containers"]
        context = container["securityContext"]
        assert set(context["capabilities"]["add"]) == AGENT_CAPABILITIES - lacking
        assert pod["hostPID"] is True
        assert not {"hostNetwork", "hostIPC", "initContainers"} & pod.keys()
        assert {name: path["path"] for name, path in host_paths(pod).items()} == {
            name: path
            for name, path in {
                "spool": "/var/lib/gpuledger-agent",
                "runtime": RUNTIMES.get(variant, "/run/containerd"),
                "pod-resources": "/var/lib/kubelet/pod-resources",
            }.items()
            if name not in lacking
        }


@pytest.mark.parametrize("variant", VARIANTS)
def test_pods_when_they_are_no_agents_then_they_meet_the_restricted_standard(variant: str) -> None:
    for pod in others(variant):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["fsGroup"] == context["runAsUser"]  # whose files the secrets are
        assert not {"hostPID", "hostNetwork", "hostIPC", "runtimeClassName"} & pod.keys()
        assert {kind for one in pod["volumes"] for kind in one.keys() - {"name"}} <= HARMLESS
        for container in pod["containers"]:
            confined = container["securityContext"]
            assert "add" not in confined["capabilities"]
            assert "runAsUser" not in confined
            assert not {"appArmorProfile", "seLinuxOptions"} & confined.keys()
            assert not [port for port in container.get("ports", ()) if "hostPort" in port]


@pytest.mark.parametrize("variant", VARIANTS)
def test_agents_when_a_node_is_lost_to_an_attacker_then_no_secret_of_the_collectors_is_there(
    variant: str,
) -> None:
    """A node's kubelet may read whatever its pods name, mounted in part or in whole."""
    on_nodes = {secret for pod in agents(variant) for secret in secrets(pod)}
    elsewhere = {secret for pod in others(variant) for secret in secrets(pod)}
    assert on_nodes
    assert elsewhere
    assert not on_nodes & elsewhere
    assert "gpuledger-ca" not in on_nodes  # a ConfigMap, or cert-manager's own key


@pytest.mark.parametrize("variant", VARIANTS)
def test_collectors_when_rendered_then_none_has_the_right_to_change_the_schema(
    variant: str,
) -> None:
    whose = {
        name: secrets(pod["spec"]) for name, pod in pods(variant) if "agent" not in name
    }  # fmt: skip
    with_rights = [name for name, held in whose.items() if "gpuledger-clickhouse-migrate" in held]
    assert with_rights == [MIGRATE]


def test_namespace_when_rendered_then_it_says_what_its_pods_need() -> None:
    (one,) = of_kind("base", "Namespace")
    assert one["metadata"]["name"] == NAMESPACE
    assert one["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"

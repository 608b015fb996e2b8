"""Objects name one another by labels, names and ports: they must be the same at both ends."""

from __future__ import annotations

import tomllib

import pytest

from gpuledger_agent.config import host_port
from gpuledger_collector import serve
from tests.kubernetes.rendering import (
    MIGRATE,
    NAMESPACE,
    VARIANTS,
    VERSION,
    Object,
    agents,
    named,
    of_kind,
    others,
    pods,
    rendered,
)
from tests.kubernetes.test_settings import agent_toml

CLUSTER_WIDE = {"Namespace", "PriorityClass"}


def labels(variant: str) -> dict[str, Object]:
    """Labels of each workload's pods."""
    return {name: pod["metadata"]["labels"] for name, pod in pods(variant)}


def chosen(selector: Object, among: dict[str, Object]) -> set[str]:
    """Whom a label selector means."""
    return {name for name, own in among.items() if matches(selector, own)}


def matches(selector: Object, own: Object) -> bool:
    wanted = selector.get("matchLabels", {})
    return wanted.items() <= own.items() and all(
        own.get(one["key"]) in one["values"] and one["operator"] == "In"
        for one in selector.get("matchExpressions", ())
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_workloads_when_rendered_then_each_selects_its_own_pods_alone(variant: str) -> None:
    for one in of_kind(variant, "DaemonSet", "Deployment"):
        assert chosen(one["spec"]["selector"], labels(variant)) == {one["metadata"]["name"]}


@pytest.mark.parametrize("variant", VARIANTS)
def test_service_and_budget_when_rendered_then_they_select_the_collectors(variant: str) -> None:
    for kind in ("Service", "PodDisruptionBudget"):
        (one,) = of_kind(variant, kind)
        selector = one["spec"]["selector"]
        by_labels = {"matchLabels": selector} if kind == "Service" else selector
        assert chosen(by_labels, labels(variant)) == {"gpuledger-collector"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_objects_when_rendered_then_all_are_in_the_one_namespace(variant: str) -> None:
    for one in rendered(variant):
        if one["kind"] not in CLUSTER_WIDE:
            assert one["metadata"].get("namespace") == NAMESPACE, one["metadata"]["name"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_when_rendered_then_they_are_of_this_version(variant: str) -> None:
    for pod in (*agents(variant), *others(variant)):
        for container in pod["containers"]:
            assert container["image"].rpartition(":")[2] == VERSION
    assert named(variant, "Job", MIGRATE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_when_rendered_then_what_pods_want_is_there(variant: str) -> None:
    made = {(one["kind"], one["metadata"]["name"]) for one in rendered(variant)}
    for pod in (*agents(variant), *others(variant)):
        assert ("ServiceAccount", pod["serviceAccountName"]) in made
        if "priorityClassName" in pod:
            assert ("PriorityClass", pod["priorityClassName"]) in made
    assert all(one["priorityClassName"] == "gpuledger-agent" for one in agents(variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_ports_when_rendered_then_settings_probes_and_service_agree(variant: str) -> None:
    collector = named(variant, "Deployment", "gpuledger-collector")["spec"]["template"]["spec"]
    (service,) = of_kind(variant, "Service")
    (config,) = (v["configMap"]["name"] for v in collector["volumes"] if "configMap" in v)
    told = tomllib.loads(named(variant, "ConfigMap", config)["data"]["collector.toml"])["serve"]
    assert host_port(told["listen"]) == ("0.0.0.0", 7670)
    assert host_port(told["metrics"]) == ("0.0.0.0", 7671)
    for pod in (collector, *agents(variant)):
        (container,) = pod["containers"]
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == "metrics"
        if pod is collector:
            assert {one["name"]: one["port"] for one in service["spec"]["ports"]} == ports
            assert {one["targetPort"] for one in service["spec"]["ports"]} == set(ports)
            assert ports == {"grpc": 7670, "metrics": 7671}
        else:
            assert ports == {"metrics": 7672}
    for pod in agents(variant):
        settings = tomllib.loads(agent_toml(variant, pod))
        name = f"{service['metadata']['name']}.{NAMESPACE}.svc"
        assert host_port(settings["collector"]) == (name, 7670)
        assert host_port(settings["metrics"]) == ("0.0.0.0", 7672)


@pytest.mark.parametrize("variant", VARIANTS)
def test_migration_when_settings_change_then_its_job_need_not(variant: str) -> None:
    """A Job cannot be changed, so a hash in its ConfigMap's name would stop `kubectl apply`."""
    job = named(variant, "Job", MIGRATE)
    (config,) = (
        one["configMap"]["name"]
        for one in job["spec"]["template"]["spec"]["volumes"]
        if "configMap" in one
    )
    assert config == "gpuledger-migrate"
    (collectors,) = (
        one["data"]
        for one in of_kind(variant, "ConfigMap")
        if one["metadata"]["name"].startswith("gpuledger-collector-")
    )
    assert named(variant, "ConfigMap", config)["data"] == collectors


def test_probes_when_a_store_is_away_then_only_readiness_asks_for_it() -> None:
    """A liveness that fails with ClickHouse would restart all collectors at once, for nothing."""
    for _, pod in pods("base"):
        for container in pod["spec"]["containers"]:
            if "livenessProbe" in container:
                assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
                assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
                assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_collectors_when_they_are_replaced_or_drained_then_one_is_always_there() -> None:
    spec = named("base", "Deployment", "gpuledger-collector")["spec"]
    (budget,) = of_kind("base", "PodDisruptionBudget")
    assert spec["replicas"] > budget["spec"]["maxUnavailable"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > 2 * serve.DRAIN_S


def test_collectors_when_scaled_by_load_then_nobody_else_says_how_many() -> None:
    (scaler,) = of_kind("autoscaling", "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    deployment = named("autoscaling", target["kind"], target["name"])
    assert target["apiVersion"] == deployment["apiVersion"]
    assert "replicas" not in deployment["spec"]
    (budget,) = of_kind("autoscaling", "PodDisruptionBudget")
    assert scaler["spec"]["minReplicas"] > budget["spec"]["maxUnavailable"]


def test_monitors_when_rendered_then_they_select_what_has_metrics() -> None:
    (service,) = of_kind("monitoring", "ServiceMonitor")
    own = {one["metadata"]["name"]: one["metadata"]["labels"] for one in of_kind("base", "Service")}
    assert chosen(service["spec"]["selector"], own) == {"gpuledger-collector"}
    (of_pods,) = of_kind("monitoring", "PodMonitor")
    assert chosen(of_pods["spec"]["selector"], labels("monitoring")) == {"gpuledger-agent"}
    endpoints = (*service["spec"]["endpoints"], *of_pods["spec"]["podMetricsEndpoints"])
    assert [one["port"] for one in endpoints] == ["metrics", "metrics"]


def test_pools_when_there_are_two_then_each_node_has_the_agent_of_its_pool() -> None:
    found = {}
    for one in of_kind("two-pools", "DaemonSet"):
        pod = one["spec"]["template"]["spec"]
        settings = tomllib.loads(agent_toml("two-pools", pod))
        found[pod["nodeSelector"]["pool"]] = settings["pool"]
    assert found == {"production": "production", "experiment": "experiment"}


@pytest.mark.parametrize("variant", ["base", "site", "without-runtime"])
def test_agents_when_nodes_are_tainted_then_they_are_on_every_gpu_node(variant: str) -> None:
    (pod,) = agents(variant)
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "nvidia.com/gpu.present": "true"}
    assert pod["runtimeClassName"] == "nvidia"
    (priority,) = of_kind(variant, "PriorityClass")
    assert priority["preemptionPolicy"] == "Never"  # never a job for it

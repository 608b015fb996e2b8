"""The rules that come with the agent, against labels as real systems put them on."""

from __future__ import annotations

import pytest

from gpuledger_agent.attribution.rules import FIELDS, NAMES, Evidence
from gpuledger_agent.attribution.rules_file import built_in, load

CASES: dict[str, tuple[Evidence, dict[str, str]]] = {
    "a process that says all itself": (
        Evidence("environment", environ={f"GPULEDGER_{f.upper()}": f"my {f}" for f in FIELDS}),
        {field: f"my {field}" for field in FIELDS},
    ),
    "a pod labelled for gpuledger": (
        Evidence(
            "cri",
            labels={f"gpuledger.io/{f}": f"my {f}" for f in FIELDS} | {"team": "another"},
        ),
        {field: f"my {field}" for field in FIELDS},
    ),
    "a container with plain labels": (
        Evidence(
            "docker",
            labels={
                "team": "search",
                "model": "ranker",
                "endpoint": "rank",
                "use-case": "web",
                "pool": "production",
                "cost-center": "4711",
            },
        ),
        {
            "team": "search",
            "model": "ranker",
            "endpoint": "rank",
            "use_case": "web",
            "pool": "production",
        },
    ),
    "a container that names a cost center only": (
        Evidence("docker", labels={"cost-center": "4711"}),
        {"team": "4711"},
    ),
    "a Run:ai workload": (
        Evidence(
            "cri",
            namespace="runai-team-a",
            labels={"project": "team-a", "user": "ann", "workloadName": "jupyter1"},
        ),
        {"team": "team-a"},
    ),
    "a Run:ai workload in a namespace of its own": (
        Evidence(
            "cri", namespace="ml", labels={"runai/queue": "team-a-default", "project": "team-a"}
        ),
        {"team": "team-a"},
    ),
    "a project label of somebody else": (
        Evidence("cri", namespace="web", labels={"project": "relaunch"}),
        {},
    ),
    "a pod of a job in Kueue": (
        Evidence(
            "cri",
            labels={
                "batch.kubernetes.io/job-name": "sample-job-4b2kx",
                "kueue.x-k8s.io/podset": "main",
                "kueue.x-k8s.io/cluster-queue-name": "gpu-cluster",
                "kueue.x-k8s.io/local-queue-name": "team-a",
            },
        ),
        {"team": "team-a"},
    ),
    "a pod of a job in Kueue's default queue": (
        Evidence(
            "cri",
            labels={
                "kueue.x-k8s.io/queue-name": "default",
                "kueue.x-k8s.io/local-queue-name": "default",
            },
        ),
        {},
    ),
    "a pod of KAI-Scheduler": (
        Evidence("cri", labels={"kai.scheduler/queue": "team-a"}),
        {"team": "team-a"},
    ),
    "a pod of KAI-Scheduler's default queue": (
        Evidence("cri", labels={"kai.scheduler/queue": "default-queue"}),
        {},
    ),
    "a pod of a Volcano job": (
        Evidence(
            "cri", labels={"volcano.sh/job-name": "train-7", "volcano.sh/queue-name": "team-a"}
        ),
        {"team": "team-a"},
    ),
    "a Slurm job": (
        Evidence(
            "slurm",
            kind="slurm_job",
            name="4242",
            labels={
                "slurm/account": "physics",
                "slurm/partition": "gpu",
                "slurm/job-name": "train.sh",
                "slurm/user": "ann",
                "slurm/qos": "normal",
            },
            user="ann",
        ),
        {"team": "physics"},
    ),
    "a container that poses as a Slurm job": (
        Evidence("docker", labels={"slurm/account": "physics"}),
        {},
    ),
    "a decode pod of llm-d": (
        Evidence(
            "cri",
            labels={
                "llm-d.ai/inferenceServing": "true",
                "llm-d.ai/model": "qwen3-32b",
                "llm-d.ai/role": "decode",
            },
        ),
        {"model": "qwen3-32b"},
    ),
    "a pod of AIBrix": (
        Evidence("cri", labels={"model.aibrix.ai/name": "deepseek-llm-7b-chat"}),
        {"model": "deepseek-llm-7b-chat"},
    ),
    "a predictor of KServe": (
        Evidence(
            "cri",
            labels={
                "app": "isvc.sklearn-iris-predictor",
                "component": "predictor",
                "serving.kserve.io/inferenceservice": "sklearn-iris",
            },
        ),
        {"model": "sklearn-iris", "endpoint": "sklearn-iris"},
    ),
    "a workload of KServe's LLMInferenceService": (
        Evidence(
            "cri",
            labels={
                "app.kubernetes.io/component": "llminferenceservice-workload",
                "app.kubernetes.io/name": "qwen3-coder-fp8",
                "app.kubernetes.io/part-of": "llminferenceservice",
                "kserve.io/component": "workload",
                "llm-d.ai/role": "both",
            },
        ),
        {"model": "qwen3-coder-fp8", "endpoint": "qwen3-coder-fp8"},
    ),
    "an engine of vLLM's production stack": (
        Evidence(
            "cri",
            labels={
                "model": "llama3",
                "helm-release-name": "vllm",
                "environment": "test",
                "release": "test",
            },
        ),
        {"model": "llama3", "endpoint": "vllm"},
    ),
    "any other Helm release": (
        Evidence("cri", labels={"helm-release-name": "grafana"}),
        {},
    ),
    "a worker of NVIDIA Dynamo": (
        Evidence("cri", labels={"nvidia.com/dynamo-graph-deployment-name": "vllm-agg"}),
        {"endpoint": "vllm-agg"},
    ),
    "a worker of a RayService": (
        Evidence(
            "cri",
            labels={
                "app.kubernetes.io/created-by": "kuberay-operator",
                "app.kubernetes.io/name": "kuberay",
                "ray.io/cluster": "rayservice-sample-raycluster-pn4cd",
                "ray.io/group": "small-group",
                "ray.io/is-ray-node": "yes",
                "ray.io/node-type": "worker",
            },
        ),
        {"endpoint": "rayservice-sample-raycluster-pn4cd"},
    ),
    "a worker of Ray that bears the lasting name": (
        Evidence(
            "cri",
            labels={
                "ray.io/cluster": "rayservice-sample-raycluster-pn4cd",
                "ray.io/originated-from-cr-name": "rayservice-sample",
            },
        ),
        {"endpoint": "rayservice-sample"},
    ),
    "a worker of Kubeflow's training operator": (
        Evidence(
            "cri",
            labels={
                "training.kubeflow.org/job-name": "imagenet-16gpu",
                "training.kubeflow.org/replica-type": "worker",
            },
        ),
        {"use_case": "training"},
    ),
    "a pod with the recommended labels": (
        Evidence(
            "cri",
            labels={
                "app.kubernetes.io/name": "triton",
                "app.kubernetes.io/instance": "triton-search",
                "app.kubernetes.io/component": "server",
                "app.kubernetes.io/part-of": "search-web",
            },
        ),
        {"endpoint": "triton-search", "use_case": "search-web"},
    ),
    "a container of Docker Compose": (
        Evidence(
            "docker",
            labels={
                "com.docker.compose.project": "chatbot",
                "com.docker.compose.service": "vllm",
                "com.docker.compose.oneoff": "False",
            },
        ),
        {"endpoint": "vllm", "use_case": "chatbot"},
    ),
    "a process that says where its metrics are": (
        Evidence("environment", environ={"GPULEDGER_METRICS": "9000/stats"}),
        {"metrics": "9000/stats"},
    ),
    "a pod that says so, for gpuledger and for Prometheus": (
        Evidence(
            "cri",
            labels={
                "gpuledger.io/metrics": "8000",
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "9400",
            },
        ),
        {"metrics": "8000"},
    ),
    "a pod annotated for Prometheus": (
        Evidence(
            "cri",
            labels={
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "8002",
                "prometheus.io/path": "/v2/metrics",
            },
        ),
        {"metrics": "8002/v2/metrics"},
    ),
    "a pod annotated with a port alone": (
        Evidence("cri", labels={"prometheus.io/scrape": "true", "prometheus.io/port": "8002"}),
        {"metrics": "8002"},
    ),
    "a pod annotated with a path alone": (
        Evidence("cri", labels={"prometheus.io/scrape": "true", "prometheus.io/path": "/m"}),
        {"metrics": "/m"},
    ),
    "a pod that is not to be scraped": (
        Evidence("cri", labels={"prometheus.io/scrape": "false", "prometheus.io/port": "8002"}),
        {"metrics": "off"},
    ),
    "a pod with a port that nobody asks for": (
        Evidence("cri", labels={"prometheus.io/port": "8002"}),
        {},
    ),
    "a host's labels of environment and owner": (
        Evidence("cri", namespace="web", labels={"environment": "prod", "owner": "ann"}),
        {},
    ),
}


def plain(_: str, value: str) -> str:
    return value


@pytest.mark.parametrize("case", CASES)
def test_built_in_rules_when_a_workload_is_labelled_as_is_usual_then_its_owner_is_known(
    case: str,
) -> None:
    evidence, owner = CASES[case]
    named = load().apply([evidence], plain)
    assert {field: one.value for field, one in named.items()} == owner


def test_built_in_rules_when_all_cases_are_tried_then_each_rule_has_named_something() -> None:
    used = {
        one.rule
        for evidence, _ in CASES.values()
        for one in load().apply([evidence], plain).values()
    }
    assert used == {rule.name for rule in built_in()}


def test_built_in_rules_when_a_later_source_states_what_an_earlier_suggests_then_it_counts() -> (
    None
):
    composed = Evidence("docker", labels={"com.docker.compose.service": "app"})
    stated = Evidence("cri", labels={"gpuledger.io/endpoint": "chat"})
    assert load().apply([composed, stated], plain)["endpoint"].value == "chat"


def test_built_in_rules_when_read_then_variables_of_others_are_of_no_interest() -> None:
    assert load().variables() == {f"GPULEDGER_{field.upper()}" for field in NAMES}
    assert not load().wants_command

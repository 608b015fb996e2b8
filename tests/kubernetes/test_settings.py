"""The settings that pods are given are settings that the commands take, and find their files."""

from __future__ import annotations

import base64
import os
import tomllib
from pathlib import Path

import click
import pytest
from cryptography import x509

from gpuledger_agent import options
from gpuledger_agent.attribution.sources import SOCKETS
from gpuledger_agent.cli import cli as agent_cli
from gpuledger_agent.config import DEFAULT_SPOOL, AgentConfig, host_port
from gpuledger_agent.pem import load
from gpuledger_collector.cli import cli as collector_cli
from tests.kubernetes.rendering import MIGRATE, VARIANTS, Object, agents, environment, named, others
from tests.kubernetes.volumes import files

SITES = [variant for variant in VARIANTS if variant not in {"base", "two-pools", "autoscaling"}]
"""Those with their secrets; what cert-manager makes is put in their place."""


class Mounted:
    """The files of a pod's only container, below a directory that stands for its root."""

    def __init__(self, variant: str, pod: Object, root: Path) -> None:
        (self.container,) = pod["containers"]
        self.root = root
        volumes = {one["name"]: one for one in pod["volumes"]}
        for mount in self.container["volumeMounts"]:
            volume = volumes.pop(mount["name"])
            folder = root / mount["mountPath"].lstrip("/")
            folder.mkdir(parents=True)
            for name, content in files(variant, volume).items():
                # The paths in settings are made those below the root.
                folder.joinpath(name).write_bytes(
                    content.replace(b'"/run/', f'"{root}/run/'.encode())
                )
        assert not volumes, f"volumes that are mounted nowhere: {list(volumes)}"

    def context(self, command: click.Command, settings: str) -> click.Context:
        """The command as the container would run it, up to where it would begin to work."""
        env = {
            name: value.replace("/run/", f"{self.root}/run/", 1) if value[0] == "/" else value
            for name, value in environment(self.container).items()
        }
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("GPULEDGER_")]:
                patch.delenv(name)  # those of tests that ran before in this process
            for name, value in env.items():
                patch.setenv(name, value)
            (subcommand,) = self.container["args"]
            parent = command.make_context(
                "command", ["--config", str(self.root / "etc/gpuledger" / settings), subcommand]
            )
            assert isinstance(command, click.Group)
            found = command.get_command(parent, subcommand)
            assert found is not None
            return found.make_context(subcommand, [], parent=parent)


def agent_config(mounted: Mounted) -> AgentConfig:
    return options._config(mounted.context(agent_cli, "agent.toml").params)


@pytest.mark.parametrize("variant", SITES)
def test_agent_when_given_its_pods_settings_then_it_takes_them(
    variant: str, tmp_path: Path
) -> None:
    (pod,) = agents(variant)
    config = agent_config(Mounted(variant, pod, tmp_path))
    assert config.collectors == ("gpuledger-collector.gpuledger.svc:7670",)
    assert config.host == "spec.nodeName"
    assert (config.cluster, config.pool) == ("dc1", "production")
    assert config.scrape is (variant != "without-runtime")
    assert config.insecure is False
    assert config.spool == DEFAULT_SPOOL
    assert config.trust.tls is not None
    assert load(config.trust.tls).ca
    assert bool(load(config.trust.tls).certificate) is (variant == "cert-manager")


@pytest.mark.parametrize("variant", SITES)
def test_agent_when_it_shows_its_token_then_the_collector_knows_it(
    variant: str, tmp_path: Path
) -> None:
    (agent,) = agents(variant)
    token = agent_config(Mounted(variant, agent, tmp_path / "a")).trust.token
    collector = Mounted(variant, others(variant)[0], tmp_path / "c")
    tokens = collector.context(collector_cli, "collector.toml").params["token_file"]
    assert token is not None
    assert token.read_bytes() == tokens.read_bytes()
    assert len(token.read_text().strip()) == 64


@pytest.mark.parametrize("variant", SITES)
def test_collector_when_given_its_pods_settings_then_it_takes_them(
    variant: str, tmp_path: Path
) -> None:
    pod = named(variant, "Deployment", "gpuledger-collector")["spec"]["template"]["spec"]
    given = Mounted(variant, pod, tmp_path).context(collector_cli, "collector.toml").params
    assert given["listen"] == "0.0.0.0:7670"
    assert given["metrics"] == "0.0.0.0:7671"
    assert given["embedded"] is None
    assert given["insecure"] is False
    assert given["tls_cert"].is_file()
    assert given["tls_key"].is_file()
    assert given["clickhouse_url"] == "http://clickhouse.clickhouse.svc:8123"
    assert given["username"] == "gpuledger_collector"
    assert given["password_file"].read_text()
    with_certificates = variant == "cert-manager"
    assert bool(given["tls_client_ca"]) is with_certificates
    assert given["tls_any_host"] is with_certificates


def test_migrate_when_given_its_pods_settings_then_it_is_another_user(tmp_path: Path) -> None:
    pod = named("site", "Job", MIGRATE)["spec"]["template"]["spec"]
    given = Mounted("site", pod, tmp_path).context(collector_cli, "collector.toml").params
    assert given["username"] == "gpuledger_migrate"
    assert given["password_file"].read_text()
    assert given["clickhouse_url"] == "http://clickhouse.clickhouse.svc:8123"


def test_certificate_when_made_by_the_script_then_it_names_the_service_that_agents_ask() -> None:
    made = base64.b64decode(named("site", "Secret", "gpuledger-collector-tls")["data"]["tls.crt"])
    names = x509.load_pem_x509_certificate(made).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    config = tomllib.loads(agent_toml("site", *agents("site")))
    assert host_port(config["collector"])[0] in names.value.get_values_for_type(x509.DNSName)


def agent_toml(variant: str, pod: Object) -> str:
    """The settings of the agents with such pods."""
    (volume,) = (one for one in pod["volumes"] if one["name"] == "config")
    return str(named(variant, "ConfigMap", volume["configMap"]["name"])["data"]["agent.toml"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_agent_when_its_pod_runs_then_it_finds_sockets_and_spool_where_it_looks(
    variant: str,
) -> None:
    for pod in agents(variant):
        (container,) = pod["containers"]
        mounts = {one["name"]: Path(one["mountPath"]) for one in container["volumeMounts"]}
        assert mounts["spool"] == DEFAULT_SPOOL.parent
        folders = {name: {Path(p).parent for p in SOCKETS[name].usual} for name in SOCKETS}
        assert mounts["pod-resources"] in folders["kubelet"]
        if variant != "without-runtime":
            assert mounts["runtime"] in folders["cri"]
        paths = {one["name"]: one.get("hostPath", {}).get("path") for one in pod["volumes"]}
        for name in {"runtime", "pod-resources", "spool"} & mounts.keys():
            assert paths[name] == str(mounts[name])

"""Asks a runtime by its CRI to run pods, as the kubelet does.

The messages are compiled when the tests run, into a pool of their own beside the agent's.
"""

from __future__ import annotations

import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

_PROTO = Path(__file__).with_name("cri_requests.proto")


@cache
def _messages() -> dict[str, Any]:
    """Message classes by name."""
    pool = descriptor_pool.DescriptorPool()
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "cri_requests.bin"
        well_known = resources.files("grpc_tools") / "_proto"
        arguments = [f"-I{_PROTO.parent}", f"-I{well_known}", f"-o{compiled}", _PROTO.name]
        assert protoc.main(["protoc", *arguments]) == 0
        files = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes())
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    found = message_factory.GetMessageClassesForFiles([_PROTO.name], pool)
    return {name.rpartition(".")[2]: message for name, message in found.items()}


class CriClient:
    """Runs and ends pods over a channel to the runtime's socket."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def ask(self, method: str, question: str, answer: str = "Empty", **fields: Any) -> Any:
        """Call `Service/Method` with a question of this message; return its answer."""
        types = _messages()
        call = self._channel.unary_unary(
            f"/runtime.v1.{method}",
            request_serializer=types[question].SerializeToString,
            response_deserializer=types[answer].FromString,
        )
        return call(types[question](**fields), timeout=30)

    def run_sandbox(self, config: dict[str, Any]) -> str:
        """Start a pod without containers; returns the sandbox's id."""
        answer = self.ask(
            "RuntimeService/RunPodSandbox",
            "RunPodSandboxRequest",
            "RunPodSandboxResponse",
            config=config,
        )
        return str(answer.pod_sandbox_id)

    def run_container(self, sandbox: str, sandbox_config: dict[str, Any], **config: Any) -> str:
        """Start a container in a sandbox; returns its id."""
        answer = self.ask(
            "RuntimeService/CreateContainer",
            "CreateContainerRequest",
            "CreateContainerResponse",
            pod_sandbox_id=sandbox,
            config=config,
            sandbox_config=sandbox_config,
        )
        self.ask(
            "RuntimeService/StartContainer", "ContainerRequest", container_id=answer.container_id
        )
        return str(answer.container_id)

    def stop_container(self, id_: str) -> None:
        """End its process; the container stays, as exited."""
        self.ask("RuntimeService/StopContainer", "ContainerRequest", container_id=id_)

    def remove_sandbox(self, id_: str) -> None:
        """End a pod and remove it with its containers."""
        self.ask("RuntimeService/StopPodSandbox", "PodSandboxRequest", pod_sandbox_id=id_)
        self.ask("RuntimeService/RemovePodSandbox", "PodSandboxRequest", pod_sandbox_id=id_)

    def image_id(self, name: str) -> str:
        """The id of an image, by which a kubelet names it to the runtime."""
        answer = self.ask(
            "ImageService/ImageStatus",
            "ImageStatusRequest",
            "ImageStatusResponse",
            image={"image": name},
        )
        return str(answer.image.id)

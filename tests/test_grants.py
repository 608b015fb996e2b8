"""Device names, as runtimes and schedulers write them, against the GPUs of a host."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuledger_agent.attribution.base import Kind, Workload
from gpuledger_agent.attribution.grants import (
    MAX_NAME,
    MAX_NAMES,
    Grant,
    Resolver,
    granted_to,
    resolve,
)
from gpuledger_agent.devices.base import GpuInfo
from gpuledger_agent.devices.nvml import NvmlLayer
from tests.nvml_standin.world import Standin

CLAIM = "dab5ab50-d59a-42a6-af16-cfd4628c0f7a"


def card(index: int, uuid: str, share: float = 1.0) -> GpuInfo:
    return GpuInfo(uuid, index, "NVIDIA H100 80GB HBM3", 81_559, share)


def instance(of: GpuInfo, uuid: str, profile: str, slices: int, gi: int) -> GpuInfo:
    return GpuInfo(uuid, of.index, of.model, 10_240, slices / 7, of.uuid, profile, gi)


ONE = card(0, "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6")
TWO = card(1, "GPU-8932f937-0000-4106-c12f-20bd9faed9f6")
CUT = card(2, "GPU-45cbf7b3-f919-7228-7a26-b06628ebefa1", share=2 / 7)
CUT_1 = instance(CUT, "MIG-d9a47cfb-d1f2-d08c-b40e-0812b597ae69", "2g.20gb", 2, 3)
CUT_2 = instance(CUT, "MIG-02a89a59-4d9f-5b6f-9c1a-d3c1c43b0a5d", "1g.10gb", 1, 9)
CUT_3 = instance(CUT, "MIG-aaaa9a59-4d9f-5b6f-9c1a-d3c1c43b0a5d", "1c.2g.20gb", 1, 5)
CUT_4 = instance(CUT, "MIG-bbbb9a59-4d9f-5b6f-9c1a-d3c1c43b0a5d", "1c.2g.20gb", 1, 5)
OLD = card(3, "GPU-e91edf3b-b297-37c1-a2a7-7601c3238fa2", share=6 / 7)
OLD_1 = instance(OLD, f"MIG-{OLD.uuid}/7/0", "1g.5gb", 1, 7)

MIG = (CUT, CUT_1, CUT_2, CUT_3, CUT_4)
HOST = (ONE, TWO, *MIG, OLD, OLD_1)


def named(*devices: str, gpus: tuple[GpuInfo, ...] = HOST) -> list[GpuInfo]:
    """The GPUs that these names stand for; all must be known."""
    grants, unknown = resolve(devices, gpus)
    assert unknown == []
    by_uuid = {gpu.uuid: gpu for gpu in gpus}
    return [by_uuid[grant.gpu] for grant in grants]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("0", [ONE]),
        (" 1 ", [TWO]),
        ("0,1", [ONE, TWO]),
        (ONE.uuid, [ONE]),
        (ONE.uuid.upper(), [ONE]),
        ("GPU-8932f937-d", [ONE]),
        ("GPU-45", list(MIG)),
        (CUT.uuid, list(MIG)),
        ("2", list(MIG)),
        (CUT_1.uuid, [CUT_1]),
        ("MIG-d9a4", [CUT_1]),
        (f"MIG-{CUT.uuid}/9/0", [CUT_2]),
        (f"MIG-{CUT.uuid}/5/1", [CUT_4]),
        (OLD_1.uuid, [OLD_1]),
        ("2:0", [CUT_1]),
        ("2:3", [CUT_4]),
        ("nvidia.com/gpu=0", [ONE]),
        ("nvidia.com/gpu=gpu1", [TWO]),
        (f"nvidia.com/gpu={ONE.uuid}", [ONE]),
        ("nvidia.com/gpu=2:1", [CUT_2]),
        ("nvidia.com/gpu=mig2:1", [CUT_2]),
        ("nvidia.com/mig=2:1", [CUT_2]),
        (f"nvidia.com/mig-2g.20gb={CUT_1.uuid}", [CUT_1]),
        ("runtime.nvidia.com/gpu=1", [TWO]),
        (f"k8s.device-plugin.nvidia.com/gpu={TWO.uuid}", [TWO]),
        ("k8s.gpu.nvidia.com/device=gpu-0", [ONE]),
        (f"k8s.gpu.nvidia.com/claim={CLAIM}-gpu-1", [TWO]),
        (f"k8s.gpu.nvidia.com/claim={CLAIM}-gpu-2-mig-1g10gb-19-4", [CUT_2]),
        ("gpu.nvidia.com/node-7/gpu-1", [TWO]),
        (f"gpu.nvidia.com/{ONE.uuid}", [ONE]),
        ("gpu-2-mig-2g20gb-14-0", [CUT_1]),
        ("gpu-0", [ONE]),
        (f"{TWO.uuid}::3", [TWO]),
        (f"{CUT_1.uuid}::0", [CUT_1]),
        ("nvidia0", [ONE]),
        ("/dev/nvidia1", [TWO]),
        ("nvidia0/vgpu3", [ONE]),
        ("nvidia2/gi9", [CUT_2]),
        ("nvidia2/gi5", [CUT_3, CUT_4]),
        ("nvidia2/gi3/vgpu1", [CUT_1]),
        ("all", list(HOST)),
        ("nvidia.com/gpu=all", list(HOST)),
        ("none", []),
        ("void", []),
        ("", []),
        ("management.nvidia.com/gpu=all", []),
    ],
)
def test_name_when_written_as_runtimes_do_then_it_is_these_gpus(
    name: str, meant: list[GpuInfo]
) -> None:
    assert named(name) == meant


@pytest.mark.parametrize(
    "name",
    [
        "9",
        "-1",
        "1.0",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "10000000000000000000000",
        "0:0",
        "2:9",
        "GPU-",
        "MIG-",
        "GPU-8932f937",  # the beginning of two
        f"MIG-{CUT.uuid}/9/1",
        f"MIG-{ONE.uuid}/0/0",
        "nvidia2/gi7",
        "nvidia9",
        "nvidiactl",
        "/dev/nvidia-uvm",
        "nvidia.com/gpu=9",
        "nvidia.com/gds=all",
        "nvidia.com/gpu=",
        "nvidia.com/gpu=none",
        "::0",
        "none::0",
        "amd.com/gpu=0",
        "gpu-2-mig-1c2g20gb-14-0",  # two have this profile
        "gpu-2-mig-9g90gb-14-0",
        "gpu-2-mig-19-0-1",
        "x" * MAX_NAME,
    ],
)
def test_name_when_no_gpu_here_has_it_then_it_is_reported(name: str) -> None:
    assert resolve([name], HOST) == ([], [name])


def test_name_when_some_in_a_list_are_unknown_then_the_others_count() -> None:
    grants, unknown = resolve(["0,7", "GPU-ffff", "7"], HOST)
    assert [grant.gpu for grant in grants] == [ONE.uuid]
    assert unknown == ["7", "GPU-ffff"]


def test_name_when_longer_than_any_then_it_is_reported_cut() -> None:
    assert resolve(["GPU-" + "f" * 10_000], HOST) == ([], [("GPU-" + "f" * 10_000)[:MAX_NAME]])


def test_names_when_there_are_too_many_then_the_rest_is_not_looked_at() -> None:
    grants, unknown = resolve(["x"] * (MAX_NAMES - 1) + ["0", "1"], HOST)
    assert ([grant.gpu for grant in grants], unknown) == ([ONE.uuid], ["x"])
    grants, unknown = resolve(["x," * (MAX_NAMES - 1) + "0,1"], HOST)
    assert ([grant.gpu for grant in grants], unknown) == ([ONE.uuid], ["x"])


def test_share_when_replicas_of_one_gpu_are_named_then_they_add_up() -> None:
    grants, _ = resolve([f"{ONE.uuid}::0", f"{ONE.uuid}::2", f"{TWO.uuid}::1"], HOST, share=0.25)
    assert grants == [Grant(ONE.uuid, 0.5), Grant(TWO.uuid, 0.25)]


def test_share_when_names_add_up_to_more_than_a_gpu_then_it_is_the_gpu() -> None:
    assert resolve(["0", "0", ONE.uuid], HOST, share=0.5)[0] == [Grant(ONE.uuid, 1.0)]


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan"), float("inf")])
def test_share_when_it_is_none_then_the_whole_is_granted(share: float) -> None:
    assert resolve(["0"], HOST, share=share)[0] == [Grant(ONE.uuid, 1.0)]


def test_gpus_when_nvml_tells_of_instances_then_each_is_found_by_its_id(standin: Standin) -> None:
    standin.slice(0, 3, 2)
    layer = NvmlLayer()
    layer.open()
    gpus = tuple(reading.gpu for i in range(2) for reading in layer.device(i).read())
    layer.close()
    for gi in (1, 2):
        (found,) = named(f"nvidia0/gi{gi}", gpus=gpus)
        assert found == named(f"0:{gi - 1}", gpus=gpus)[0]
        assert found == named(f"MIG-{found.parent_uuid}/{gi}/0", gpus=gpus)[0]
    assert len(named("0", gpus=gpus)) == 3


known_names = st.sampled_from(
    ["all", "none", "0", "1", "2", "0,1", "2:0", "nvidia2/gi5", "GPU-45", f"{TWO.uuid}::1"]
)
any_names = (
    known_names | st.text(max_size=40) | st.from_regex(r"(GPU-|MIG-|gpu-|nvidia)[0-9a-f/:]*")
)
hosts = st.lists(st.sampled_from(HOST), unique=True, max_size=len(HOST)).map(tuple)
shares = st.floats(min_value=0, max_value=1, exclude_min=True)


@given(st.lists(any_names, max_size=30), hosts, st.floats())
def test_grants_when_names_are_any_strings_then_each_gpu_is_there_once_with_a_share(
    names: list[str], gpus: tuple[GpuInfo, ...], share: float
) -> None:
    grants, unknown = resolve(names, gpus, share)
    uuids = [grant.gpu for grant in grants]
    assert len(set(uuids)) == len(uuids)
    assert set(uuids) <= {gpu.uuid for gpu in gpus}
    assert all(0 < grant.share <= 1 for grant in grants)
    written = {part.strip()[:MAX_NAME] for name in names for part in name.split(",")}
    assert set(unknown) <= written
    assert len(set(unknown)) == len(unknown)


orders = st.lists(any_names, max_size=12).flatmap(
    lambda names: st.tuples(st.just(names), st.permutations(names))
)


@given(orders, hosts, shares)
def test_grants_when_names_come_in_another_order_then_they_are_the_same(
    both: tuple[list[str], list[str]], gpus: tuple[GpuInfo, ...], share: float
) -> None:
    one, other = both
    assert resolve(one, gpus, share) == resolve(other, gpus, share)


@given(hosts, shares)
def test_grants_when_all_are_named_then_every_gpu_is_granted(
    gpus: tuple[GpuInfo, ...], share: float
) -> None:
    assert resolve(["all"], gpus, share) == ([Grant(gpu.uuid, share) for gpu in gpus], [])


@given(st.text(min_size=1, max_size=300).filter(lambda t: "," not in t), hosts)
def test_grants_when_a_name_gives_no_gpu_then_it_is_reported_unless_it_says_none(
    name: str, gpus: tuple[GpuInfo, ...]
) -> None:
    grants, unknown = resolve([name], gpus)
    name = name.strip()
    says_none = name.lower() in {"", "none", "void"} or name.startswith("management.nvidia.com/")
    says_all = name.lower() == "all" or name.lower().endswith("=all")
    assert bool(grants) != bool(unknown) or says_none or (says_all and not gpus)


@given(st.lists(any_names, max_size=8), st.lists(any_names, max_size=8), hosts)
def test_grants_when_more_names_are_given_then_none_is_lost(
    some: list[str], more: list[str], gpus: tuple[GpuInfo, ...]
) -> None:
    fewer, all_of_them = resolve(some, gpus), resolve(some + more, gpus)
    assert {grant.gpu for grant in fewer[0]} <= {grant.gpu for grant in all_of_them[0]}
    assert set(fewer[1]) <= set(all_of_them[1])


def granted(*devices: str, share: float = 1.0) -> Workload:
    return Workload(Kind.CONTAINER, "a" * 64, "x", devices=devices, share=share)


def test_grants_when_a_name_is_of_no_gpu_here_then_what_was_counted_is_meant() -> None:
    """A Slurm job names its MIG instances in its environment, where it can write anything."""
    job = Workload(Kind.SLURM_JOB, "1", "1", devices=(CUT_1.uuid, "MIG-none"), counted=("0", "1"))
    assert granted_to(job, HOST) == resolve(["0", "1"], HOST)
    honest = replace(job, devices=(CUT_1.uuid, CUT_2.uuid))
    assert granted_to(honest, HOST) == resolve([CUT_1.uuid, CUT_2.uuid], HOST)
    assert granted_to(replace(job, counted=()), HOST)[1] == ["MIG-none"]
    resolver = Resolver()
    found = resolver.resolve([job, honest, replace(job, counted=())], HOST)
    assert [unknown for _, unknown in found] == [[], [], ["MIG-none"]]


def test_grants_of_many_when_nothing_changed_then_they_are_not_worked_out_again() -> None:
    """A thousand containers can each name a thousand GPUs, in every window."""
    resolver, gpus = Resolver(), [ONE]
    one, half = granted("0", "nothing"), granted("0", share=0.5)
    first = resolver.resolve([one, half, one], gpus)
    assert first == [resolve(w.devices, gpus, w.share) for w in (one, half, one)]
    again = resolver.resolve([half, one], [ONE])
    assert [again[0] is first[1], again[1] is first[0]] == [True, True]


def test_grants_of_many_when_the_gpus_change_then_they_are_worked_out_again() -> None:
    resolver = Resolver()
    assert resolver.resolve([granted("0")], [])[0][0] == []
    assert resolver.resolve([granted("0")], [ONE])[0][0] == [Grant(ONE.uuid, 1.0)]


def test_grants_of_many_when_a_workload_ended_then_it_is_forgotten() -> None:
    resolver = Resolver()
    first = resolver.resolve([granted("0")], [ONE])
    assert resolver.resolve([], [ONE]) == []
    assert resolver.resolve([granted("0")], [ONE])[0] is not first[0]

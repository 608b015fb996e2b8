"""The NVML layer through the true ctypes path, against everything a driver does to us."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pynvml
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuledger_agent.devices.base import Context, DeviceError, Fault, SmSource
from gpuledger_agent.devices.nvml import NvmlLayer
from gpuledger_agent.devices.nvml_samples import DeviceIntegral, ProcessIntegral
from tests.nvml_standin.world import Function, Kind, Standin, build, now_us

BIN = Path(sys.executable).parent


@pytest.fixture
def layer(standin: Standin) -> NvmlLayer:
    assert standin.raw.gpus == 8
    opened = NvmlLayer()
    opened.open()
    return opened


def test_layer_when_opened_then_it_knows_driver_and_gpus(
    standin: Standin, layer: NvmlLayer
) -> None:
    assert layer.open() == "570.124.06"
    assert layer.count() == 8
    gpu = layer.device(3).read()[0].gpu
    assert (gpu.index, gpu.model, gpu.memory_mib) == (3, "NVIDIA H100 80GB HBM3", 81_559)
    assert gpu.uuid == standin.raw.gpu[3].uuid.decode()
    assert gpu.share == 1.0


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, Fault.NO_DRIVER),
        (pynvml.NVML_ERROR_NO_PERMISSION, Fault.PERMISSION),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, Fault.DRIVER_CHANGED),
        (pynvml.NVML_ERROR_UNKNOWN, Fault.FAILED),
    ],
)
def test_layer_when_init_fails_then_the_fault_says_what_to_do(
    standin: Standin, code: int, fault: Fault
) -> None:
    standin.raw.init_error = code
    with pytest.raises(DeviceError) as failed:
        NvmlLayer().open()
    assert failed.value.fault is fault


def test_layer_when_there_is_no_library_then_no_driver(tmp_path: Path) -> None:
    code = (
        "from gpuledger_agent.devices.nvml import NvmlLayer\n"
        "from gpuledger_agent.devices.base import DeviceError\n"
        "layer = NvmlLayer()\n"
        "try: layer.open()\n"
        "except DeviceError as error: print(error.fault.value)\n"
        "layer.close()"
    )
    env = {"LD_LIBRARY_PATH": str(tmp_path), "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "no_driver\n", done.stderr


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (pynvml.NVML_ERROR_GPU_IS_LOST, Fault.LOST),
        (pynvml.NVML_ERROR_RESET_REQUIRED, Fault.LOST),
        (pynvml.NVML_ERROR_UNKNOWN, Fault.FAILED),
    ],
)
def test_gpu_when_lost_then_it_alone_fails_and_it_comes_back(
    standin: Standin, layer: NvmlLayer, code: int, fault: Fault
) -> None:
    devices = [layer.device(index) for index in range(8)]
    standin.raw.gpu[2].lost = code
    with pytest.raises(DeviceError) as failed:
        devices[2].read()
    assert failed.value.fault is fault
    assert all(len(devices[i].read()) == 1 for i in range(8) if i != 2)
    standin.raw.gpu[2].lost = 0
    assert len(layer.device(2).read()) == 1


def test_driver_when_replaced_under_us_then_every_gpu_says_so(
    standin: Standin, layer: NvmlLayer
) -> None:
    device = layer.device(0)
    standin.upgrade_driver("580.65.06")
    with pytest.raises(DeviceError) as failed:
        device.read()
    assert failed.value.fault is Fault.DRIVER_CHANGED
    layer.close()
    assert layer.open() == "580.65.06"
    assert len(layer.device(0).read()) == 1


def test_gpu_when_it_hangs_then_the_other_seven_are_read(
    standin: Standin, layer: NvmlLayer
) -> None:
    devices = [layer.device(index) for index in range(8)]
    standin.raw.gpu[5].hang = 1
    stuck = threading.Thread(target=devices[5].read)
    stuck.start()
    read = [device.read()[0].gpu.index for device in devices if device.index != 5]
    assert read == [0, 1, 2, 3, 4, 6, 7]
    assert stuck.is_alive()
    standin.raw.gpu[5].hang = 0
    stuck.join(10)
    assert not stuck.is_alive()


def test_processes_when_listed_then_pid_kind_and_memory_are_told(
    standin: Standin, layer: NvmlLayer
) -> None:
    standin.add(0, 11, 2048)
    standin.add(0, 12, 100, Kind.GRAPHICS)
    standin.add(0, 13, 300, Kind.MPS)
    standin.add(0, 14, None)
    reading = layer.device(0).read()[0]
    told = {p.pid: (p.context, p.mem_mib) for p in reading.processes}
    assert told == {
        11: (Context.COMPUTE, 2048),
        12: (Context.GRAPHICS, 100),
        13: (Context.MPS, 300),
        14: (Context.COMPUTE, None),
    }
    assert reading.mem_used_mib == 2448


def test_processes_when_one_is_in_two_lists_then_it_is_one_and_counted_once(
    standin: Standin, layer: NvmlLayer
) -> None:
    standin.add(0, 11, 2048, Kind.COMPUTE)
    standin.add(0, 11, 2048, Kind.GRAPHICS)
    standin.add(0, 12, None, Kind.COMPUTE)
    standin.add(0, 12, 64, Kind.GRAPHICS)
    told = {p.pid: (p.context, p.mem_mib) for p in layer.device(0).read()[0].processes}
    assert told == {11: (Context.COMPUTE, 2048), 12: (Context.COMPUTE, 64)}


def test_processes_when_more_than_the_buffer_then_all_are_listed(
    standin: Standin, layer: NvmlLayer
) -> None:
    device = layer.device(0)
    for pid in range(1, 61):
        standin.add(0, pid, 10)
    assert len(device.read()[0].processes) == 60


def test_process_use_when_idle_then_zero_and_not_unknown(
    standin: Standin, layer: NvmlLayer
) -> None:
    standin.add(0, 11)
    [process] = layer.device(0).read()[0].processes
    assert (process.sm_fraction, process.sm_pct_max) == (0.0, 0)


def test_process_use_when_not_offered_then_unknown(standin: Standin, layer: NvmlLayer) -> None:
    standin.add(0, 11)
    standin.fail(0, Function.PROCESS_UTIL, pynvml.NVML_ERROR_NOT_SUPPORTED)
    [process] = layer.device(0).read()[0].processes
    assert (process.sm_fraction, process.sm_pct_max) == (None, None)


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["plain", "says 100", "success"])
def test_process_use_when_buffers_hold_garbage_then_only_what_is_sane_counts(
    standin: Standin, layer: NvmlLayer, mode: int
) -> None:
    standin.raw.gpu[0].size_query = mode
    standin.add(0, 11)
    device = layer.device(0)
    device.read()
    soon = now_us()
    standin.process_sample(0, 11, 40, soon)
    standin.process_sample(0, 0, 50, soon)
    standin.process_sample(0, 11, 4_000_000, soon + 1)
    standin.process_sample(0, 11, 90, 1)
    standin.process_sample(0, 11, 90, soon + 3_600_000_000)
    standin.process_sample(0, 777, 90, soon)
    [process] = device.read()[0].processes
    assert process.pid == 11
    assert process.sm_pct_max == 40


def test_process_when_it_dies_between_reads_then_its_last_work_counts(
    standin: Standin, layer: NvmlLayer
) -> None:
    standin.add(0, 11)
    device = layer.device(0)
    device.read()
    standin.remove(0, 11)
    standin.process_sample(0, 11, 80, now_us())
    [process] = device.read()[0].processes
    assert (process.pid, process.listed, process.mem_mib) == (11, False, None)
    assert process.sm_pct_max == 80
    assert device.read()[0].processes == ()


def test_device_use_when_samples_are_not_offered_then_the_rate_serves(
    standin: Standin, layer: NvmlLayer
) -> None:
    standin.fail(0, Function.SAMPLES, pynvml.NVML_ERROR_NOT_SUPPORTED)
    standin.sample(0, 37, now_us())
    reading = layer.device(0).read()[0]
    assert (reading.sm_fraction, reading.sm_source) == (0.37, SmSource.DEVICE)


def test_device_use_when_nothing_is_offered_then_unknown(
    standin: Standin, layer: NvmlLayer
) -> None:
    for function in (Function.SAMPLES, Function.RATES):
        standin.fail(0, function, pynvml.NVML_ERROR_NOT_SUPPORTED)
    reading = layer.device(0).read()[0]
    assert (reading.sm_fraction, reading.sm_source) == (None, SmSource.UNKNOWN)


def test_gauges_when_offered_then_told_in_our_units(standin: Standin, layer: NvmlLayer) -> None:
    gpu = standin.raw.gpu[0]
    gpu.ecc, gpu.xid, gpu.gpm, gpu.gpm_tensor, gpu.gpm_dram = 3, 79, 1, 12.5, 50.0
    device = layer.device(0)
    assert device.read()[0].xid == 79
    reading = device.read()[0]
    assert (reading.power_w, reading.temperature_c, reading.sm_clock_mhz) == (120, 40, 1755)
    assert (reading.ecc_uncorrected, reading.xid) == (3, 0)
    assert (reading.tensor_pct, reading.dram_pct) == (12.5, 50.0)


def test_gauges_when_not_offered_then_none_and_not_asked_again(
    standin: Standin, layer: NvmlLayer
) -> None:
    for function in (Function.MEMORY, Function.POWER, Function.TEMPERATURE, Function.CLOCK,
                     Function.ECC, Function.EVENTS, Function.GPM):  # fmt: skip
        standin.fail(0, function, pynvml.NVML_ERROR_NOT_SUPPORTED)
    device = layer.device(0)
    reading = device.read()[0]
    assert reading.gpu.memory_mib is None
    assert (reading.mem_used_mib, reading.power_w, reading.temperature_c) == (None, None, None)
    assert (reading.sm_clock_mhz, reading.ecc_uncorrected, reading.xid) == (None, None, 0)
    before = standin.raw.calls
    device.read()
    assert standin.raw.calls - before <= 6


def test_gauge_when_it_fails_once_then_it_is_asked_again(
    standin: Standin, layer: NvmlLayer
) -> None:
    device = layer.device(0)
    standin.fail(0, Function.POWER, pynvml.NVML_ERROR_UNKNOWN)
    assert device.read()[0].power_w is None
    standin.fail(0, Function.POWER, 0)
    assert device.read()[0].power_w == 120


def test_mig_when_gpm_is_there_then_each_instance_is_measured(
    standin: Standin, layer: NvmlLayer
) -> None:
    standin.raw.gpu[0].gpm = 1
    standin.slice(0, 2, 4)
    standin.raw.gpu[0].instance[0].sm = 60.0
    standin.add(0, 11, 500, instance=1)
    standin.add(0, 12, 700, instance=2)
    device = layer.device(0)
    device.read()
    two, four, rest = device.read()
    assert (two.gpu.uuid, two.gpu.mig_profile, two.gpu.share) == ("MIG-0-1", "2g.20gb", 2 / 7)
    assert two.gpu.parent_uuid == rest.gpu.uuid == standin.raw.gpu[0].uuid.decode()
    assert (two.sm_fraction, two.sm_source) == (0.6, SmSource.GPM)
    assert [p.pid for p in two.processes] == [11]
    assert [(p.pid, p.sm_fraction) for p in four.processes] == [(12, None)]
    assert rest.gpu.share == pytest.approx(1 / 7)
    assert (two.power_w, rest.power_w) == (None, 120)


def test_mig_when_there_is_no_gpm_then_sm_use_is_unknown(
    standin: Standin, layer: NvmlLayer
) -> None:
    standin.slice(0, 7)
    whole, rest = layer.device(0).read()
    assert (whole.sm_fraction, whole.sm_source) == (None, SmSource.UNKNOWN)
    assert rest.gpu.share == 0.0


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.lists(st.tuples(st.integers(20, 1_000), st.integers(0, 100)), min_size=1),
    reads=st.lists(st.integers(0, 40), min_size=1, max_size=10),
)
def test_device_use_when_read_at_any_times_then_its_integral_is_the_truth(
    samples: list[tuple[int, int]], reads: list[int]
) -> None:
    """`samples`: gap in milliseconds and percent; `reads`: after how many samples one reads."""
    clock = 1_000_000_000
    integral = DeviceIntegral(lambda: clock)
    integral.add([(clock, 0)])
    buffer, us = [], clock
    for gap_ms, pct in samples:
        us += gap_ms * 1000
        buffer.append((us, pct))
    measured, start = 0.0, clock
    for read in [*sorted(reads), len(buffer)]:
        clock = buffer[min(read, len(buffer)) - 1][0] if read else start
        use = integral.add([s for s in buffer[:read] if s[0] > integral.since_us()])
        if use.fraction is not None:
            measured += use.fraction * (clock - start)
            start = clock
    truth = sum(gap_ms * 1000 * pct / 100 for gap_ms, pct in samples)
    assert measured == pytest.approx(truth, abs=1)


def test_device_use_when_the_clock_is_set_back_then_samples_count_again() -> None:
    clock = 1_000_000_000
    integral = DeviceIntegral(lambda: clock)
    integral.add([(clock, 10)])
    clock -= 500_000_000
    assert integral.since_us() == clock
    assert integral.add([(clock + 100_000, 50)]).fraction == 0.5


def test_process_use_when_a_sample_covers_two_reads_then_its_work_is_not_halved() -> None:
    clock = 1_000_000_000
    integral = ProcessIntegral(lambda: clock)
    clock += 1_000_000
    assert integral.add([], {7}) == {}
    clock += 1_000_000
    use = integral.add([(7, clock, 40)], {7})[7]
    assert use.fraction == pytest.approx(0.8)


def test_old_driver_when_it_lacks_functions_then_the_older_ones_serve(
    tmp_path: Path, standin: Standin
) -> None:
    build(tmp_path, "-DOLD_DRIVER")
    standin.add(0, 11, 512)
    standin.process_sample(0, 11, 30, now_us() + 900_000)
    code = (
        "from gpuledger_agent.devices.nvml import NvmlLayer\n"
        "layer = NvmlLayer(); layer.open(); device = layer.device(0)\n"
        "p = device.read()[0].processes[0]; print(p.pid, p.mem_mib, p.sm_pct_max)"
    )
    env = standin.env | {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "11 512 30\n", done.stderr


def test_library_when_reloaded_then_it_is_the_one_installed_now(standin: Standin) -> None:
    """In a process of its own, where dlclose really unloads: an old build never fits again."""
    code = (
        "import sys\n"
        "from gpuledger_agent.devices.nvml import NvmlLayer\n"
        "layer = NvmlLayer(); print(layer.open(), flush=True)\n"
        "sys.stdin.readline()\n"
        "layer.close(); print(layer.open(), flush=True)"
    )
    env = {k: v for k, v in standin.env.items() if k != "GPULEDGER_STANDIN_PRELOADED"}
    with subprocess.Popen([sys.executable, "-c", code], env=env, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as agent:  # fmt: skip
        assert agent.stdout is not None
        assert agent.stdout.readline() == "570.124.06\n"
        standin.upgrade_driver("580.65.06")
        output, _ = agent.communicate("go\n", timeout=30)
    assert output == "580.65.06\n"


def test_peers_when_they_look_then_they_see_what_we_see(standin: Standin, layer: NvmlLayer) -> None:
    """nvitop and gpustat, through the same library: true pids, since they ask /proc too."""
    sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    try:
        for index, sleeper in enumerate(sleepers):
            standin.add(index % 2, sleeper.pid, 1000 + index)
        ours = {
            (g, p.pid): p.mem_mib for g in range(2) for p in layer.device(g).read()[0].processes
        }
        assert len(ours) == 3
        nvitop = (
            "from nvitop import Device\n"
            "for d in Device.all()[:2]:\n"
            "    for pid, p in d.processes().items(): print(d.index, pid, p.gpu_memory() >> 20)"
        )
        assert _triples(standin, [sys.executable, "-c", nvitop]) == ours
        said = subprocess.run([str(BIN / "gpustat"), "--json"], env=standin.env, check=True,
                              capture_output=True, text=True).stdout  # fmt: skip
        theirs = {
            (gpu["index"], process["pid"]): process["gpu_memory_usage"]
            for gpu in json.loads(said)["gpus"]
            for process in gpu["processes"]
        }
        assert theirs == ours
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def _triples(standin: Standin, command: list[str]) -> dict[tuple[int, int], int]:
    done = subprocess.run(command, env=standin.env, capture_output=True, text=True, check=True)
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    return {(row[0], row[1]): row[2] for row in rows}


def test_sample_when_run_as_a_command_then_it_tells_shares_in_json(standin: Standin) -> None:
    with subprocess.Popen(["sleep", "60"]) as worker:
        standin.raw.gpus = 1
        standin.raw.gpu[0].flowing = 1
        standin.add(0, worker.pid, 2048, sm=30)
        command = [str(BIN / "gpuledger-agent"), "sample", "--format", "json", "--window", "1",
                   "--tick", "0.5", "--team", "search", "--pool", "production"]  # fmt: skip
        env = {k: v for k, v in standin.env.items() if k != "GPULEDGER_STANDIN_PRELOADED"}
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=60, check=True
        )
        worker.kill()
    [gpu] = json.loads(done.stdout)
    [process] = gpu["processes"]
    assert (gpu["observed_ms"], process["held_ms"], process["mem_mib_max"]) == (1000, 1000, 2048)
    assert process["sm_busy_ms"] == gpu["sm_busy_ms"] == pytest.approx(300, abs=60)
    assert (process["pid"], process["team"], process["owner_source"]) == (
        worker.pid,
        "search",
        "static",
    )
    assert datetime.fromisoformat(gpu["window_start"]).tzinfo is UTC

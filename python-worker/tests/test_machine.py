"""What the worker makes of the files of a machine, made up here for both versions of control groups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from zipar_worker.machine import threads
from zipar_worker.machine.control_groups import control_groups
from zipar_worker.machine.graphics import find_graphics
from zipar_worker.machine.memory import FreeMemory, free_memory
from zipar_worker.machine.threads import Processors, cpu_quota, own_processors, settle_threads_, thread_count

GIB = 2**30
NO_LIMIT = "9223372036854771712"
SECOND = "31 23 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
FIRST = """32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"""


def machine(root: Path, files: Mapping[str, object], *, cgroup: str, mountinfo: str, available: int = 16 * GIB) -> Path:
    """A file system with control groups. files: by path below /sys/fs/cgroup."""
    written = {f"sys/fs/cgroup/{path}": content for path, content in files.items()} | {
        "proc/self/cgroup": cgroup,
        "proc/self/mountinfo": f"23 1 8:1 / / rw - ext4 /dev/sda1 rw\n{mountinfo}",
        "proc/meminfo": f"MemTotal:       1 kB\nMemAvailable:  {available // 1024} kB\n",
    }
    for path, content in written.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{content}\n")
    return root


def free_bytes(root: Path) -> int:
    free = free_memory(root)
    assert free is not None
    return free.free_bytes


def test_without_limits_all_that_the_system_has_available_is_free(tmp_path: Path) -> None:
    root = machine(tmp_path, {"memory.stat": "anon 1"}, cgroup="0::/", mountinfo=SECOND)
    assert free_memory(root) == FreeMemory(16 * GIB, None)


def test_a_container_of_version_2_leaves_its_limit_less_what_it_uses_and_cannot_drop(tmp_path: Path) -> None:
    files = {
        "memory.max": 4 * GIB,
        "memory.high": "max",
        "memory.current": 3 * GIB,
        "memory.stat": f"anon 5\ninactive_file {2 * GIB}\nactive_file {GIB}",
    }
    free = free_memory(machine(tmp_path, files, cgroup="0::/", mountinfo=SECOND))
    assert free is not None and free.free_bytes == 3 * GIB
    assert free.limit is not None and "4.00 GiB" in free.limit and "sys/fs/cgroup" in free.limit


@pytest.mark.parametrize(
    ("limits", "free"),
    [
        ({"a.slice/memory.max": 2 * GIB, "a.slice/b/memory.max": "max"}, 1),
        ({"a.slice/memory.max": "max", "a.slice/b/memory.max": 3 * GIB}, 2),
        ({"a.slice/memory.max": "max", "a.slice/b/memory.high": 4 * GIB, "a.slice/b/memory.max": 8 * GIB}, 3),
        ({"a.slice/memory.max": 512 * 2**20}, 0),
        ({}, 16),
    ],
    ids=["parent", "own", "high", "exceeded", "none"],
)
def test_every_group_above_the_own_one_binds(tmp_path: Path, limits: dict[str, object], free: int) -> None:
    used = {"a.slice/memory.current": GIB, "a.slice/b/memory.current": GIB}
    root = machine(tmp_path, used | limits, cgroup="0::/a.slice/b", mountinfo=SECOND)
    assert free_bytes(root) == free * GIB


@pytest.mark.parametrize(
    ("cgroup", "mount_root", "folder"),
    [
        ("/docker/1234", "/docker/1234", "memory"),
        ("/docker/1234", "/", "memory/docker/1234"),
        ("/", "/docker/1234", "memory"),
        ("/../other", "/", "memory"),
        ("/elsewhere/x", "/", "memory"),
    ],
    ids=["a container's own mount", "the host's mount", "another namespace", "outside of the namespace", "not seen"],
)
def test_a_group_of_version_1_is_found_from_wherever_it_is_mounted(
    tmp_path: Path, cgroup: str, mount_root: str, folder: str
) -> None:
    files = {
        f"{folder}/memory.limit_in_bytes": 2 * GIB,
        f"{folder}/memory.usage_in_bytes": GIB,
        f"{folder}/memory.stat": f"inactive_file 0\ntotal_inactive_file {GIB // 2}",
    }
    root = machine(
        tmp_path,
        files,
        cgroup=f"5:cpu,cpuacct:/x\n4:memory:{cgroup}\n1:name=systemd:/y",
        mountinfo=FIRST.replace("0:32 / ", f"0:32 {mount_root} "),
    )
    assert free_bytes(root) == 3 * GIB // 2


def test_version_1_tells_of_limits_above_what_is_mounted(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": NO_LIMIT,
        "memory/memory.usage_in_bytes": GIB,
        "memory/memory.stat": f"hierarchical_memory_limit {3 * GIB}\ntotal_inactive_file 0",
    }
    assert free_bytes(machine(tmp_path, files, cgroup="4:memory:/", mountinfo=FIRST)) == 2 * GIB


def test_a_parent_of_version_1_that_does_not_count_its_children_does_not_bind_them(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": GIB,
        "memory/memory.usage_in_bytes": GIB,
        "memory/a/memory.limit_in_bytes": NO_LIMIT,
        "memory/a/memory.usage_in_bytes": GIB,
        "memory/a/memory.use_hierarchy": 0,
    }
    assert free_bytes(machine(tmp_path, files, cgroup="4:memory:/a", mountinfo=FIRST)) == 16 * GIB


def test_a_hybrid_system_is_bound_by_both_versions(tmp_path: Path) -> None:
    mountinfo = f"{FIRST}\n{SECOND.replace('/sys/fs/cgroup ', '/sys/fs/cgroup/unified ')}"
    files: dict[str, object] = {
        "memory/box/memory.limit_in_bytes": 8 * GIB,
        "memory/box/memory.usage_in_bytes": GIB,
        "unified/memory.stat": "anon 1",
    }
    root = machine(tmp_path, files, cgroup="4:memory:/box\n0::/", mountinfo=mountinfo)
    assert free_bytes(root) == 7 * GIB
    machine(
        root,
        {"unified/memory.max": 2 * GIB, "unified/memory.current": GIB},
        cgroup="4:memory:/box\n0::/",
        mountinfo=mountinfo,
    )
    assert free_bytes(root) == GIB


def test_a_mount_point_with_a_space_is_read(tmp_path: Path) -> None:
    mountinfo = SECOND.replace("/sys/fs/cgroup ", r"/my\040groups ")
    root = machine(tmp_path, {}, cgroup="0::/a", mountinfo=mountinfo)
    (root / "my groups/a").mkdir(parents=True)
    assert [group.folder.relative_to(root).as_posix() for group in control_groups("memory", root)] == [
        "my groups/a",
        "my groups",
    ]


@pytest.mark.parametrize("cgroup", ["", "nonsense\n\n::\n0::relative", "0:::"])
def test_files_that_nobody_understands_limit_nothing(tmp_path: Path, cgroup: str) -> None:
    root = machine(tmp_path, {"memory.max": 5}, cgroup=cgroup, mountinfo="1 2\nx - cgroup2\n")
    assert free_memory(root) == FreeMemory(16 * GIB, None)


def test_resource_limits_count_what_the_process_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    root = machine(tmp_path, {}, cgroup="", mountinfo="")
    (root / "proc/self/status").write_text(f"VmSize:\t {5 * 2**20} kB\nVmData:\t {2**20} kB\n")
    limits = {resource.RLIMIT_AS: 8 * GIB, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], limits[kind]))
    assert free_memory(root) == FreeMemory(3 * GIB, "the limit of 8.00 GiB for this process (ulimit -v)")
    limits[resource.RLIMIT_DATA] = 2 * GIB
    free = free_memory(root)
    assert free is not None and free.free_bytes == GIB and "ulimit -d" in (free.limit or "")


def test_a_quota_of_the_processor_is_the_smallest_of_all_groups(tmp_path: Path) -> None:
    files = {"cpu.max": "400000 100000", "a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}
    assert cpu_quota(machine(tmp_path / "second", files, cgroup="0::/a/b", mountinfo=SECOND)) == 1.5
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/a/cpu.cfs_quota_us": "50000",
        "cpu,cpuacct/a/cpu.cfs_period_us": "25000",
    }
    assert cpu_quota(machine(tmp_path / "first", files, cgroup="3:cpu,cpuacct:/a", mountinfo=FIRST)) == 2.0
    assert cpu_quota(machine(tmp_path / "none", {}, cgroup="0::/", mountinfo=SECOND)) is None


@pytest.mark.parametrize(
    ("processors", "count"),
    [
        (Processors(384, 192, 8.0), 8),
        (Processors(16, 8, None), 8),
        (Processors(2, 2, None), 2),
        (Processors(4, 4, 1.5), 2),
        (Processors(4, 4, 0.25), 1),
        (Processors(4, 2, 16.0), 2),
    ],
)
def test_threads_are_the_cores_and_no_more_than_the_quota_keeps_busy(processors: Processors, count: int) -> None:
    assert thread_count(processors).count == count


@pytest.mark.parametrize(("workers", "count"), [(1, 8), (2, 4), (3, 2), (20, 1)])
def test_workers_of_one_engine_share_the_cores(workers: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "own_processors", lambda: Processors(16, 8, None))
    assert settle_threads_({"ZIPAR_WORKER_COUNT": str(workers)}).count == count
    assert settle_threads_({"ZIPAR_WORKER_COUNT": str(workers), "OMP_NUM_THREADS": "5"}).count == 5


def test_threads_of_one_core_count_once_and_unknown_cores_singly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_affinity", lambda: [0, 1, 4, 5, 6])
    for number, siblings in {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}.items():
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    assert own_processors(tmp_path) == Processors(logical=5, cores=3, quota=None)


def test_what_the_user_chose_stays_and_waiting_threads_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "own_processors", lambda: Processors(64, 32, 6.0))
    cases: list[tuple[dict[str, str], int, dict[str, str]]] = [
        ({}, 6, {"OMP_NUM_THREADS": "6", "OMP_WAIT_POLICY": "passive"}),
        ({"OMP_NUM_THREADS": "3,2"}, 3, {"OMP_NUM_THREADS": "3,2", "OMP_WAIT_POLICY": "passive"}),
        ({"MKL_NUM_THREADS": "4"}, 4, {"MKL_NUM_THREADS": "4", "OMP_WAIT_POLICY": "passive"}),
        ({"OMP_NUM_THREADS": "many"}, 6, {"OMP_NUM_THREADS": "6", "OMP_WAIT_POLICY": "passive"}),
        ({"OMP_WAIT_POLICY": "active"}, 6, {"OMP_NUM_THREADS": "6", "OMP_WAIT_POLICY": "active"}),
        ({"GOMP_SPINCOUNT": "5"}, 6, {"OMP_NUM_THREADS": "6", "GOMP_SPINCOUNT": "5"}),
    ]
    for variables, count, settled in cases:
        assert settle_threads_(variables).count == count
        assert variables == settled


def test_graphics_are_found_by_driver_by_node_and_by_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert not find_graphics(tmp_path).has_nvidia
    card = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x040300\n")  # the sound of a graphics card
    assert not find_graphics(tmp_path).has_nvidia
    (card / "class").write_text("0x030200\n")
    assert find_graphics(tmp_path).has_nvidia and find_graphics(tmp_path).nvidia_driver is None
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/nvidia-smi"
    program.write_text("#!/bin/sh\necho 535.183.01\n")
    program.chmod(0o755)
    assert find_graphics(tmp_path).nvidia_driver == "535.183.01"
    version = tmp_path / "proc/driver/nvidia/version"
    version.parent.mkdir(parents=True)
    version.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n")
    assert find_graphics(tmp_path).nvidia_driver == "570.86.15"
    assert not find_graphics(tmp_path).has_amd
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    assert find_graphics(tmp_path).has_amd

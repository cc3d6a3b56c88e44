import os

import pytest

from pipeline import machine


def system(root, group, **files):
    """Write a root folder with one process's control group and some files below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


V1 = "9:name=systemd:/a\n4:cpu,cpuacct:/docker/7\n3:cpuset:/docker/7\n0::/\n"


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/\n", {"cpu.max": "max 100000\n"}, []),
        (
            "0::/pods/7\n",
            {"cpu.max": "max 100000\n", "pods/cpu.max": "400000 100000", "pods/7/cpu.max": "5 10"},
            [4, 0.5],
        ),
        ("0::/host/path\n", {"cpu.max": "200000 100000"}, [2]),  # a container that sees the host's path
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, []),
        (
            V1,
            {"cpu,cpuacct/docker/7/cpu.cfs_quota_us": "300000", "cpu,cpuacct/docker/7/cpu.cfs_period_us": "100000"},
            [3],
        ),
        ("", {}, []),
        ("0::/../other\n", {"cpu.max": "nonsense", "other/cpu.max": "7 0"}, []),
    ],
)
def test_quotas_of_both_versions(tmp_path, group, files, expected):
    system(tmp_path, group, **files)
    assert list(machine._quotas(tmp_path)) == expected


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "2147483648\n"}, [2147483648]),
        ("0::/pods/7\n", {"pods/memory.max": "900", "pods/7/memory.max": "max\n"}, [900]),
        ("5:memory:/docker/7\n", {"memory/docker/7/memory.limit_in_bytes": "700\n"}, [700]),
        ("", {}, []),
    ],
)
def test_memory_limits_of_both_versions(tmp_path, group, files, expected):
    system(tmp_path, group, **files)
    assert list(machine._memory_limits(tmp_path)) == expected


def test_the_smallest_memory_limit_counts_but_no_more_than_there_is(monkeypatch):
    monkeypatch.setattr(machine, "_memory_limits", lambda _: iter([9 << 60, 5_000_000]))
    assert machine.usable_memory() == 5_000_000
    monkeypatch.setattr(machine, "_memory_limits", lambda _: iter([9 << 60]))
    assert 1 << 20 < machine.usable_memory() < 9 << 60


@pytest.mark.parametrize(("quotas", "cores"), [([], 4), ([2.9, 3], 2), ([0.5], 1), ([64], 4)])
def test_the_smallest_quota_counts_but_one_core_is_left(monkeypatch, quotas, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    monkeypatch.setattr(machine, "_quotas", lambda _: iter(quotas))
    assert machine.usable_cores() == cores


@pytest.mark.parametrize(("load", "busy"), [(0.1, False), (8.0, False), (8.1, True), (60.0, True)])
def test_a_machine_is_busy_when_others_want_twice_our_cores(monkeypatch, load, busy):
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert machine.is_busy() is busy


def test_how_a_run_shares_the_machine(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (3.14159, 0.0, 0.0))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert machine.describe_load(2) == {"threads": "2", "load": "3.1", "waiting": "active"}
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    assert machine.describe_load(1)["waiting"] == "passive"


SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "DATABRICKS_TOKEN",
    "HTTPS_PROXY",
    "KUBECONFIG",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_URI",
    "PGPASSWORD",
    "PYTHONPATH",
    "SSH_AUTH_SOCK",
    "ANYTHING_ELSE",
)


def test_a_models_code_sees_no_credentials(monkeypatch):
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    for name in ("OMP_NUM_THREADS", "LC_ALL", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "0")
    bare = machine.bare_environment()
    assert "secret" not in bare.values()
    assert {"PATH", "OMP_NUM_THREADS", "LC_ALL", "CUDA_VISIBLE_DEVICES"} <= bare.keys()

"""The cluster files: accepted by Ray's own validation or of the KubeRay shape, guarded by a token, free of secrets."""

from __future__ import annotations

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from hbt_ray.command import parse
from hbt_ray.config import TrainConfig

FOLDER = Path(__file__).parents[1] / "cluster"
LAUNCHER = ("aws.yaml", "gcp.yaml")
KUBERAY = ("kuberay-cluster.yaml", "kuberay-job.yaml")


def load(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return values


def cluster_spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = load(name)["spec"]
    return spec.get("rayClusterSpec", spec)


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_up_accepts_the_file(name: str) -> None:
    validate_config(prepare_config(copy.deepcopy(load(name))))


@pytest.mark.parametrize("name", LAUNCHER)
def test_validation_would_notice_a_typing_error(name: str) -> None:
    config = load(name)
    config["available_node_types"]["gpu"]["minworkers"] = 0
    with pytest.raises(Exception, match="minworkers"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_head_does_no_work_and_workers_scale_from_zero(name: str) -> None:
    types = load(name)["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["gpu"]["resources"]["GPU"] > 0 and "GPU" not in types["cpu"]["resources"]
    for kind in ("cpu", "gpu"):
        assert types[kind]["min_workers"] == 0 < types[kind]["max_workers"]
        (setup,) = types[kind]["worker_setup_commands"]
        assert f"pip install -c constraints.txt --no-build-isolation '.[{kind}]'" in setup


def test_gpu_workers_are_spot_machines() -> None:
    aws = load("aws.yaml")["available_node_types"]["gpu"]["node_config"]
    gcp = load("gcp.yaml")["available_node_types"]["gpu"]["node_config"]
    assert aws["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert {"preemptible": True} in gcp["scheduling"]


@pytest.mark.parametrize("name", LAUNCHER)
def test_every_node_starts_with_the_token(name: str) -> None:
    config = load(name)
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [command for command in config[key] if "ray start" in command]
        assert starts and all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_cluster_has_what_it_needs(name: str) -> None:
    spec = cluster_spec(name)
    assert spec["rayVersion"] == "2.60.0" and spec["enableInTreeAutoscaling"] is True
    assert spec["authOptions"]["mode"] == "token"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert set(groups) == {"cpu", "gpu"}
    for group in groups.values():
        assert group["minReplicas"] == 0 < group["maxReplicas"]
        assert group["template"]["spec"]["restartPolicy"] == "Never"
    for template in [spec["headGroupSpec"]["template"], *(group["template"] for group in groups.values())]:
        (container,) = template["spec"]["containers"]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
        assert template["spec"]["volumes"][0]["emptyDir"]["medium"] == "Memory"
    (container,) = groups["gpu"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 4


def test_kuberay_kinds_and_the_two_files_describe_the_same_cluster() -> None:
    cluster, job = (load(name) for name in KUBERAY)
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    for key in ("headGroupSpec", "workerGroupSpecs", "authOptions", "rayVersion"):
        assert cluster["spec"][key] == job["spec"]["rayClusterSpec"][key]


def test_the_job_calls_train_with_settings_it_takes() -> None:
    python, script, *arguments = shlex.split(load("kuberay-job.yaml")["spec"]["entrypoint"])
    assert python == "python" and script.endswith("/jobs/train.py")
    config = parse(TrainConfig, arguments)
    assert config.out.startswith("s3://") and config.data[0].uri.startswith("s3://")
    gpus = cluster_spec("kuberay-job.yaml")["workerGroupSpecs"][1]["maxReplicas"] * 4
    assert config.workers * config.gpus_per_worker <= gpus
    assert config.batches.batch_size % config.workers == 0


def test_no_file_holds_a_secret() -> None:
    for path in sorted(path for path in FOLDER.iterdir() if path.is_file()):
        assert not re.search(r"AKIA[0-9A-Z]{16}|PRIVATE KEY|hf_[A-Za-z0-9]{20,}|\b[0-9a-f]{40,}\b", path.read_text()), (
            path
        )

"""What docker/ray-job.yaml and docs/clusters.md have Ray run is what there is. Nothing here needs Ray or Kubernetes."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from zipar_ray import __main__ as driver

WORKER = Path(__file__).resolve().parents[1]
DOCKER = WORKER.parent / "docker"
PAGE = (WORKER.parent / "docs" / "clusters.md").read_text()
MANIFEST: dict[str, Any] = yaml.safe_load((DOCKER / "ray-job.yaml").read_text())
SCHEMA = json.loads((WORKER / "tests" / "fixtures" / "ray_job.schema.json").read_text())
CLUSTER = MANIFEST["spec"]["rayClusterSpec"]
LOCKS = ("requirements.lock", "requirements-ray.lock", "../test/ray/requirements.lock")
DRIVERS = [MANIFEST["spec"]["entrypoint"], *re.findall(r"python -m zipar_ray --connect .*", PAGE)]


def test_the_manifest_is_what_kuberay_takes() -> None:
    jsonschema_rs.validator_for(SCHEMA).validate(MANIFEST)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(entryPoint="x"),
        lambda spec: spec.pop("rayClusterSpec") and spec.update(rayClusterSpec={}),
        lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][0].update(maxReplicas="16"),
        lambda spec: spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
    ],
)
def test_a_slip_in_the_manifest_would_be_noticed(spoil: Any) -> None:
    manifest = json.loads(json.dumps(MANIFEST))
    spoil(manifest["spec"])
    assert not jsonschema_rs.validator_for(SCHEMA).is_valid(manifest)


def test_the_driver_is_started_with_options_that_it_has() -> None:
    assert len(DRIVERS) == 3
    for command in DRIVERS:
        words = shlex.split(command)
        assert words[:3] == ["python", "-m", "zipar_ray"]
        options = driver.parse_arguments(words[3:])
        assert options.keys is not None and driver.resolve_rule(options).most >= 4


def test_a_pod_has_what_a_worker_takes_and_as_many_come_as_there_may_be() -> None:
    options = driver.parse_arguments(shlex.split(DRIVERS[0])[3:])
    rule = driver.resolve_rule(options)
    (group,) = CLUSTER["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (rule.least, rule.most)
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (float(limits["nvidia.com/gpu"]), float(limits["cpu"])) == (options.gpus, options.cpus)


def test_the_driver_finds_its_files_where_the_first_container_puts_them() -> None:
    options = driver.parse_arguments(shlex.split(DRIVERS[0])[3:])
    pod = CLUSTER["headGroupSpec"]["template"]["spec"]
    (head,), (first,) = pod["containers"], pod["initContainers"]
    (mount,) = head["volumeMounts"]
    assert Path(mount["mountPath"]) == options.keys == options.api_key_file.parent
    assert {"name": mount["name"], "mountPath": mount["mountPath"]} in first["volumeMounts"]
    assert first["command"][-1] == f"install -o 1000 -m 600 /secret/* {options.keys}/"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes[mount["name"]]["emptyDir"] == {"medium": "Memory"}
    secret = volumes["secret"]["secret"]["secretName"]
    files = f"--from-file=keys/worker --from-file={options.api_key_file.name}"
    assert f"kubectl create secret generic {secret} {files}" in PAGE


def test_all_of_them_name_one_version_of_ray() -> None:
    project = tomllib.loads((WORKER / "pyproject.toml").read_text())["project"]
    (pin,) = project["optional-dependencies"]["ray"]
    version = pin.removeprefix("ray[default]==")
    assert CLUSTER["rayVersion"] == version
    assert f"ray=={version} " in (WORKER / "requirements-ray.lock").read_text()
    assert f"ray=={version} " in (WORKER.parent / "test" / "ray" / "requirements.lock").read_text()
    manifest = (DOCKER / "ray-job.yaml").read_text()
    assert set(re.findall(r"zipar-ray:(\S+)", manifest + PAGE)) == {version}
    assert f"Ray {version} " in PAGE


def test_a_node_of_ray_has_the_packages_that_the_worker_has_elsewhere() -> None:
    pins = {name: set(re.findall(r"^(\S+==\S+)", (WORKER / name).read_text(), re.MULTILINE)) for name in LOCKS}
    assert len(pins["requirements.lock"]) > 20
    assert pins["requirements.lock"] <= pins["requirements-ray.lock"]
    assert pins["../test/ray/requirements.lock"] <= pins["requirements-ray.lock"]


def test_what_the_dockerfile_copies_is_there() -> None:
    text = (DOCKER / "ray.Dockerfile").read_text()
    paths = re.findall(r"^COPY (\S+)", text, re.MULTILINE)
    assert len(paths) == 5 and all((WORKER.parent / path).exists() for path in paths)
    assert "PYTHONPATH=/opt/zipar/python-worker " in text

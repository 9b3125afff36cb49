"""The files in deploy/ agree with the server's options, paths and port.

test_container.py runs the image itself.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import ROOT, RunWgan
from wgan.server.asgi import HEALTH_PATHS

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def containers() -> list[dict[str, Any]]:
    found = []
    for path in MANIFESTS:
        for document in documents(path):
            spec = document["spec"]
            spec = spec.get("template", {}).get("spec", spec)
            found += spec.get("containers", [])
    assert len(found) == 2
    return found


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_each_document_names_its_kind(path: Path) -> None:
    for document in documents(path):
        assert {"apiVersion", "kind", "metadata", "spec"} <= document.keys()


@pytest.mark.parametrize("container", containers(), ids=["deployment", "kserve"])
def test_probes_use_paths_that_need_no_key(container: dict[str, Any]) -> None:
    probes = [value for key, value in container.items() if key.endswith("Probe")]
    assert probes
    assert {probe["httpGet"]["path"] for probe in probes} <= HEALTH_PATHS


@pytest.mark.parametrize("container", containers(), ids=["deployment", "kserve"])
def test_containers_run_without_privileges(container: dict[str, Any]) -> None:
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_every_option_is_one_that_the_command_has(
    run_wgan: RunWgan, instructions: list[tuple[str, str]]
) -> None:
    known = set(re.findall(r"--[a-z-]+", run_wgan("serve", "--help-all").stdout))
    entrypoint = next(value for name, value in instructions if name == "ENTRYPOINT")
    given = re.findall(r"--[a-z-]+", entrypoint)
    for container in containers():
        given += [argument.split("=")[0] for argument in container["args"] if argument[:2] == "--"]
    assert given
    assert set(given) <= known


def test_the_container_does_not_run_as_root(instructions: list[tuple[str, str]]) -> None:
    names = [name for name, _ in instructions]
    user = next(value for name, value in instructions if name == "USER")
    assert user.split(":")[0] not in ("0", "root")
    assert names.index("USER") < names.index("ENTRYPOINT")
    health = next(value for name, value in instructions if name == "HEALTHCHECK")
    assert "/v2/health/ready" in health


def test_the_container_copies_only_what_is_there(instructions: list[tuple[str, str]]) -> None:
    for name, value in instructions:
        if name == "COPY" and "--from" not in value:
            for source in shlex.split(value)[:-1]:
                assert (ROOT / source).exists(), source


def test_the_container_has_no_pytorch(instructions: list[tuple[str, str]]) -> None:
    installs = " ".join(value for name, value in instructions if name == "RUN")
    extras = re.findall(r"\.\[([^]]+)\]", installs)
    assert extras == ["${EXTRA},serve"]
    assert "torch" not in installs


def test_prometheus_reads_the_deployments_port_with_a_key() -> None:
    (deployment, _) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
    (monitor,) = documents(DEPLOY / "kubernetes" / "pod-monitor.yaml")
    template = deployment["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    # With annotations Prometheus sends no key and gets 401.
    assert "annotations" not in template["metadata"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (container,) = template["spec"]["containers"]
    assert endpoint["port"] in [port["name"] for port in container["ports"]]
    assert any(argument.startswith("--api-key-file=") for argument in container["args"])
    assert endpoint["authorization"]["credentials"].keys() == {"name", "key"}

"""The OpenAPI document describes the server: schemathesis tests valid and invalid requests."""

import json
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.server.servers import Server

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


def test_the_document_has_the_addresses(server: Server) -> None:
    paths = server.get("/openapi.json").json()["paths"]
    assert "/v1/models/{model}/images/{seed}.png" in paths
    assert "/v2/models/{model}/versions/{version}/infer" in paths


def test_responses_to_schemathesis_conform_to_the_document(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    document = server.get("/openapi.json").json()
    names = {"model": "generator", "version": "12"}  # random names would only get 404
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in names:
                    parameter["schema"] = {"enum": [names[parameter["name"]]]}
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    done = subprocess.run(
        [
            Path(sysconfig.get_path("scripts")) / "schemathesis",
            *("run", "openapi.json", "--url", server.url, "--checks", ",".join(CHECKS)),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "1"),
            *("--request-timeout", "10", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]

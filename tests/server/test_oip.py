"""The Open Inference Protocol, field by field, compared with the runtime."""

import gzip
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from tests.server.servers import Reply, Server, array_of, seeds_request
from wgan import __version__
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator

MODEL = "/v2/models/generator"


def binary_request(header: dict[str, Any], *tensors: bytes) -> tuple[bytes, dict[str, str]]:
    """A body of the binary extension, and the header that splits it."""
    text = json.dumps(header).encode()
    return b"".join([text, *tensors]), {"Inference-Header-Content-Length": str(len(text))}


def split(reply: Reply) -> tuple[dict[str, Any], bytes]:
    length = int(reply.headers["inference-header-content-length"])
    return json.loads(reply.body[:length]), reply.body[length:]


def test_server_metadata_has_name_and_extensions(server: Server) -> None:
    assert server.get("/v2").json() == {
        "name": "wgan",
        "version": __version__,
        "extensions": ["binary_tensor_data"],
    }


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_health_has_both_names(server: Server, path: str) -> None:
    assert server.get(path).json() == {"live": True, "ready": True}


@pytest.mark.parametrize("base", [MODEL, f"{MODEL}/versions/12"])
def test_a_model_is_described_with_and_without_its_version(server: Server, base: str) -> None:
    assert server.get(base).json() == {
        "name": "generator",
        "versions": ["12"],
        "platform": "onnx_onnxv1",
        "inputs": [
            {"name": "latents", "datatype": "FP32", "shape": [-1, 4]},
            {"name": "seeds", "datatype": "INT64", "shape": [-1]},
        ],
        "outputs": [
            {"name": "images", "datatype": "FP32", "shape": [-1, 3, 8, 8]},
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, 8, 8, 3]},
        ],
    }
    assert server.get(f"{base}/ready").json() == {"name": "generator", "ready": True}
    assert server.post(f"{base}/infer", seeds_request(1)).json()["model_version"] == "12"


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/other",
        "/v2/models/other/ready",
        "/v2/models/generator/versions/13",
        "/v2/models/generator/versions/13/ready",
        "/v2/models/..%2f..%2fetc%2fpasswd",
        "/v2/nothing",
        "/v2/",
    ],
)
def test_an_unknown_address_is_404(server: Server, path: str) -> None:
    reply = server.get(path)
    assert reply.status == 404
    assert reply.error


def test_a_wrong_method_is_405_with_the_allowed_ones(server: Server) -> None:
    reply = server.get(f"{MODEL}/infer")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert "GET is not allowed" in reply.error


def test_seeds_give_the_images_of_the_runtime(server: Server, generator: Generator) -> None:
    reply = server.infer(seeds_request(3, 0, 2**32 - 1))
    np.testing.assert_array_equal(array_of(reply), generator.sample([3, 0, 2**32 - 1]))
    assert [entry["name"] for entry in reply.json()["outputs"]] == ["pixels"]


def test_latents_give_float_images(server: Server, generator: Generator) -> None:
    rows = latents_from_seeds(range(5), 4)
    reply = server.infer(
        {
            "inputs": [
                {"name": "latents", "datatype": "FP32", "shape": [5, 4], "data": rows.tolist()}
            ],
            "outputs": [{"name": "images"}],
        }
    )
    assert np.abs(array_of(reply, "images") - generator.images(rows)).max() < 1e-6


def test_flat_data_is_accepted(server: Server, generator: Generator) -> None:
    rows = latents_from_seeds([7, 8], 4)
    entry = {"name": "latents", "datatype": "FP32", "shape": [2, 4], "data": rows.ravel().tolist()}
    np.testing.assert_array_equal(
        array_of(server.infer({"inputs": [entry]})), generator.pixels(rows)
    )


def test_all_outputs_are_the_default_and_the_id_is_returned(server: Server) -> None:
    content = {key: value for key, value in seeds_request(1).items() if key != "outputs"}
    content_ = server.infer({**content, "id": "my own"}).json()
    assert [entry["name"] for entry in content_["outputs"]] == ["images", "pixels"]
    assert (content_["id"], content_["model_name"]) == ("my own", "generator")


def test_binary_input_and_output(server: Server, generator: Generator) -> None:
    rows = latents_from_seeds(range(3), 4)
    body, headers = binary_request(
        {
            "inputs": [
                {
                    "name": "latents",
                    "datatype": "FP32",
                    "shape": [3, 4],
                    "parameters": {"binary_data_size": rows.nbytes},
                }
            ],
            "parameters": {"binary_data_output": True},
        },
        rows.astype("<f4").tobytes(),
    )
    head, tail = split(server.infer(body, headers))
    images, pixels = generator.run(rows)
    assert [entry["parameters"]["binary_data_size"] for entry in head["outputs"]] == [
        images.nbytes,
        pixels.nbytes,
    ]
    assert tail == images.tobytes() + pixels.tobytes()


def test_one_output_binary_and_one_as_json(server: Server, generator: Generator) -> None:
    content = seeds_request(4) | {
        "outputs": [
            {"name": "pixels", "parameters": {"binary_data": True}},
            {"name": "images", "parameters": {"binary_data": False}},
        ]
    }
    head, tail = split(server.infer(content))
    assert tail == generator.sample([4]).tobytes()
    assert len(head["outputs"][1]["data"]) == 3 * 8 * 8


def test_a_binary_seed(server: Server, generator: Generator) -> None:
    entry = {
        "name": "seeds",
        "datatype": "INT64",
        "shape": [1],
        "parameters": {"binary_data_size": 8},
    }
    body, headers = binary_request({"inputs": [entry]}, struct.pack("<q", 4_000_000_000))
    np.testing.assert_array_equal(
        array_of(server.infer(body, headers)), generator.sample([4_000_000_000])
    )


def test_unknown_parameters_are_ignored(server: Server) -> None:
    plain = server.infer(seeds_request(5))
    reply = server.infer(seeds_request(5, priority=1, timeout=1000))
    np.testing.assert_array_equal(array_of(reply), array_of(plain))


def test_truncation_scales_the_latents(server: Server, generator: Generator) -> None:
    reply = server.infer(seeds_request(5, truncation=0.5))
    np.testing.assert_array_equal(
        array_of(reply), generator.pixels(latents_from_seeds([5], 4) * np.float32(0.5))
    )


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
    ],
    ids=["gzip", "deflate", "raw deflate"],
)
def test_compressed_bodies_are_accepted(
    server: Server, generator: Generator, encoding: str, pack: Any
) -> None:
    reply = server.infer(
        pack(json.dumps(seeds_request(6)).encode()), {"Content-Encoding": encoding}
    )
    np.testing.assert_array_equal(array_of(reply), generator.sample([6]))


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [("gzip", "gzip"), ("deflate", "deflate"), ("br, gzip;q=0, deflate;q=0.5", "deflate")],
)
def test_responses_are_compressed_for_clients_that_accept_it(
    server: Server, generator: Generator, accept: str, encoding: str
) -> None:
    reply = server.infer(seeds_request(*range(20)), {"Accept-Encoding": accept})
    assert reply.headers["content-encoding"] == encoding
    unpacked = gzip.decompress(reply.body) if encoding == "gzip" else zlib.decompress(reply.body)
    data = json.loads(unpacked)["outputs"][0]["data"]
    assert data == generator.sample(range(20)).ravel().tolist()


def entry(**changes: Any) -> dict[str, Any]:
    fields = {"name": "seeds", "datatype": "INT64", "shape": [2], "data": [1, 2]}
    return {key: value for key, value in (fields | changes).items() if value is not None}


LATENT_ROW = entry(name="latents", datatype="FP32", shape=[1, 4], data=[1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([], "the body is []: expected `object`, got `array`"),
        ({}, "missing required field `inputs`"),
        ({"inputs": []}, "inputs is []: expected `array` of length >= 1"),
        ({"inputs": [7]}, "inputs[0] is 7: expected `object`"),
        ({"inputs": [entry(name=None)]}, "missing required field `name`"),
        ({"inputs": [entry(name="noise")]}, "there is no input 'noise'"),
        ({"inputs": [entry(), entry()]}, "input 'seeds' is given twice"),
        ({"inputs": [entry(), LATENT_ROW]}, "give either latents or seeds"),
        ({"inputs": [entry(), entry(name="labels")]}, "there is no input 'labels'"),
        ({"inputs": [entry(datatype="BYTES")]}, "datatype 'BYTES'"),
        (
            {"inputs": [entry(datatype=["INT64"])]},
            "inputs[0].datatype is ['INT64']: expected `str`",
        ),
        ({"inputs": [entry(datatype="FP32")]}, "seeds is FP32"),
        ({"inputs": [entry(shape=None)]}, "missing required field `shape`"),
        ({"inputs": [entry(shape=[3])]}, "has 2 values"),
        ({"inputs": [entry(shape=[-2])]}, "inputs[0].shape[0] is -2: expected `int` >= 0"),
        ({"inputs": [entry(shape=[2.0])]}, "inputs[0].shape[0] is 2.0: expected `int`"),
        ({"inputs": [entry(shape=[True, 2])]}, "inputs[0].shape[0] is True: expected `int`"),
        ({"inputs": [entry(shape=[1] * 9)]}, "expected `array` of length <= 8"),
        ({"inputs": [entry(shape=[2**62, 2**62])]}, "has 2 values"),
        ({"inputs": [entry(shape=[2**63])]}, "expected `int` <= 9223372036854775807"),
        ({"inputs": [entry(shape=[0], data=[])]}, "at least 1"),
        ({"inputs": [entry(shape=[257], data=list(range(257)))]}, "at most 256"),
        ({"inputs": [entry(data=None)]}, "has no data"),
        ({"inputs": [entry(data={"a": 1})]}, "inputs[0].data is {'a': 1}: expected `array | null`"),
        ({"inputs": [entry(data=[1, True])]}, "holds True"),
        ({"inputs": [entry(data=[1, 2.0])]}, "holds 2.0"),
        ({"inputs": [entry(data=[1, None])]}, "holds None"),
        ({"inputs": [entry(data=[1, -1])]}, "outside 0 to 4294967295"),
        ({"inputs": [entry(data=[1, 2**32])]}, "outside 0 to 4294967295"),
        ({"inputs": [entry(data=[1, 2**63])]}, "beyond the range of INT64"),
        ({"inputs": [entry(data=[[1], [2]])]}, "not nested as its shape"),
        ({"inputs": [entry(data=[1, [2]])]}, "holds [2]"),
        ({"inputs": [LATENT_ROW | {"data": [[1.0, 2.0], [3.0, 4.0]]}]}, "nested as [2, 2]"),
        ({"inputs": [LATENT_ROW | {"data": [[1.0, 2.0, 3.0], [4.0]]}]}, "not nested as its"),
        ({"inputs": [LATENT_ROW | {"data": [1, 2, 3, 1e39]}]}, "beyond the range of FP32"),
        ({"inputs": [LATENT_ROW | {"shape": [4]}]}, "FP32 [n, 4] is needed"),
        ({"inputs": [LATENT_ROW | {"shape": [2, 2]}]}, "FP32 [n, 4] is needed"),
        ({"inputs": [entry(parameters=[1])]}, "parameters is [1]: expected `object | null`"),
        ({"inputs": [entry(parameters={"a": {"b": 1}})]}, "expected `bool | int | float | str`"),
        (
            {"inputs": [entry(parameters={"shared_memory_region": "x"})]},
            "shared memory is not supported",
        ),
        ({"inputs": [entry(parameters={"binary_data_size": 16})]}, "both data and"),
        (
            {"inputs": [entry(data=None, parameters={"binary_data_size": 16})]},
            "0 bytes are left",
        ),
        ({"inputs": [entry()], "outputs": 7}, "outputs is 7: expected `array | null`"),
        ({"inputs": [entry()], "outputs": [{"name": "noise"}]}, "there is no output 'noise'"),
        ({"inputs": [entry()], "outputs": [{"name": "pixels"}] * 2}, "twice"),
        (
            {
                "inputs": [entry()],
                "outputs": [{"name": "pixels", "parameters": {"classification": 3}}],
            },
            "cannot be classified",
        ),
        (
            {"inputs": [entry()], "parameters": {"truncation": "1"}},
            "truncation is '1': expected `float`",
        ),
        ({"inputs": [entry()], "parameters": {"truncation": True}}, "truncation is True"),
        (
            {"inputs": [entry()], "parameters": {"truncation": -0.1}},
            "truncation is -0.1: expected `float` >= 0",
        ),
        (
            {"inputs": [entry()], "parameters": {"binary_data_output": 1}},
            "binary_data_output is 1: expected `bool`",
        ),
        ({"inputs": [entry()], "id": 7}, "id is 7"),
    ],
)
def test_an_invalid_request_is_400_with_the_place_and_the_value(
    server: Server, content: Any, sentence: str
) -> None:
    reply = server.infer(content)
    assert reply.status == 400
    assert sentence in reply.error

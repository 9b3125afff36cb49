"""The Open Inference Protocol over gRPC, compared with the runtime."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.processes import ROOT
from tests.server.grpc_calls import Client, array_of, client_of, latents_tensor, seeds_tensor
from tests.server.servers import Server, serving
from wgan import __version__
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator

FOLDER = ROOT / "wgan" / "server" / "grpc"


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with client_of(server) as connected:
        yield connected


def test_the_compiled_protocol_is_that_of_its_files(tmp_path: Path) -> None:
    out = tmp_path / "compiled"
    names = ["inference.proto", "health.proto"]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--descriptor_set_out={out}"]
    subprocess.run([*command, *names], cwd=FOLDER, check=True)
    compiled, kept = out.read_bytes(), (FOLDER / "protocol.binpb").read_bytes()
    assert FileDescriptorSet.FromString(compiled) == FileDescriptorSet.FromString(kept), (
        "run  make protocol"
    )


def test_it_is_live_and_ready(client: Client) -> None:
    assert client.call("ServerLive").live
    assert client.call("ServerReady").ready
    assert client.call("ModelReady", name="generator").ready
    assert client.call("ModelReady", name="generator", version="12").ready


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService"])
def test_the_health_check_is_serving(client: Client, service: str) -> None:
    assert client.call("Check", service=service).status == 1


def test_server_metadata_has_name_and_version(client: Client) -> None:
    answer = client.call("ServerMetadata")
    assert (answer.name, answer.version) == ("wgan", __version__)


def test_a_model_is_described_as_over_http(client: Client, server: Server) -> None:
    answer = client.call("ModelMetadata", name="generator")
    described = server.get("/v2/models/generator").json()

    def tensors(given: Any) -> list[dict[str, Any]]:
        return [
            {"name": each.name, "datatype": each.datatype, "shape": list(each.shape)}
            for each in given
        ]

    assert tensors(answer.inputs) == described["inputs"]
    assert tensors(answer.outputs) == described["outputs"]
    assert (list(answer.versions), answer.platform) == (["12"], described["platform"])


def test_seeds_as_numbers_give_the_images_of_the_runtime(
    client: Client, generator: Generator
) -> None:
    seeds = [3, 0, 2**32 - 1]
    answer = client.infer(seeds_tensor(*seeds), outputs=[{"name": "pixels"}], id="7")
    np.testing.assert_array_equal(array_of(answer, "pixels"), generator.sample(seeds))
    assert [tensor.name for tensor in answer.outputs] == ["pixels"]
    assert (answer.id, answer.model_name, answer.model_version) == ("7", "generator", "12")


def test_raw_latents_give_both_outputs(client: Client, generator: Generator) -> None:
    rows = latents_from_seeds(range(5), 4)
    answer = client.infer(latents_tensor(rows), raw_input_contents=[rows.tobytes()])
    images, pixels = generator.run(rows)
    assert np.abs(array_of(answer, "images") - images).max() < 1e-6
    np.testing.assert_array_equal(array_of(answer, "pixels"), pixels)


@pytest.mark.parametrize("place", ["request", "outputs"])
def test_outputs_may_be_typed(client: Client, generator: Generator, place: str) -> None:
    no = {"bool_param": False}
    fields: dict[str, Any] = {"outputs": [{"name": "images"}, {"name": "pixels"}]}
    if place == "request":
        fields["parameters"] = {"binary_data_output": no}
    else:
        for output in fields["outputs"]:
            output["parameters"] = {"binary_data": no}
    answer = client.infer(seeds_tensor(1, 2), **fields)
    assert not answer.raw_output_contents
    np.testing.assert_array_equal(array_of(answer, "pixels"), generator.sample([1, 2]))
    assert array_of(answer, "images").shape == (2, 3, 8, 8)


def test_truncation_scales_the_latents(client: Client, generator: Generator) -> None:
    answer = client.infer(
        seeds_tensor(5), parameters={"truncation": {"double_param": 0.5}, "priority": {}}
    )
    expected = generator.pixels(latents_from_seeds([5], 4) * np.float32(0.5))
    np.testing.assert_array_equal(array_of(answer, "pixels"), expected)


def test_labels_choose_the_class(conditional_file: Path) -> None:
    runtime = Generator(conditional_file)
    labels = {
        "name": "labels",
        "datatype": "UINT32",
        "shape": [2],
        "contents": {"uint_contents": [1, 0]},
    }
    with (
        serving(f"generator={conditional_file}", "--grpc-port", 0) as server,
        client_of(server) as client,
    ):
        answer = client.infer(seeds_tensor(4, 4), labels)
    expected = runtime.sample([4, 4], labels=[1, 0])
    np.testing.assert_array_equal(array_of(answer, "pixels"), expected)


def tensor(**changes: Any) -> dict[str, Any]:
    return seeds_tensor(1, 2) | changes


ROW = {"name": "latents", "datatype": "FP32", "shape": [1, 4]}


@pytest.mark.parametrize(
    ("tensors", "fields", "sentence"),
    [
        ([], {}, "inputs is []: expected `array` of length >= 1"),
        ([tensor(name="noise")], {}, "there is no input 'noise'"),
        ([tensor(), tensor()], {}, "input 'seeds' is given twice"),
        ([tensor(), ROW | {"contents": {"fp32_contents": [1] * 4}}], {}, "either latents or seeds"),
        ([tensor(datatype="BYTES")], {}, "datatype 'BYTES'"),
        ([tensor(datatype="FP32")], {}, "has 0 values in fp32_contents"),
        ([tensor(shape=[3])], {}, "has 2 values in int64_contents; its shape [3] needs 3"),
        ([tensor(shape=[])], {}, "inputs[0].shape is []: expected `array` of length >= 1"),
        ([tensor(shape=[-2])], {}, "inputs[0].shape[0] is -2: expected `int` >= 0"),
        ([tensor(shape=[1] * 9)], {}, "expected `array` of length <= 8"),
        ([tensor(shape=[2**62, 2**62])], {}, "has 2 values"),
        ([tensor(shape=[2**62, 4])], {"raw_input_contents": [b""]}, "has both contents and"),
        ([seeds_tensor()], {}, "at least 1"),
        ([seeds_tensor(*range(257))], {}, "at most 256"),
        ([seeds_tensor(1, -1)], {}, "outside 0 to 4294967295"),
        ([seeds_tensor(1, 2**32)], {}, "outside 0 to 4294967295"),
        (
            [{**tensor(), "datatype": "UINT8", "contents": {"uint_contents": [1, 256]}}],
            {},
            "beyond the range of UINT8",
        ),
        ([ROW], {"raw_input_contents": [b"123"]}, "has 3 bytes; FP32 of shape [1, 4] needs 16"),
        ([ROW], {"raw_input_contents": [b"", b""]}, "has 2 tensors, and there are 1 inputs"),
        ([{**ROW, "shape": [2**62, 4]}], {"raw_input_contents": [b"1"]}, "needs 73786976294838206"),
        (
            [ROW],
            {"raw_input_contents": [np.full(4, np.nan, np.float32).tobytes()]},
            "a value that is not finite",
        ),
        ([tensor()], {"outputs": [{"name": "noise"}]}, "there is no output 'noise'"),
        ([tensor()], {"outputs": [{"name": "pixels"}] * 2}, "twice"),
        (
            [tensor()],
            {
                "outputs": [
                    {"name": "pixels", "parameters": {"binary_data": {"bool_param": False}}},
                    {"name": "images"},
                ]
            },
            "gRPC sends all or none as raw",
        ),
        (
            [tensor()],
            {"parameters": {"truncation": {"string_param": "1"}}},
            "truncation is '1': expected `float`",
        ),
        (
            [tensor(parameters={"shared_memory_region": {"string_param": "x"}})],
            {},
            "shared memory is not supported",
        ),
    ],
)
def test_an_invalid_request_is_refused_with_the_place_and_the_value(
    client: Client, tensors: list[dict[str, Any]], fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.infer(*tensors, **fields)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert sentence in caught.value.details()


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("ModelReady", {"name": "other"}),
        ("ModelMetadata", {"name": "generator2", "version": "13"}),
        ("ModelInfer", {"model_name": "../../etc/passwd"}),
        ("Check", {"service": "other"}),
    ],
)
def test_an_unknown_name_is_not_found(client: Client, method: str, fields: dict[str, str]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.call(method, **fields)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert "there is no" in caught.value.details()


def test_an_unknown_method_is_unimplemented(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.raw("ModelStreamInfer")(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

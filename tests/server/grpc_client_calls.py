"""Calls a server over gRPC with an unmodified client; run by an interpreter that has it.

    python grpc_client_calls.py triton|kserve ADDRESS OUT.npz

One client for each process: both register the same protobuf names. Writes the responses to OUT;
the test compares them with the runtime.
"""

import asyncio
import queue
import sys
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

SEEDS = np.array([3, 1, 2**32 - 1], np.int64)

LATENTS = np.stack([np.random.RandomState(seed).standard_normal(4) for seed in SEEDS]).astype(
    np.float32
)


def triton_input(module: Any, name: str, values: np.ndarray) -> Any:
    datatype = {"float32": "FP32", "int64": "INT64", "uint32": "UINT32"}[values.dtype.name]
    made = module.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


def call_triton(address: str) -> Arrays:
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("generator")
        assert client.get_server_metadata().name == "wgan"
        described = client.get_model_metadata("generator", as_json=True)
        assert [entry["name"] for entry in described["outputs"]] == ["images", "pixels"]
        version = described["versions"][0]

        inputs = [triton_input(triton, "latents", LATENTS)]
        default = client.infer("generator", inputs, model_version=version, request_id="7")
        assert default.get_response().id == "7"
        arrays = {"images": default.as_numpy("images"), "latents": default.as_numpy("pixels")}
        for compression in (None, "gzip", "deflate"):
            seeds = [triton_input(triton, "seeds", SEEDS.astype(np.uint32))]
            pixels = [triton.InferRequestedOutput("pixels")]
            answer = client.infer(
                "generator", seeds, outputs=pixels, compression_algorithm=compression
            )
            arrays[f"seeds {compression}"] = answer.as_numpy("pixels")
        answers: queue.Queue[Any] = queue.Queue()
        client.async_infer("generator", inputs, lambda result, error: answers.put(result))
        arrays["async"] = answers.get(timeout=30).as_numpy("pixels")
        assert "there is no model 'missing'" in error_of(client, "missing", inputs)
    return arrays | asyncio.run(call_triton_aio(address))


def error_of(client: Any, model: str, inputs: Any) -> str:
    """The error that the client received."""
    from tritonclient.utils import InferenceServerException

    try:
        client.infer(model, inputs)
    except InferenceServerException as exc:
        return str(exc)
    return ""


async def call_triton_aio(address: str) -> Arrays:
    import tritonclient.grpc.aio as triton

    async with triton.InferenceServerClient(address) as client:
        assert await client.is_model_ready("generator")
        inputs = [triton_input(triton, "seeds", SEEDS)]
        answers = await asyncio.gather(*(client.infer("generator", inputs) for _ in range(2)))
    return {f"aio {number}": answer.as_numpy("pixels") for number, answer in enumerate(answers)}


async def call_kserve(address: str) -> Arrays:
    import kserve

    client = kserve.InferenceGRPCClient(address)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("generator")
    arrays = {}
    for name, values, datatype in (("latents", LATENTS, "FP32"), ("seeds", SEEDS, "INT64")):
        for binary in (True, False):
            given = kserve.InferInput(name, list(values.shape), datatype)
            given.set_data_from_numpy(values, binary_data=binary)
            answer = await client.infer(
                kserve.InferRequest(model_name="generator", infer_inputs=[given], request_id="7")
            )
            assert answer.id == "7"
            pixels = next(output for output in answer.outputs if output.name == "pixels")
            arrays[f"{name} {binary}"] = pixels.as_numpy()
            if name == "latents" and binary:
                images = next(output for output in answer.outputs if output.name == "images")
                arrays["images"] = images.as_numpy()
    await client.close()
    return arrays


def main() -> None:
    client, address, out = sys.argv[1:]
    arrays = call_triton(address) if client == "triton" else asyncio.run(call_kserve(address))
    named: dict[str, Any] = {name.replace(" ", "_"): array for name, array in arrays.items()}
    np.savez(out, **named)


if __name__ == "__main__":
    main()

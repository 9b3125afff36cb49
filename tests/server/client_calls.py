"""Calls a server with tritonclient and kserve; run by an interpreter that has both.

    python client_calls.py PORT MODEL OUT.npz

Writes the responses to OUT; the test compares them with the runtime.
"""

import asyncio
import sys
from typing import Any

import kserve
import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

Arrays = dict[str, np.ndarray]


def triton_input(module: Any, name: str, values: np.ndarray, binary: bool) -> Any:
    datatype = {"float32": "FP32", "int64": "INT64", "uint32": "UINT32"}[values.dtype.name]
    made = module.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def call_triton(port: str, model: str, latents: np.ndarray, seeds: np.ndarray) -> Arrays:
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        described = client.get_model_metadata(model)
        assert [entry["name"] for entry in described["outputs"]] == ["images", "pixels"]
        version = described["versions"][0]
        assert client.is_model_ready(model, version)

        inputs = [triton_input(triton, "latents", latents, binary=True)]
        default = client.infer(model, inputs, model_version=version, request_id="7")
        assert default.get_response()["id"] == "7"
        as_json = client.infer(
            model,
            [triton_input(triton, "seeds", seeds, binary=False)],
            outputs=[triton.InferRequestedOutput("pixels", binary_data=False)],
        )
        arrays = {
            "triton images": default.as_numpy("images"),
            "triton pixels": default.as_numpy("pixels"),
            "triton json": as_json.as_numpy("pixels"),
        }
        for packing in ("gzip", "deflate"):
            packed = client.infer(
                model,
                [triton_input(triton, "seeds", seeds.astype(np.uint32), binary=True)],
                outputs=[triton.InferRequestedOutput("pixels", binary_data=True)],
                request_compression_algorithm=packing,
                response_compression_algorithm=packing,
            )
            arrays[f"triton {packing}"] = packed.as_numpy("pixels")
        waiting = [client.async_infer(model, inputs) for _ in range(3)]
        arrays["triton async"] = [each.get_result().as_numpy("pixels") for each in waiting][-1]
        assert "there is no model 'missing'" in error_of(client, "missing", inputs)
    return arrays


def error_of(client: Any, model: str, inputs: Any) -> str:
    """The error message that the client received."""
    try:
        client.infer(model, inputs)
    except InferenceServerException as exc:
        return str(exc.message())
    return ""


async def call_triton_aio(port: str, model: str, seeds: np.ndarray) -> Arrays:
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready(model)
        responses = await asyncio.gather(
            *(
                client.infer(model, [triton_input(triton_aio, "seeds", seeds, binary=binary)])
                for binary in (True, False)
            )
        )
    return {
        f"aio {number}": response.as_numpy("pixels") for number, response in enumerate(responses)
    }


async def call_kserve(port: str, model: str, latents: np.ndarray, seeds: np.ndarray) -> Arrays:
    base = f"http://127.0.0.1:{port}"
    client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
    assert await client.is_server_live(base)
    assert await client.is_server_ready(base)
    assert await client.is_model_ready(base, model)
    arrays = {}
    for name, values, datatype in (("latents", latents, "FP32"), ("seeds", seeds, "INT64")):
        for binary in (True, False):
            given = kserve.InferInput(name, list(values.shape), datatype)
            given.set_data_from_numpy(values, binary_data=binary)
            response = await client.infer(
                base,
                kserve.InferRequest(model_name=model, infer_inputs=[given]),
                model_name=model,
            )
            pixels = next(output for output in response.outputs if output.name == "pixels")
            arrays[f"kserve {name} {binary}"] = pixels.as_numpy()
    return arrays


def main() -> None:
    port, model, out = sys.argv[1:]
    seeds = np.array([3, 1, 2**32 - 1], np.int64)
    latents = np.stack([np.random.RandomState(seed).standard_normal(4) for seed in seeds])
    latents = latents.astype(np.float32)
    arrays = call_triton(port, model, latents, seeds)
    arrays |= asyncio.run(call_triton_aio(port, model, seeds))
    arrays |= asyncio.run(call_kserve(port, model, latents, seeds))
    named: dict[str, Any] = {name.replace(" ", "_"): array for name, array in arrays.items()}
    np.savez(out, **named)


if __name__ == "__main__":
    main()

"""A minimal LitServe server: a seed in, pixels out, with ONNX Runtime and batching.

    python litserve_app.py MODEL PORT THREADS MAX_BATCH MAX_WAIT_SECONDS

The response is the raw pixels.
"""

import sys

import litserve
import numpy as np
import onnxruntime as ort
from starlette.responses import Response


class Images(litserve.LitAPI):
    """Images of seeds."""

    def setup(self, device: str) -> None:
        """Open the session."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(sys.argv[3])
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            sys.argv[1], options, providers=["CPUExecutionProvider"]
        )
        self.latent_dim = self.session.get_inputs()[0].shape[1]

    def decode_request(self, request: dict[str, int]) -> np.ndarray:
        """Return the latent of a request's seed."""
        return np.random.RandomState(request["seed"]).standard_normal(self.latent_dim)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Stack the latents of several requests."""
        return np.stack(inputs).astype(np.float32)

    def predict(self, latents: np.ndarray) -> np.ndarray:
        """Generate a batch."""
        return self.session.run(["pixels"], {"latents": latents})[0]

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """Split a batch."""
        return list(output)

    def encode_response(self, output: np.ndarray) -> Response:
        """Write a response."""
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    api = Images(max_batch_size=int(sys.argv[4]), batch_timeout=float(sys.argv[5]))
    server = litserve.LitServer(api, accelerator="cpu", fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False
    )

"""A minimal MLServer runtime: seeds in, pixels out, with ONNX Runtime.

The response holds each image's pixels in base64, the shortest form of MLServer's HTTP.
"""

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Images(MLModel):
    """Images of seeds."""

    async def load(self) -> bool:
        """Open the session."""
        extra = self.settings.parameters.extra
        options = ort.SessionOptions()
        options.intra_op_num_threads = extra["threads"]
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        self.latent_dim = self.session.get_inputs()[0].shape[1]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Generate a batch of requests."""
        seeds = NumpyCodec.decode_input(payload.inputs[0]).reshape(-1)
        latents = np.stack(
            [np.random.RandomState(int(s)).standard_normal(self.latent_dim) for s in seeds]
        ).astype(np.float32)
        pixels = self.session.run(["pixels"], {"latents": latents})[0]
        output = Base64Codec.encode_output("pixels", [image.tobytes() for image in pixels])
        return InferenceResponse(model_name=self.name, outputs=[output])

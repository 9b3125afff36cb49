"""Looking into a generator: the latents of given images, and the directions of its latent space.

    from wgan.latent_space import ProjectConfig, project

    projection = project(ProjectConfig(images=(Path("shirt.png"),), model="generator.onnx"))
    print(projection.distances)

Reading order: `distance.py`, how far two images are apart; `search.py` and `descent.py`, the search
for the nearest latents without and with gradients; `projection.py`, the whole of `wgan project`.
`first_layer.py` and `principal_directions.py` are `wgan directions`.

It imports both training and the runtime; only the command line imports it. PyTorch is imported for
runs and checkpoints only.
"""

from typing import TYPE_CHECKING, Any

from wgan.latent_space.config import DirectionsConfig, ProjectConfig

if TYPE_CHECKING:
    from wgan.latent_space.principal_directions import find_directions
    from wgan.latent_space.projection import project

__all__ = ["DirectionsConfig", "ProjectConfig", "find_directions", "project"]


def __getattr__(name: str) -> Any:
    # `wgan project --help` shows the options without numpy and ONNX Runtime (PEP 562).
    if name == "project":
        from wgan.latent_space.projection import project

        return project
    if name == "find_directions":
        from wgan.latent_space.principal_directions import find_directions

        return find_directions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

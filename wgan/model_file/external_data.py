"""Where a model's weights may lie outside it: a file beside it, in its folder."""

from pathlib import Path, PurePosixPath, PureWindowsPath

from wgan.errors import ModelFileError
from wgan.text import shorten


def external_file(model: Path, location: str) -> Path:
    """Return the file that `model` names for its weights.

    The name may come from a stranger: it must be a relative path to a regular file inside the
    folder of the model, also once symbolic links are followed.

    Raises:
        ModelFileError: the name leads elsewhere, or there is no such file.
    """
    folder = model.parent.resolve()
    parts = (PurePosixPath(location), PureWindowsPath(location))
    outside = any(part.is_absolute() or part.drive or ".." in part.parts for part in parts)
    path = folder / location if location and "\0" not in location else folder
    if outside or not path.resolve().is_relative_to(folder) or path.resolve() == folder:
        raise ModelFileError(
            f"{model} cannot be used: its weights are said to be in {shorten(location, 60)}, which"
            " is not a file in the model's own folder"
        )
    if not path.is_file():
        raise ModelFileError(
            f"{model} cannot be used: its weights are in {shorten(location, 60)}, which is not"
            " beside it. Copy that file there too, or export with"
            "  torch.onnx.export(..., external_data=False)"
        )
    return path.resolve()

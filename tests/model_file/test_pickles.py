"""What a pickle of TorchScript's may ask for."""

import io
import pickletools
import warnings

import pytest
import torch
from torch import nn

from wgan.errors import ModelFileError
from wgan.model_file.archive import read_records
from wgan.model_file.pickles import check_pickle

NUMBERS = 77
SIZES = {"0": 4 * NUMBERS}


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(NUMBERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


@pytest.fixture(scope="module")
def content() -> bytes:
    """The pickle of a module with one weight."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.trace(Scaled(), torch.zeros(1)), buffer)
    return read_records(buffer.getvalue())["archive/data.pkl"]


def enlarged(content: bytes, which: int) -> bytes:
    """Another number in the place of NUMBERS: 0 is the storage's, 1 the tensor's."""
    places = [at for _, value, at in pickletools.genops(content) if value == NUMBERS]
    changed = bytearray(content)
    changed[(places[which] or 0) + 1] = 250
    return bytes(changed)


def test_what_pytorch_wrote_is_let_through(content: bytes) -> None:
    check_pickle(content, SIZES)


@pytest.mark.parametrize(("which", "said"), [(0, "not as large as"), (1, "beyond its storage")])
def test_no_tensor_is_larger_than_what_there_is_of_it(
    content: bytes, which: int, said: str
) -> None:
    with pytest.raises(ModelFileError, match=said):
        check_pickle(enlarged(content, which), SIZES)


@pytest.mark.parametrize("content", [b"", b"no pickle", b"cos\nsystem\n(S'true'\ntR."])
def test_other_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"no pickle|may not use 'os\.system'"):
        check_pickle(content, {})

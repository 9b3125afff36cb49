import contextlib
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgan.errors import ModelFileError
from wgan.model_file.manifest import Distance, Golden, Manifest, Receipt

MANIFEST = Manifest(
    latent_dim=8,
    height=32,
    width=32,
    channels=3,
    precision="fp32",
    target="portable",
    opset=18,
    step=100,
    config={"size": 32, "learning_rate": 1e-4},
    weights_sha256="0" * 64,
    content_sha256="1" * 64,
    wgan_version="0.1.0",
    receipt=Receipt(
        seeds="0-63",
        batch_sizes=(1, 2),
        providers=("CPUExecutionProvider",),
        optimizations=("all",),
        threads=(1, 2),
        seen=Distance(images=1e-6, pixels=1, mean_pixels=0.001, psnr=80.0),
        allowed=Distance(images=1e-5, pixels=1, mean_pixels=0.01, psnr=55.0),
        loosened=False,
        float64_images=2e-6,
        goldens=(Golden(seed=0, png=b"\x89PNG", psnr=70.0),),
    ),
)


def test_a_manifest_reads_back_what_was_written() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


@pytest.mark.parametrize("data_range", [(50.0, 208.0), (-1.5, 1e12)])
def test_the_range_of_the_data_is_kept(data_range: tuple[float, float]) -> None:
    manifest = dataclasses.replace(MANIFEST, data_range=data_range)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert "data_range" not in json.loads(MANIFEST.to_json())  # as files of 0.1.0


@pytest.mark.parametrize("value", [[1], [2, 1], [1, 2, 3], ["a", "b"], "0,1", [10**400, 10**401]])
def test_what_is_no_range_of_data_is_refused(value: Any) -> None:
    with pytest.raises(ModelFileError, match=r"data_range|value"):
        Manifest.from_json(change(data_range=value))


def test_equal_manifests_give_equal_text() -> None:
    shuffled = dataclasses.replace(MANIFEST, config={"learning_rate": 1e-4, "size": 32})
    assert shuffled.to_json() == MANIFEST.to_json()


@pytest.mark.parametrize(("step", "version"), [(None, "1"), (0, "1"), (1, "1"), (100, "100")])
def test_the_version_is_the_step_and_at_least_1(step: int | None, version: str) -> None:
    assert dataclasses.replace(MANIFEST, step=step).version == version


def test_class_names_are_written_only_if_there_are_classes() -> None:
    assert "classes" not in json.loads(MANIFEST.to_json())
    named = dataclasses.replace(MANIFEST, classes=("cat", "dög", "3"))
    assert json.loads(named.to_json())["classes"] == ["cat", "dög", "3"]
    assert Manifest.from_json(named.to_json()) == named
    assert Manifest.from_json(MANIFEST.to_json()).classes == ()


def change(**fields: Any) -> str:
    return json.dumps({**json.loads(MANIFEST.to_json()), **fields})


def without(name: str) -> str:
    fields = json.loads(MANIFEST.to_json())
    del fields[name]
    return json.dumps(fields)


def change_receipt(**fields: Any) -> str:
    return change(receipt={**json.loads(MANIFEST.to_json())["receipt"], **fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "lacks 'latent_dim'"),
        (without("opset"), "lacks 'opset'"),
        (without("step"), "lacks 'step'"),
        (change(format_version=2), "install a newer wgan"),
        (change(height="32"), "height is '32', not a whole number"),
        (change(height=True), "height is True"),
        (change(height=10**9), "from 1 to 16384"),
        (change(config={"size": 64}), "does not match its config_sha256"),
        (change_receipt(loosened=0), "loosened is 0, not true or false"),
        (change_receipt(float64_images=float("inf")), "not JSON"),
        (change_receipt(float64_images=-1), "is -1, not a number"),
        (change_receipt(providers=[1]), "providers is 1, not text"),
        (change(classes="cat"), "classes is 'cat', not a list"),
        (change(classes=["cat", 3]), "class name is 3, not text"),
        (change_receipt(threads=[0]), "number of threads is 0"),
        (change(step=101), "does not match its manifest_sha256"),
        (change(extra=1), "does not match its manifest_sha256"),
        (change(receipt=[]), "receipt is not a JSON object"),
        (" " * 9_000_000, "at most"),
    ],
)
def test_an_invalid_manifest_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        Manifest.from_json(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(list(json.loads(MANIFEST.to_json()))), json_values)
def test_a_field_of_any_type_is_accepted_or_refused(key: str, value: object) -> None:
    with contextlib.suppress(ModelFileError):
        Manifest.from_json(change(**{key: value}))


@pytest.mark.parametrize("depth", [100, 600, 100_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_a_manifest_that_is_nested_too_deeply_is_refused(depth: int, brackets: str) -> None:
    opening = "[" if brackets == "[]" else '{"a":'
    text = f'{{"config": {opening * depth}1{brackets[1] * depth}}}'
    with pytest.raises(ModelFileError, match=r"nested more than 32 levels deep|is not JSON"):
        Manifest.from_json(text)

"""Untrusted model files: each is refused with a sentence or run; nothing else happens."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from tests.processes import RunWgan
from tests.runtime import fuzzing, models
from wgan.errors import ModelFileError, WganError
from wgan.model_file.manifest import METADATA_KEY, SIZE_LIMIT
from wgan.runtime import Generator


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux sets them")
@pytest.mark.parametrize(
    ("kind", "count"),
    [("flipped", 1000), ("flipped-structure", 500), ("edited", 300), ("archive", 500)],
)
def test_damaged_files_are_refused_or_run(kind: str, count: int, tmp_path: Path) -> None:
    assert fuzzing.run_apart(kind, range(count), tmp_path) is None


def test_a_file_truncated_anywhere_is_refused() -> None:
    whole = fuzzing.GOOD
    for length in {*range(0, len(whole), 97), *range(0, len(whole), 1000), len(whole) - 1}:
        with pytest.raises(ModelFileError):
            Generator(whole[:length])


def test_a_fuzz_case_is_a_function_of_its_number() -> None:
    for make, _ in fuzzing.KINDS.values():
        assert make(5) == make(5)
        assert make(5) != make(6)


@pytest.mark.parametrize("place", ["secret", "../secret", "absolute", "link"])
def test_no_other_file_is_read(place: str, tmp_path: Path, run_wgan: RunWgan) -> None:
    """The external file exists and fits: reading it would work."""
    work = tmp_path / "work"
    work.mkdir()
    secret = tmp_path / "secret" if place == "../secret" else work / "secret"
    model = models.generator()
    weights = model.graph.initializer[0]
    secret.write_bytes(weights.raw_data)
    (work / "link").symlink_to(secret)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=str(secret) if place == "absolute" else place)
    (work / "model.onnx").write_bytes(model.SerializeToString())
    done = run_wgan("sample", "--model", "model.onnx", "out.png", cwd=work)
    assert done.returncode == 1
    assert "external data" in done.stderr
    assert not (work / "out.png").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(models.manifest_fields())), JSON, min_size=1))
def test_a_manifest_of_any_types_is_refused_or_read(changes: dict[str, Any]) -> None:
    text = models.manifest_text(models.manifest_fields() | changes)
    model = models.generator(metadata=[(METADATA_KEY, text)]).SerializeToString()
    with contextlib.suppress(WganError):
        Generator(model).sample([0])


def test_a_manifest_of_a_million_keys_is_refused() -> None:
    text = models.manifest_text({f"key{number}": 0 for number in range(10**6)})
    model = models.generator(metadata=[(METADATA_KEY, text)]).SerializeToString()
    with pytest.raises(ModelFileError, match=f"at most {SIZE_LIMIT} are allowed"):
        Generator(model)


@pytest.mark.parametrize("field", ["latent_dim", "height", "width", "channels"])
def test_a_manifest_with_wrong_shapes_is_refused(field: str) -> None:
    wrong = models.manifest(**{field: 2})
    with pytest.raises(ModelFileError, match=f"its manifest says {field} 2, its graph"):
        Generator(models.generator(told=wrong).SerializeToString())


def test_a_graph_with_non_finite_values_is_refused() -> None:
    model = models.generator()
    bias = np.full(6 * 4 * 4, np.nan, np.float32)
    model.graph.initializer[1].raw_data = bias.tobytes()
    with pytest.raises(ModelFileError, match="not finite"):
        Generator(models.sealed(model)).images(np.zeros((1, 4), np.float32))


def test_session_settings_in_the_file_are_ignored(
    tmp_path: Path, run_wgan: RunWgan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime can read session settings from the model: it would write a profile."""
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    config = '{"session_options": {"enable_profiling": 1, "optimized_model_filepath": "stolen"}}'
    model = models.generator(metadata=[("ort_config", config)])
    told = (METADATA_KEY, models.manifest().to_json())
    model.metadata_props.add(key=told[0], value=told[1])
    (tmp_path / "model.onnx").write_bytes(models.sealed(model))
    done = run_wgan("sample", "--model", "model.onnx", "-n", 1, "out.png")
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"model.onnx", "out.png"}

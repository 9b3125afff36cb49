"""Options of config dataclasses: checks, config files and JSON Schema."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgan.errors import UsageError
from wgan.model_file.foreign import ForeignOptions
from wgan.options import check, json_schema, option, options, parse_text, read_toml, to_toml
from wgan.runtime.config import SampleConfig
from wgan.training.config import TrainConfig
from wgan.training.execution import CacheConfig, ExecutionConfig


@dataclass(frozen=True, kw_only=True)
class Example:
    source: str = option("a", "Source of it.", argument=True)
    count: int = option(3, "Number of them.", low=1, high=10)
    share: float | None = option(None, "Share of them.", above=0, unit="share")
    mode: str = option("fast", "How.", choices=("fast", "small"))
    sizes: tuple[int, ...] = option((1, 8), "Batch sizes.", low=1, separator=",")
    bounds: tuple[float, float] = option((-1.0, 1.0), "Black and white.", separator=",")
    out: Path | None = option(None, "Output.")
    quiet: bool = option(False, "Print nothing.")
    layers: tuple[str, ...] = option((), "Layers.", flags=("--layer", "-l"))
    files: tuple[Path, ...] = option((), "Files.")

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("count", 0, "--count 0 is not allowed: it must be an integer from 1 to 10"),
        ("count", 2.0, "--count 2 is not allowed: it must be an integer"),
        ("count", True, "--count True is not allowed"),
        ("count", None, "--count None is not allowed"),
        ("share", 0, "--share 0 is not allowed: it must be a finite number greater than 0"),
        ("share", math.nan, "--share nan is not allowed"),
        ("share", math.inf, "--share inf is not allowed"),
        ("mode", "slow", "--mode 'slow' is not allowed: it must be one of fast, small"),
        ("sizes", (1, 0), r"--sizes \(1, 0\) is not allowed: it must be a sequence, each an int"),
        ("sizes", [1], r"--sizes \[1\] is not allowed"),
        ("bounds", (0.0,), "--bounds .* is not allowed: it must be a sequence of 2"),
        ("source", 3, "SOURCE 3 is not allowed: it must be a text"),
        ("out", "x", "--out 'x' is not allowed: it must be a path"),
        ("quiet", 1, "--quiet 1 is not allowed: it must be true or false"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(name: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Example(**{name: value})


def test_a_config_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    config = Example(source='a "b" \\ ü', count=7, share=0.25, sizes=(2,), out=Path("x/y"))
    path = tmp_path / "example.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert Example(**read_toml(path, Example)) == config


@given(st.text(), st.floats(0, 1e6), st.integers(0, 2**32 - 1))
def test_any_train_config_reads_back(data: str, rate: float, seed: int) -> None:
    import tempfile

    config = TrainConfig(data=data, learning_rate=rate, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.toml")
        path.write_text(to_toml(config), encoding="utf-8", newline="\n")
        assert TrainConfig(**read_toml(path, TrainConfig)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuont = 1", r"cuont is not an option. Did you mean count\?"),
        ("count = 1.5", "count = 1.5 is not allowed: it must be an integer from 1 to 10"),
        ("share = nan", "share = nan is not allowed"),
        ("count =", "cannot read the config file"),
        ("layers = ['a']\nl = 'b'", "l is there twice, the other time by another name"),
        ("layer = 3", "layer = 3 is not allowed: it must be a sequence, each a text"),
        ("bounds = 'a,b'", "--bounds 'a,b' is not allowed: write .*each a finite number"),
    ],
)
def test_a_wrong_config_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "example.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_toml(path, Example)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("l = 'a'", "layers", ("a",)),
        ("layer = ['a', 'b']", "layers", ("a", "b")),
        ("files = ['a', 'b']", "files", (Path("a"), Path("b"))),
        ("bounds = '0,1'", "bounds", (0.0, 1.0)),
        ("bounds = [0.0, 1.0]", "bounds", (0.0, 1.0)),
    ],
)
def test_a_config_file_takes_the_names_and_texts_of_the_command_line(
    tmp_path: Path, text: str, name: str, value: object
) -> None:
    path = tmp_path / "example.toml"
    path.write_text(text)
    assert read_toml(path, Example) == {name: value}


@pytest.mark.parametrize(
    ("config", "name", "text", "value"),
    [
        (SampleConfig, "grid", "8x4", (8, 4)),
        (SampleConfig, "grid", "8X4", (8, 4)),
        (SampleConfig, "shard", "2/3", (2, 3)),
        (SampleConfig, "strength", "-1.5..3", (-1.5, 3.0)),
        (SampleConfig, "labels", "a dog, 0,XxX", ("a dog", "0", "XxX")),
        (ForeignOptions, "image_shape", "8x6x3", (8, 6, 3)),
        (ForeignOptions, "latent_shape", "100", (100,)),
        (ForeignOptions, "latent_shape", "100x1x1", (100, 1, 1)),
    ],
)
def test_a_text_of_several_values_is_read(config: Any, name: str, text: str, value: object) -> None:
    assert parse_text(text, name, *options(config)[name]) == value


@pytest.mark.parametrize(
    ("config", "name", "text", "message"),
    [
        (SampleConfig, "grid", "0x3", "--grid '0x3' is not allowed: write ROWSxCOLUMNS, each an"),
        (SampleConfig, "grid", "1" * 5000 + "x1", "--grid '1+.* write ROWSxCOLUMNS"),
        (SampleConfig, "grid", "8", "write .*, each an integer at least 1, as in 8x8"),
        (SampleConfig, "labels", "0,,1", "'0,,1' .*: write names or indices, as in cat,0,3"),
        (SampleConfig, "shard", "1/2/3", "--shard '1/2/3' is not allowed: write I/N"),
        (SampleConfig, "shard", "0/3", "write I/N, each an integer at least 1, as in 1/4"),
        (SampleConfig, "shard", "1" * 5000 + "/1", "--shard '1+.* write I/N"),
        (SampleConfig, "strength", "3", "--strength '3' is not allowed: write LOW..HIGH"),
        (
            SampleConfig,
            "strength",
            "nan..3",
            "write .*, each a finite number from -100 to 100",
        ),
        (ForeignOptions, "image_shape", "8x8", "--image-shape '8x8' is not allowed: write HxWxC"),
        (ForeignOptions, "latent_shape", "1x0", r"--latent-shape '1x0' .* write SIZE\[xSIZE...\]"),
    ],
)
def test_a_text_of_other_values_is_refused(config: Any, name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_text(text, name, *options(config)[name])
    assert len(str(caught.value)) < 200


def test_a_missing_config_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the config file .*none\.toml"):
        read_toml(tmp_path / "none.toml", Example)


@pytest.mark.parametrize("config", [Example(), TrainConfig(), ExecutionConfig(), CacheConfig()])
def test_the_json_schema_accepts_the_defaults(config: Any) -> None:
    schema = json_schema(config)
    jsonschema.Draft202012Validator.check_schema(schema)
    values = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(config).items()
        if name in schema["properties"]
    }
    jsonschema.validate(values, schema)


@pytest.mark.parametrize(("name", "value"), [("count", 0), ("share", 0), ("mode", "x"), ("b", 1)])
def test_the_json_schema_refuses_what_the_config_refuses(name: str, value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({name: value}, json_schema(Example))


@pytest.mark.parametrize("config", [SampleConfig, TrainConfig])
def test_options_exclude_each_other_both_ways(config: type) -> None:
    known = options(config)
    pairs = {(name, other) for name, (_, each) in known.items() for other in each.excludes}
    assert pairs
    assert pairs == {(other, name) for name, other in pairs}

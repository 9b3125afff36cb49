import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from wgan.errors import RunError, SettingChanged, UsageError
from wgan.image_shape import parse_size
from wgan.options import json_schema, options, read_toml, to_toml, value_type
from wgan.training.config import TrainConfig
from wgan.training.data import Cache
from wgan.training.execution import CacheConfig, ExecutionConfig, PrepareConfig


def test_the_default_has_few_critic_updates_and_a_falling_rate() -> None:
    config = TrainConfig.resolve({})
    assert config.recipe == "tuned"
    assert (config.arch, config.n_critic) == ("resize-conv", 1)
    assert config.decay_length == config.steps
    assert config.constraint == "penalty"


def test_wgan_gp_is_the_papers_recipe_at_twice_its_learning_rate() -> None:
    config = TrainConfig.resolve({"recipe": "wgan-gp"})
    assert config.arch == "dcgan"
    assert config.decay_length == 0
    assert (config.learning_rate, config.beta1, config.beta2) == (2e-4, 0.0, 0.9)
    assert (config.n_critic, config.gp_weight) == (5, 10.0)
    assert config.critic_norm == "none"
    assert config.fresh_batches


def test_the_article_is_followed_to_the_letter() -> None:
    config = TrainConfig.resolve({"recipe": "article"})
    assert (config.learning_rate, config.beta1, config.beta2) == (1e-4, 0.5, 0.999)
    assert config.n_critic == 3
    assert config.critic_norm == "batch"
    assert not config.fresh_batches


def test_what_is_given_goes_before_the_recipe() -> None:
    assert TrainConfig.resolve({"recipe": "article", "n_critic": 7}).n_critic == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 30),
        ("size", 12),
        ("size", 516),
        ("size", "48x30"),
        ("size", "48"),
        ("size", "0x48"),
        ("channels", 0),
        ("channels", 17),
        ("fit", "cover"),
        ("recipe", "wgan-xl"),
        ("critic_norm", "group"),
        ("batch_size", 0),
        ("n_critic", 0),
        ("steps", -1),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("gp_weight", float("inf")),
        ("beta2", 1.0),
        ("seed", 2**32),
        ("width", "16"),
        ("width", True),
        ("width", 16.5),
        ("flip", 1),
        ("recipe", []),
    ],
)
def test_a_setting_that_is_not_allowed_is_named_with_its_value(name: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig.resolve({name: value})
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    assert f" {shown} is not allowed" in str(caught.value).replace("'", "")
    assert name.replace("_", "-") in str(caught.value).replace("_", "-")


def test_auto_precision_is_what_it_was_when_the_run_began() -> None:
    assert TrainConfig(precision="bf16").resume({"precision": "auto"}).precision == "bf16"


def test_a_changed_setting_is_named_with_both_values() -> None:
    with pytest.raises(SettingChanged, match="--width was 16 when this run began and is now 32"):
        TrainConfig().resume({"steps": 900, "width": 32})


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "{}", "[]", '{"data": 1, "size": 32}'])
def test_settings_that_were_not_written_here_are_refused(text: str) -> None:
    with pytest.raises(RunError, match=r"^config\.json "):
        TrainConfig.from_json(text, "config.json")


@pytest.mark.parametrize(
    ("text", "size", "shape"),
    [("28", 28, (28, 28, 3)), ("48X80", "48x80", (48, 80, 3)), ("64x64", 64, (64, 64, 3))],
)
def test_a_size_is_a_number_or_height_x_width(
    text: str, size: int | str, shape: tuple[int, int, int]
) -> None:
    config = TrainConfig(size=parse_size(text))
    assert (config.size, config.image_shape) == (size, shape)
    assert TrainConfig.from_json(config.to_json(), "config.json") == config


@pytest.mark.parametrize("text", ["", "x", "48x", "x80", "48x80x3", "-1", "4 8", "\u0664", "1e2"])
def test_another_text_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="HEIGHTxWIDTH"):
        parse_size(text)


def test_networks_of_ones_own_take_any_size() -> None:
    assert TrainConfig(arch="mine:build", size="7x9").image_shape == (7, 9, 3)
    with pytest.raises(UsageError, match="networks of your own take any size"):
        TrainConfig(size="7x9")


def test_a_config_file_names_a_square_or_a_rectangle(tmp_path: Path) -> None:
    for size in (28, "48x80"):
        path = tmp_path / "config.toml"
        path.write_text(to_toml(TrainConfig(size=size)))
        assert read_toml(path, TrainConfig)["size"] == size
    path.write_text('size = "tall"')
    with pytest.raises(UsageError, match="must be a number of pixels, as in 64, or HEIGHTxWIDTH"):
        read_toml(path, TrainConfig)


def test_the_schema_of_a_size_has_both_forms() -> None:
    schema = json_schema(TrainConfig)["properties"]["size"]
    assert [form["type"] for form in schema["anyOf"]] == ["integer", "string"]
    assert re.match(schema["anyOf"][1]["pattern"], "48x80")


def test_the_length_of_a_run_may_change() -> None:
    assert TrainConfig().resume({"steps": 900, "log_every": 1}).steps == 900


def test_settings_read_back_what_was_written() -> None:
    config = TrainConfig(width=24, learning_rate=3e-4)
    assert TrainConfig.from_json(config.to_json(), "config.json") == config


def test_the_class_names_of_a_run_are_read_back() -> None:
    config = TrainConfig(conditional=True, classes=("cat", "dog"))
    assert TrainConfig.from_json(config.to_json(), "config.json") == config


def test_a_run_from_before_there_were_classes_is_unconditional() -> None:
    old = json.loads(TrainConfig().to_json())
    del old["conditional"], old["classes"]
    assert TrainConfig.from_dict(old, "config.json") == TrainConfig()


@pytest.mark.parametrize("classes", [None, "cat", [1, 2], 3])
def test_classes_that_are_no_names_are_refused(classes: object) -> None:
    fields = {**dataclasses.asdict(TrainConfig()), "classes": classes}
    with pytest.raises(RunError, match="here cannot be used: its classes"):
        TrainConfig.from_dict(fields, "here")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", json.dumps({**dataclasses.asdict(TrainConfig()), "width": "16"})],
)
def test_what_are_no_settings_is_refused_by_name(text: str) -> None:
    with pytest.raises(RunError, match=r"here/config\.json"):
        TrainConfig.from_json(text, "here/config.json")


NUMBERS = [
    (kind, name)
    for kind in (TrainConfig, ExecutionConfig, PrepareConfig)
    for name, (field, _) in options(kind).items()
    if value_type(field)[0] in (int, float)
]


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_no_option_accepts_a_number_that_nothing_can_use(kind: Any, name: str) -> None:
    required = {"data": "faces", "shards": Path("shards")} if kind is PrepareConfig else {}
    for value in (math.nan, math.inf, -math.inf, -1, -1e-9, 1e300, 10**30, "1", True, [1]):
        with pytest.raises(UsageError, match="is not allowed: it must be"):
            kind(**{**required, name: value})


def test_the_largest_cache_is_a_number_of_bytes() -> None:
    cache = Cache.of(CacheConfig(cache_size=1e9, cache_limit=1e9))
    assert cache is not None
    assert cache.size == cache.limit == 10**18

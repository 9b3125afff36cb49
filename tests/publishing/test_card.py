"""The model card, as the Hub's own package and its readers of Markdown take it."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.runtime import models
from wgan.publishing import PublishConfig, publish
from wgan.publishing.front_matter import front_matter

TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # which UTF-8 has not
VALUES = st.recursive(
    TEXT | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=12,
)


@settings(deadline=None, max_examples=50)
@example(
    {"true": "yes", "no": 1e-05, "é": "\x7f\u2028", "list": [], "fields": {}, "y": [[{"a": []}]]}
)
@given(st.dictionaries(TEXT, VALUES, min_size=1))
def test_a_reader_of_yaml_gets_what_was_written(fields: dict[str, object]) -> None:
    text = front_matter(fields)
    assert text.startswith("---\n")
    assert text.endswith("\n---\n")
    assert yaml.safe_load(text.removesuffix("---\n")) == fields


def test_the_hubs_package_reads_the_metadata_and_the_metrics(
    published: Path, workplace: Path
) -> None:
    card = ModelCard.load(published / "README.md")
    data: Any = card.data
    assert (data.library_name, data.license) == ("wgan", "cc-by-4.0")
    assert data.pipeline_tag == "unconditional-image-generation"
    assert data.model_name == "faces-gan"
    assert {"gan", "onnx", "transformers.js"} <= set(data.tags or ())
    measured = json.loads((workplace / "eval.json").read_text())["results"][0]["metrics"]
    found = {result.metric_type: result.metric_value for result in data.eval_results or ()}
    assert found == {name: values["mean"] for name, values in measured.items()}
    assert {result.dataset_name for result in data.eval_results or ()} == {"faces"}
    assert {result.metric_name for result in data.eval_results or ()} >= {"FID (features.onnx)"}


def test_the_hubs_package_writes_the_card_again_without_a_loss(published: Path) -> None:
    card = ModelCard.load(published / "README.md")
    again: Any = ModelCard(str(card)).data
    fields = yaml.safe_load((published / "README.md").read_text().split("---\n")[1])
    assert again.to_dict() == fields
    assert (fields["sdk"], fields["app_file"]) == ("gradio", "app.py")


def test_the_card_says_what_was_measured_and_shows_nothing_of_the_machine(
    published: Path, workplace: Path
) -> None:
    text = (published / "README.md").read_text()
    assert "30 generated images, 2 times, 40 real ones of faces" in text
    assert re.search(r"\| FID \| [\d.,]+ ± [\d.,]+ \|", text), re.findall(
        r"^\|.*", text, re.MULTILINE
    )
    assert "Trained on images called `images`" in text  # the path's last part
    assert "after 4 steps" in text
    assert "somebody/home" not in text
    assert str(workplace) not in text
    assert str(workplace) not in (published / "config.json").read_text()


def test_a_card_without_metrics_and_licence_says_so(published_classes: Path) -> None:
    text = (published_classes / "README.md").read_text()
    data: Any = ModelCard(text).data
    assert "Not measured." in text
    assert "None is stated." in text
    assert data.license is None
    assert data.eval_results is None
    assert "5 classes" in text
    assert "`cat`, `dog`, `Große Eule`" in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a`b|c", "x\n---\n# y", "\u202e"])
def test_names_in_a_file_cannot_change_the_card(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file.onnx"
    file.write_bytes(models.conditional((name, "other")).SerializeToString())
    publish(PublishConfig(folder=tmp_path / "a <b> & [c]", exports=(file,)))
    text = (tmp_path / "a <b> & [c]" / "README.md").read_text()
    data: Any = ModelCard(text).data
    assert data.to_dict()["title"] == "a <b> & [c]"
    assert "# a \\<b\\> \\& \\[c\\]\n" in text
    (line,) = (line for line in text.splitlines() if line.startswith("Classes"))
    assert re.fullmatch(r"Classes, by label: `[^`|]+`, `other`\.", line)
    assert "\u202e" not in text


def test_the_checksums_are_what_sha256sum_reads(published: Path) -> None:
    text = (published / "README.md").read_text()
    lines = re.findall(r"^([0-9a-f]{64})  (\S+)$", text, re.MULTILINE)
    assert [name for _, name in lines] == [
        *("onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_int8.onnx")
    ]
    for digest, name in lines:
        assert hashlib.sha256((published / name).read_bytes()).hexdigest() == digest

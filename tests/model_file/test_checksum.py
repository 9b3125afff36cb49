import dataclasses
import io
import zipfile

import onnx
import pytest

from tests.runtime.models import generator, manifest
from wgan.model_file.manifest import METADATA_KEY
from wgan.model_file.reading import content_sha256


def archive(records: dict[str, str], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in records.items():
            file.writestr(name, content)
    return buffer.getvalue()


def test_the_checksum_does_not_depend_on_the_manifest() -> None:
    one = generator().SerializeToString()
    other = generator(told=dataclasses.replace(manifest(), step=99)).SerializeToString()
    assert one != other
    assert content_sha256(one) == content_sha256(other)


def test_a_file_without_a_manifest_has_the_same_checksum() -> None:
    model = generator()
    original = content_sha256(model.SerializeToString())
    del model.metadata_props[:]
    assert content_sha256(model.SerializeToString()) == original


@pytest.mark.parametrize("change", ["weight", "node", "metadata", "opset"])
def test_any_other_change_changes_the_checksum(change: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(generator())
    if change == "weight":
        weight = model.graph.initializer[0]
        weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]
    elif change == "node":
        model.graph.node[0].name = "renamed"
    elif change == "metadata":
        model.metadata_props.add(key="other", value="text")
    else:
        model.opset_import[0].version += 1
    changed = content_sha256(model.SerializeToString())
    assert changed != content_sha256(generator().SerializeToString())


def test_the_checksum_of_an_archive_depends_on_its_records_only() -> None:
    records = {"a/data": "1" * 1000, "a/code": "2", f"a/extra/{METADATA_KEY}": "{}"}
    original = content_sha256(archive(records))
    reordered = dict(reversed(records.items()))
    assert content_sha256(archive(reordered, zipfile.ZIP_DEFLATED)) == original
    assert content_sha256(archive({**records, f"a/extra/{METADATA_KEY}": "{1}"})) == original
    assert content_sha256(archive({**records, "a/code": "3"})) != original
    assert content_sha256(archive({**records, "a/more": ""})) != original

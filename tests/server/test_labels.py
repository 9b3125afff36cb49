"""A served generator with classes: labels in both protocols, and a class menu on the page."""

import io
import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runtime.models import CLASSES
from tests.server.servers import Reply, Server, serving
from tests.server.test_page import await_images, shown
from wgan.images import grid
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator

V1, V2 = "/v1/models/conditional", "/v2/models/conditional"


@pytest.fixture(scope="module")
def labelled(conditional_file: Path) -> Iterator[Server]:
    with serving(conditional_file) as running:
        yield running


def image(reply: Reply) -> np.ndarray:
    assert reply.status == 200, reply.body
    return np.asarray(Image.open(io.BytesIO(reply.body)))


def tensor(name: str, values: Any, datatype: str = "INT64") -> dict[str, Any]:
    array = np.asarray(values)
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.tolist()}


def infer(server: Server, *inputs: dict[str, Any]) -> Reply:
    return server.post(f"{V2}/infer", {"inputs": list(inputs), "outputs": [{"name": "pixels"}]})


def pixels_of(reply: Reply) -> np.ndarray:
    assert reply.status == 200, reply.body
    (output,) = reply.json()["outputs"]
    return np.array(output["data"], np.uint8).reshape(output["shape"])


def test_the_model_names_its_classes(labelled: Server) -> None:
    model = labelled.get(V1).json()
    assert model["classes"] == list(CLASSES)
    assert "classes" not in model["manifest"]
    inputs = labelled.get(V2).json()["inputs"]
    assert inputs[-1] == {"name": "labels", "datatype": "INT64", "shape": [-1]}


def test_a_model_without_classes_has_no_labels(server: Server) -> None:
    assert server.get("/v1/models/generator").json()["classes"] == []
    names = [entry["name"] for entry in server.get("/v2/models/generator").json()["inputs"]]
    assert names == ["latents", "seeds"]


@pytest.mark.parametrize(
    ("label", "index"), [("dog", 1), ("0", 0), ("7", 4), ("Gro%C3%9Fe%20Eule", 2)]
)
def test_an_image_of_a_class_by_name_or_index(
    labelled: Server, conditional: Generator, label: str, index: int
) -> None:
    found = image(labelled.get(f"{V1}/images/6.png?label={label}"))
    np.testing.assert_array_equal(found, conditional.sample([6], labels=index)[0])


def test_without_a_label_a_seed_has_its_own(labelled: Server, conditional: Generator) -> None:
    found = image(labelled.get(f"{V1}/images/6.png"))
    np.testing.assert_array_equal(found, conditional.sample([6], labels=6 % len(CLASSES))[0])
    tags = [
        labelled.get(f"{V1}/images/6.png{query}").headers["etag"]
        for query in ("", "?label=dog", "?label=1", "?label=cat")
    ]
    assert tags[1] == tags[2]
    assert len(set(tags)) == 3


def test_a_grid_takes_a_label_or_labels(labelled: Server, conditional: Generator) -> None:
    found = image(labelled.get(f"{V1}/grid.png?seeds=0-3&labels=cat,0,dog,4"))
    np.testing.assert_array_equal(found, grid(conditional.sample(4, labels=[0, 0, 1, 4])))
    found = image(labelled.get(f"{V1}/grid.png?seeds=0-3&label=dog"))
    np.testing.assert_array_equal(found, grid(conditional.sample(4, labels=1)))


def test_an_interpolation_keeps_its_label(labelled: Server, conditional: Generator) -> None:
    path = f"{V1}/between.png?first=3&second=9&at="
    for query, label in (("", 3), ("&label=dog", 1)):
        start, end = conditional.sample([3, 9], labels=label)
        found = image(labelled.get(f"{path}0{query}")).astype(int)
        np.testing.assert_allclose(found, start, atol=1)
        np.testing.assert_allclose(image(labelled.get(f"{path}1{query}")).astype(int), end, atol=1)


def test_a_sample_takes_labels_by_index_and_name(labelled: Server, conditional: Generator) -> None:
    accept = {"accept": "application/x-npy"}
    latents = latents_from_seeds([5, 6], 4).tolist()
    for body, expected in (
        ({"seeds": [5, 6], "labels": ["dog", 0]}, conditional.sample([5, 6], labels=[1, 0])),
        ({"seeds": "5-6", "label": 4}, conditional.sample([5, 6], labels=4)),
        ({"seeds": "5-6"}, conditional.sample([5, 6], labels=[0, 1])),
        ({"latents": latents, "labels": [2, "cat"]}, conditional.sample([5, 6], labels=[2, 0])),
        ({"latents": latents}, conditional.sample([5, 6], labels=[0, 1])),
    ):
        reply = labelled.post(f"{V1}/sample", body, accept)
        assert reply.status == 200, reply.body
        np.testing.assert_array_equal(np.load(io.BytesIO(reply.body)), expected)


def test_names_in_an_archive_have_the_class(labelled: Server) -> None:
    accept = {"accept": "application/zip"}
    for body, names in (
        ({"seeds": [5, 6], "labels": ["dog", 2]}, ["00000005-dog.png", "00000006-Groe_Eule.png"]),
        ({"first": 1, "second": 2, "steps": 2}, ["1-2-000-dog.png", "1-2-001-dog.png"]),
    ):
        reply = labelled.post(f"{V1}/sample", body, accept)
        assert zipfile.ZipFile(io.BytesIO(reply.body)).namelist() == names


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("images/1.png?label=dgo", "label 'dgo' is not a class of this model: give 0 to 4"),
        ("images/1.png?label=5", "label 5 is not a class of this model"),
        ("grid.png?seeds=0-3&labels=0,1", "2 labels are given for 4 images"),
        ("grid.png?seeds=0-3&labels=0,,1,2", "write names or indices"),
        ("grid.png?seeds=0-3&labels=0,1,2,3&label=0", "label and labels exclude each other"),
        ("images/1.png?labels=0", "unknown field `labels`"),
    ],
)
def test_a_wrong_label_is_400(labelled: Server, path: str, sentence: str) -> None:
    reply = labelled.get(f"{V1}/{path}")
    assert reply.status == 400
    assert sentence in reply.error


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"seeds": "0-1", "labels": [0, -1]}, "labels[1] is -1"),
        ({"seeds": "0-1", "labels": [0, 1.5]}, "labels[1] is 1.5"),
        ({"seeds": "0-1", "labels": [0, 9]}, "label 9 is not a class"),
        ({"seeds": "0-1", "labels": "0,1"}, "labels is '0,1'"),
        ({"seeds": "0-1", "labels": [0], "label": 0}, "exclude each other"),
        ({"latents": [[0, 0, 0, 0]], "labels": [0, 1]}, "2 labels are given for 1 images"),
    ],
)
def test_a_wrong_label_of_a_sample_is_400(
    labelled: Server, body: dict[str, Any], sentence: str
) -> None:
    reply = labelled.post(f"{V1}/sample", body)
    assert reply.status == 400
    assert sentence in reply.error


def test_the_protocol_takes_labels(labelled: Server, conditional: Generator) -> None:
    seeds, labels = tensor("seeds", [5, 6, 7]), tensor("labels", [1, 1, 4])
    expected = conditional.sample([5, 6, 7], labels=[1, 1, 4])
    np.testing.assert_array_equal(pixels_of(infer(labelled, seeds, labels)), expected)
    np.testing.assert_array_equal(pixels_of(infer(labelled, labels, seeds)), expected)
    latents = tensor("latents", latents_from_seeds([5, 6, 7], 4), "FP32")
    np.testing.assert_array_equal(pixels_of(infer(labelled, latents, labels)), expected)
    np.testing.assert_array_equal(pixels_of(infer(labelled, seeds)), conditional.sample([5, 6, 7]))
    np.testing.assert_array_equal(
        pixels_of(infer(labelled, latents)), conditional.sample([5, 6, 7], labels=[0, 1, 2])
    )


def test_the_protocol_takes_binary_labels(labelled: Server, conditional: Generator) -> None:
    latents, labels = latents_from_seeds([5, 6], 4), np.array([4, 0], np.int64)
    inputs = []
    for name, datatype, array in (("latents", "FP32", latents), ("labels", "INT64", labels)):
        size = {"binary_data_size": array.nbytes}
        entry = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        inputs.append({**entry, "parameters": size})
    header = json.dumps({"inputs": inputs, "outputs": [{"name": "pixels"}]}).encode()
    reply = labelled.request(
        "POST",
        f"{V2}/infer",
        header + latents.tobytes() + labels.tobytes(),
        {"inference-header-content-length": str(len(header))},
    )
    np.testing.assert_array_equal(pixels_of(reply), conditional.sample([5, 6], labels=[4, 0]))


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ([tensor("labels", [0])], "give either latents or seeds"),
        ([tensor("seeds", [1, 2]), tensor("labels", [0])], r"INT64 or UINT32 [2] is needed"),
        ([tensor("seeds", [1]), tensor("labels", [[0]])], "input labels is INT64 [1, 1]"),
        ([tensor("seeds", [1]), tensor("labels", [5])], "outside 0 to 4"),
        ([tensor("seeds", [1]), tensor("labels", [-1])], "outside 0 to 4"),
        ([tensor("seeds", [1]), tensor("labels", [0.0], "FP32")], "input labels is FP32 [1]"),
        ([tensor("seeds", [1]), *[tensor("labels", [0])] * 2], "'labels' is given twice"),
        ([tensor("seeds", [1]), tensor("label", [0])], "has latents, seeds and labels"),
    ],
)
def test_wrong_labels_of_the_protocol_are_400(
    labelled: Server, inputs: list[dict[str, Any]], sentence: str
) -> None:
    reply = infer(labelled, *inputs)
    assert reply.status == 400
    assert sentence in reply.error


def test_requests_with_and_without_labels_share_batches(
    labelled: Server, conditional: Generator
) -> None:
    def ask(seed: int) -> np.ndarray:
        if seed % 2:
            return pixels_of(infer(labelled, tensor("seeds", [seed])))
        return pixels_of(infer(labelled, tensor("seeds", [seed]), tensor("labels", [1])))

    with ThreadPoolExecutor(16) as clients:
        found = np.concatenate(list(clients.map(ask, range(64))))
    labels = [seed % len(CLASSES) if seed % 2 else 1 for seed in range(64)]
    np.testing.assert_array_equal(found, conditional.sample(64, labels=labels))


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    yield opened
    context.close()
    assert wrong == []


def test_the_page_has_a_menu_of_classes(
    page: Any, labelled: Server, conditional: Generator
) -> None:
    page.goto(labelled.url)
    await_images(page, 48)
    assert page.locator("#label option").all_inner_texts() == ["by seed", *CLASSES]
    tile = '.tile[data-seed="6"] img'
    np.testing.assert_array_equal(shown(page, tile), conditional.sample([6])[0])
    page.select_option("#label", "Große Eule")
    await_images(page, 48)
    of_class = conditional.sample([6], labels=2)[0]
    np.testing.assert_array_equal(shown(page, tile), of_class)
    address = page.url
    assert "label=Gro" in address
    page.goto(f"{labelled.url}/docs")
    page.goto(address)
    await_images(page, 48)
    assert page.locator("#label").input_value() == "Große Eule"
    np.testing.assert_array_equal(shown(page, tile), of_class)


def test_the_page_of_a_model_without_classes_has_no_menu(page: Any, server: Server) -> None:
    page.goto(server.url)
    await_images(page, 48)
    assert page.locator("#model").is_visible()
    assert not page.locator("#label").is_visible()

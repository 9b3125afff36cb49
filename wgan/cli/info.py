"""`wgan info`."""

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.process import protect_process
from wgan.errors import ModelFileError, WganError
from wgan.image_shape import channels_text
from wgan.model_file.external_data import external_file
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.graph_inputs import find_inputs
from wgan.model_file.image_outputs import find_images, range_of_images
from wgan.model_file.onnx_scan import OnnxFile, ValueInfo
from wgan.model_file.reading import Description, describe
from wgan.model_file.value_range import inferred_range
from wgan.runtime.config import InfoConfig
from wgan.runtime.model_source import find_model
from wgan.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from wgan.model_file.manifest import Distance, Manifest, Receipt

MAX_VALUES = 20
"""Inputs and outputs that are listed; the others are counted."""


@click.command(cls=ConfigCommand)
@config_options(InfoConfig)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest, or the rows, as JSON.")
@click.pass_obj
def info(is_cli: bool | None, given: Given, as_json: bool) -> None:
    """Describe an exported file: ONNX, TorchScript, pt2 or LiteRT. By default the latest export.

    Of an ONNX file from another project: its inputs, outputs, opset and the range of its images,
    and which options it needs.
    """
    config = given.make(InfoConfig)
    if config.device is not None:  # else nothing but our own Python looks at the file
        protect_process(is_cli)
    path = find_model(config.file, only_onnx=False)
    description = describe(path)
    manifest = description.manifest
    if manifest is not None:
        config.check_own()
    if as_json and manifest is not None:
        click.echo(manifest.to_json())
        return
    content = {} if manifest is not None else _graph(path, description, config.foreign)
    rows: dict[str, Any] = {"file": f"{path} ({description.format})"}
    rows |= _manifest_rows(manifest) if manifest is not None else _graph_rows(content)
    if config.device is not None:
        from wgan.runtime import Generator

        with Generator(path, config.device, foreign=config.foreign) as generator:
            content["provider"] = rows["runs on"] = generator.provider
    if as_json:
        click.echo(json.dumps(content))
        return
    for name, value in rows.items():
        lines = value if isinstance(value, list) else [value]
        for number, line in enumerate(lines[:MAX_VALUES]):
            click.echo(f"{'' if number else name:14}{printable(line)}")
        if len(lines) > MAX_VALUES:
            click.echo(f"{'':14}... {len(lines)} in all")


def _manifest_rows(manifest: "Manifest") -> dict[str, Any]:
    receipt = manifest.receipt
    return {
        "images": f"{manifest.width}x{manifest.height}, {manifest.channels} channels",
        **_data_range_row(manifest),
        "latent_dim": manifest.latent_dim,
        **_classes(manifest),
        "precision": manifest.precision,
        "target": manifest.target,
        **({} if manifest.opset is None else {"opset": manifest.opset}),
        **({"source": manifest.source} if manifest.source else {}),
        **({} if manifest.step is None else {"training step": manifest.step}),
        **({"in float": ", ".join(manifest.float_layers)} if manifest.float_layers else {}),
        "weights": f"sha256 {manifest.weights_sha256}",
        "wgan": manifest.wgan_version,
        **({} if receipt.reference == "PyTorch" else {"reference": _reference(receipt)}),
        "proved on": f"{', '.join(receipt.providers)}; seeds {receipt.seeds}; batches"
        f" {', '.join(map(str, receipt.batch_sizes))}",
        "differs by": f"{_distance(receipt.seen)} (allowed: {_distance(receipt.allowed)}"
        f"{', loosened by the user' if receipt.loosened else ''})",
    }


def _reference(receipt: "Receipt") -> str:
    checksum = receipt.reference_sha256
    return receipt.reference + (f", sha256 {checksum}" if checksum else "")


def _classes(manifest: "Manifest") -> dict[str, Any]:
    """The classes by label, if there are some, a line each."""
    names = [f"{label} {name}" for label, name in enumerate(manifest.classes)]
    return {"classes": names} if names else {}


def _data_range_row(manifest: "Manifest") -> dict[str, str]:
    if not manifest.data_range:
        return {}
    low, high = manifest.data_range
    return {"data range": f"{low:g} is black, {high:g} white in the training data"}


def _graph(path: "Path", description: Description, options: ForeignOptions) -> dict[str, Any]:
    """What a file without a manifest says about itself, for --json."""
    content = {"file": str(path), "format": description.format, "bytes": path.stat().st_size}
    file = description.onnx
    if file is not None:
        content |= {
            "exporter": file.exporter,
            "opset": file.opset,
            "inputs": [dataclasses.asdict(value) for value in file.inputs],
            "outputs": [
                {**dataclasses.asdict(value), "range": inferred_range(value.name, file.producers)}
                for value in file.outputs
            ],
            "weights_in": sorted(file.external),
            "random": sorted(file.draws),
            "training_mode": sorted(file.trains),
            "unsafe": file.unsafe or _missing_weights(path, file),
            **_as_generator(file, options),
        }
    return content


def _missing_weights(path: "Path", file: OnnxFile) -> str:
    """Why weights in other files cannot be read; empty if they can."""
    try:
        for location in file.external:
            external_file(path, location)
    except ModelFileError as exc:
        return str(exc)
    return ""


def _as_generator(file: OnnxFile, options: ForeignOptions) -> dict[str, Any]:
    """What the file is as a generator, or the option that it needs; nothing is run."""
    try:
        inputs = find_inputs(file.inputs, options, file.embeddings)
        floats, pixels = find_images(file.outputs, options)
        images = floats or pixels
        assert images is not None
        value_range = range_of_images(floats, pixels, file.producers, options.value_range)
    except WganError as exc:
        return {"generator": None, "needs": str(exc)}
    return {
        "generator": {
            "latents": inputs.latents.name,
            "latent_shape": inputs.axes,
            "batch": inputs.batch,
            "classes": inputs.labels.classes if inputs.labels is not None else 0,
            "images": images.value.name,
            "height_width": images.sides,
            "channels": images.channels,
            "value_range": value_range,
        }
    }


def _graph_rows(content: dict[str, Any]) -> dict[str, Any]:
    rows: dict[str, Any] = {
        "manifest": "none: wgan did not export it",
        "size": f"{content['bytes']:,} bytes",
    }
    if "inputs" not in content:
        return rows
    rows |= {
        "written by": content["exporter"] or "unknown",
        "opset": content["opset"] or "unknown",
        "inputs": [_value(entry) for entry in content["inputs"]] or "none",
        "outputs": [_value(entry) for entry in content["outputs"]] or "none",
    }
    if content["weights_in"]:
        rows["weights in"] = content["weights_in"]
    if content["random"]:
        rows["draws"] = f"random numbers itself: {', '.join(content['random'])}"
    if content["training_mode"]:
        rows["training mode"] = " and ".join(content["training_mode"])
    found = content["generator"]
    rows["generator"] = content["needs"] if found is None else _generator_row(found)
    return rows | ({"unsafe": content["unsafe"]} if content["unsafe"] else {})


def _generator_row(found: dict[str, Any]) -> str:
    height, width = found["height_width"] or ("?", "?")
    low, high = found["value_range"] or (0, 255)
    classes = f" and {found['classes']} classes" if found["classes"] else ""
    return (
        f"{found['latents']} {'x'.join(map(str, found['latent_shape']))}{classes} ->"
        f" {found['images']} {width}x{height}, {channels_text(found['channels'])}, {low:g} is"
        f" black, {high:g} white"
    )


def _value(entry: dict[str, Any]) -> str:
    shown = str(ValueInfo(entry["name"], entry["type"], entry["shape"]))
    low, high = entry.get("range") or (None, None)
    return shown if low is None else f"{shown}, {low:g} to {high:g}"


def _distance(distance: "Distance") -> str:
    return (
        f"{distance.images:.1e} in float, {distance.pixels} of 255 in pixels,"
        f" {distance.mean_pixels:.1e} on average, {distance.psnr:.0f} dB"
    )

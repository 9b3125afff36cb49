"""Exports of networks so small that the exporter's own preparations would take most of the time."""

import tests.exporter_table  # noqa: F401 (replaces a function of torch.onnx)

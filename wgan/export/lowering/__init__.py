"""Rewrites of an ONNX graph: for a target, and to a lower precision."""

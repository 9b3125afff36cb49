"""ONNX Runtime sessions, execution providers and their options."""

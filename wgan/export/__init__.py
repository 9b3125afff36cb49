"""Exporting: a checkpoint's generator as one self-describing file, refused unless it matches.

Read `exporting.py` first: it is the whole path. `onnx_format.py` and `torchscript_format.py` write
a generator's bytes, `parity.py` holds them against PyTorch. Needs PyTorch; ONNX needs onnx too.
"""

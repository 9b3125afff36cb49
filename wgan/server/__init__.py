"""Serving exported generators over HTTP, with no PyTorch installed.

A request's way, each step a file: `connection` (bytes, time limits) -> `app` (routes) -> `access`
(keys) -> `body` (size limits) -> `oip` or `images` (what is asked for) -> `batcher` (waiting,
joining, drawing) -> the answer. `shelf` holds the models, `serving` starts and stops it all.
"""

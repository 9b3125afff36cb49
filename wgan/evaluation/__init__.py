"""How good a generator is, by the field's own yardsticks.

Reading order: `vectors.py` (what a feature network gives), `onnx_features.py`, `inception.py` and
`weights.py` (the networks); `moments.py`, `metrics.py` and
`manifold.py` (the metrics, as functions of vectors).
"""

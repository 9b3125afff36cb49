"""How good a generator is, by the field's own yardsticks.

Reading order: `vectors.py` (what a feature network gives), `moments.py`, `metrics.py` and
`manifold.py` (the metrics, as functions of vectors); `onnx_features.py`, `inception.py` and
`weights.py` (the networks); `candidates.py` and `programs.py` (what is judged), `summary.py` and
`reference.py` (what is remembered of images), `judging.py`, `report.py`, `following.py` (while a
run trains), `neighbours.py` (was it learned by heart?); `opening.py` (what the user names).

It stands above training and the runtime, and draws with either; of the rest of the package only
the command line knows it.
"""

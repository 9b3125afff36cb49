"""How good a generator is, by the field's own yardsticks.

Reading order: `vectors.py` (what a feature network gives), `moments.py`, `metrics.py` and
`manifold.py` (the metrics, as functions of vectors).
"""

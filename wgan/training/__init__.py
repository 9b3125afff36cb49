"""Training of a WGAN-GP: data, networks, losses, the loop, checkpoints. Needs PyTorch.

Read `loop.py` first: it is the algorithm, from top to bottom. Then `losses.py`, `state.py` and
`networks/`; `trainer.py` runs the loop and keeps the run on disk.
"""

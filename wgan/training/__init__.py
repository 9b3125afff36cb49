"""Training a WGAN-GP: data, networks, losses, the loop, checkpoints. Needs PyTorch.

Read `loop.py` first: it is the algorithm from top to bottom. Then `losses.py` and `networks/`;
`session.py` puts a run together and keeps it on disk.
"""

"""What an exported file says, learnt without running it: the standard library alone.

It stands outside `wgan.runtime` so that `wgan info` starts without numpy and onnxruntime.
"""

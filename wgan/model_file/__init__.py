"""What an exported file holds, read without running it and with the standard library only.

It is separate from `wgan.runtime` so that `wgan info` starts without numpy and onnxruntime.
"""

"""Generators from other projects in ONNX: what they take and give, and their normal form.

`interface.py` finds latents and images among the inputs and outputs, `normal_form.py` rewrites the
graph to what wgan's own exports are: `latents` in, `images` and `pixels` out.
"""

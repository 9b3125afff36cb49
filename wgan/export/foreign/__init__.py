"""Generators from other projects: what they take and give, and their normal form.

Of a PyTorch generator, `factory.py` makes it, `weights.py` loads its weights, `arguments.py` makes
its further arguments and `module.py` calls it as wgan calls its own. Of an ONNX file,
`wgan.model_file.graph_inputs` finds latents and images among the inputs and outputs, and
`normal_form.py` rewrites the graph to what wgan's own exports are: `latents`, and with classes
`labels`, in, `images` and `pixels` out.
"""

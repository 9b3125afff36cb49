"""The page that draws: its scripts, for `wgan serve` and for `wgan export --format web`.

`page.js` is the page. What draws the images is a module of its own: `http.js` asks a server,
`onnx.js` draws in the browser.
"""

import importlib.resources

SCRIPTS = ("page.js", "dom.js", "gallery.js", "between.js")
"""The scripts that both pages have."""


def page_file(name: str) -> bytes:
    """Return the content of one of the page's files."""
    return (importlib.resources.files(__package__) / name).read_bytes()

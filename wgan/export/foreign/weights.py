"""Weights of another project: a file, a key inside it, and the names that the network knows."""

import logging
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wgan.errors import UsageError, needs_extra
from wgan.files import is_file
from wgan.text import first_line, shorten

Weights = dict[str, Tensor]
"""A state_dict: name -> tensor."""

PREFIXES = ("module.", "_orig_mod.", "generator.", "netG.", "G.", "gen.", "model.", "state_dict.")
"""What wrappers and trainers put before the names of a generator's weights."""

SAVE = "torch.save(generator.state_dict(), 'weights.pth')"

MAX_NAMES = 4
"""Names that a message lists."""

logger = logging.getLogger("wgan")


def load_weights(text: str) -> Weights:
    """Load `FILE` or `FILE:KEY`: .safetensors, or what `torch.save` writes. No code runs.

    Raises:
        UsageError: there is no such file or key, or it holds no weights.
        MissingExtra: safetensors is not installed.
    """
    path, key = _split(text)
    if not is_file(path):
        raise UsageError(f"--weights {text}: there is no file {path}")
    if path.suffix == ".safetensors":
        content: Any = _load_safetensors(path)
    else:
        content = _load_checkpoint(path)
    return _state_of(content, key, path)


def _split(text: str) -> tuple[Path, str]:
    if is_file(Path(text)):
        return Path(text), ""
    path, colon, key = text.rpartition(":")
    return (Path(path), key) if colon and path else (Path(text), "")


def _load_safetensors(path: Path) -> Any:
    with needs_extra("export", purpose="reading .safetensors"):
        import safetensors
        from safetensors.torch import load_file
    try:
        return load_file(path)
    except (safetensors.SafetensorError, OSError) as exc:
        raise UsageError(f"--weights {path} cannot be read: {first_line(exc)}") from exc


def _load_checkpoint(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TorchScript and sparse tensors
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # torch.load raises errors of many kinds for a damaged file
        raise UsageError(f"--weights {path} {_why_unreadable(exc)}") from exc


def _why_unreadable(exc: Exception) -> str:
    """What `torch.load` cannot read, and how to save weights that it can."""
    found = re.search(r"GLOBAL (\S+)", str(exc))
    is_garbage = "Unsupported operand" in str(exc)  # bytes that are no pickle of torch.save
    if found or (isinstance(exc, pickle.UnpicklingError) and not is_garbage):
        also = f" (a {shorten(found[1], 60).strip(chr(39))})" if found else ""
        return (
            f"holds more than tensors{also}, and loading that could run code. Save the weights"
            f" only:  {SAVE}.  If you trust the file:  content = torch.load(FILE,"
            " weights_only=False),  then save  content.state_dict()  if it is a whole module, or"
            "  content['g_ema']  if it is a dict with this key"
        )
    if "TorchScript" in str(exc):
        return (
            "is a TorchScript program, not weights: save those with"
            "  torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"
        )
    if isinstance(exc, RuntimeError | OSError):
        return f"cannot be read: {first_line(exc)}"
    return "cannot be read: it is damaged, or no file that torch.save wrote"


def _state_of(content: Any, key: str, path: Path) -> Weights:
    """The weights in a loaded file, at `key` or the only ones there are."""
    states = {} if _is_state(content) else _find_states(content)
    if key:
        # The names of weights may begin with the key, also below keys that are not given.
        found = list(_at(content, key))[:1] or [
            value for state in states.values() for value in _at(state, key)
        ]
        if len(found) > 1:
            paths = [f"{name}.{key}" for name, state in states.items() if list(_at(state, key))]
            raise UsageError(f"--weights {path} has {key!r} below several keys: {_list(paths)}")
        if not found:
            raise UsageError(f"--weights {path} has no {key!r}, only {_names(content)}")
        (content,) = found
        states = {} if _is_state(content) else _find_states(content)
    if not _is_state(content):
        if not states:
            raise UsageError(
                f"--weights {path} holds {_names(content)}, in which there are no weights by name:"
                f" save those of the generator with  {SAVE}"
            )
        if len(states) > 1:
            paths = [f"{key}.{name}" if key else name for name in states]
            likely = next((name for name in paths if "ema" in name), paths[0])
            raise UsageError(
                f"--weights {path} holds several weights: {_list(paths)}; name the generator's, as"
                f" in  --weights {path.name}:{likely}"
            )
        (content,) = states.values()
    weights = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not any(map(_has_axes, weights.values())):  # such as torch_ema's number of updates
        for name, value in content.items():
            if isinstance(value, list | tuple) and any(map(_has_axes, value)):
                raise UsageError(
                    f"--weights {path} holds weights without names, in {shorten(name)}: load them"
                    f" into the generator in PyTorch, and save those with  {SAVE}"
                )
    return weights


def _has_axes(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def _at(content: Any, key: str) -> Iterator[Any]:
    """What `key` may lead to: names joined by points, which may have points themselves.

    The last part may be a prefix of the weights' own names.
    """
    items = _items(content)
    yield from (value for name, value in items if str(name) == key)
    for name, value in items:
        if key.startswith(f"{name}."):
            yield from _at(value, key.removeprefix(f"{name}."))
    inner = {name[len(key) + 1 :]: value for name, value in items if _is_below(name, key)}
    if inner:
        yield inner


def _is_below(name: Any, prefix: str) -> bool:
    return isinstance(name, str) and name.startswith(f"{prefix}.")


def _find_states(content: Any, depth: int = 3) -> dict[str, Any]:
    """The weights within mappings, by the keys that lead to them, joined by points."""
    found: dict[str, Any] = {}
    for name, value in _items(content) if depth else []:
        if _is_state(value):
            found[str(name)] = value
        else:
            inner = _find_states(value, depth - 1)
            found.update({f"{name}.{key}": state for key, state in inner.items()})
    return found


def _is_state(content: Any) -> bool:
    """Whether these are weights by name; a number of steps may be among them."""
    values = [value for _, value in _items(content)]
    return any(isinstance(value, Tensor) for value in values) and not any(
        _is_state(value) for value in values
    )


def _items(content: Any) -> list[tuple[str, Any]]:
    return list(content.items()) if isinstance(content, Mapping) else []


def _names(content: Any) -> str:
    names = [str(name) for name, _ in _items(content)]
    if names or not isinstance(content, Mapping):
        return _list(names) if names else f"a {type(content).__name__}"
    return "an empty dict"


def _list(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(shorten(name, 60).strip("'") for name in names[:MAX_NAMES]) + more


def put_weights(module: nn.Module, weights: Weights, text: str = "") -> None:
    """Load `weights` into `module`, with prefixes of wrappers left out.

    Weights that the network does not know are a warning. `text` is what they were loaded from: of
    several that fit, those are taken whose prefix is its key.

    Raises:
        UsageError: the network has weights that the file lacks, or of another shape, or the file
            has several that fit.
    """
    expected = {name for name in module.state_dict() if "num_batches_tracked" not in name}
    chosen = _without_prefix(weights, expected, _split(text)[1])
    try:
        # PyTorch renames the weights of older releases, so it decides which ones are missing.
        result = module.load_state_dict(chosen, strict=False)
    except RuntimeError as exc:
        reasons = [line.strip() for line in str(exc).splitlines()[1:]] or [str(exc)]
        raise UsageError(f"--weights does not fit the network: {shorten(reasons[0], 200)}") from exc
    missing, unknown = sorted(expected & {*result.missing_keys}), sorted(result.unexpected_keys)
    if missing:
        also = f", and holds others that it does not know: {_list(unknown)}" if unknown else ""
        raise UsageError(
            f"--weights lacks {len(missing)} of the {len(expected)} weights of the network:"
            f" {_list(missing)}{also}. Is it the same network, and the right key of the file?"
        )
    if unknown:
        logger.warning("the network does not use these weights: %s", _list(unknown))


def _without_prefix(weights: Weights, expected: set[str], key: str = "") -> Weights:
    """The weights by the network's own names, as far as the file has them.

    Raises:
        UsageError: those of several prefixes fit the network, such as the generator and its EMA.
    """
    if expected and not expected <= set(weights):
        longest = max(expected, key=len)
        prefixes = [
            prefix
            for name in weights
            if name.endswith(longest)
            for prefix in [name.removesuffix(longest)]
            if prefix.endswith(".") and all(f"{prefix}{each}" in weights for each in expected)
        ]
        if f"{key}." in prefixes:  # also below a key of this name, as in ema.ema
            prefixes = [f"{key}."]
        if len(prefixes) > 1:
            keys = [prefix.rstrip(".") for prefix in prefixes]
            likely = next((key for key in keys if "ema" in key), keys[0])
            raise UsageError(
                f"--weights holds several weights that fit the network: {_list(keys)}; name one, as"
                f" in  --weights FILE:{likely}"
            )
        for prefix in prefixes:
            inner = (name for name in weights if name.startswith(prefix))
            return {name.removeprefix(prefix): weights[name] for name in inner}
    return max(_candidates(weights), key=lambda state: len(expected & set(state)))


def _candidates(weights: Weights) -> list[Weights]:
    """The weights by their own names, and by those without each prefix that some have."""
    found, waiting = [], [weights]
    while waiting:
        state = waiting.pop()
        found.append(state)
        for prefix in PREFIXES:
            inner = {
                name.removeprefix(prefix): value
                for name, value in state.items()
                if name.startswith(prefix)
            }
            if inner:
                waiting.append(inner)
    return found

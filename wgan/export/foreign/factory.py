"""The generator that `--module` names: an import, and a call of what makes it."""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wgan.errors import UsageError
from wgan.text import shorten
from wgan.user_code import call, is_dotted, user_code


def _import(module: str) -> Any:
    """Import a module, here or installed, or a file. Raises UsageError if there is no such file."""
    is_file = module.endswith(".py")
    path = Path(module).absolute()
    here = str(path.parent if is_file else Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    if not is_file:
        return importlib.import_module(module)
    if not path.is_file():
        raise UsageError(f"--module: there is no file {module}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, made)  # where dataclasses of the file look for it
    spec.loader.exec_module(made)
    return made


def make_module(name: str) -> nn.Module:
    """Import `"package.module:function"`, here or installed, and call it: this runs its code.

    The module may be a file, as in `mygan.py:make`. The function may be a class of modules, or a
    module itself.

    Raises:
        UsageError: there is no such function, it does not return a module, or it ends the program.
    """
    module_name, _, attribute = name.rpartition(":")
    misfit = (
        f"--module {name}: write package.module:function or file.py:function, as in mygan:Generator"
    )
    is_name = module_name.endswith(".py") or is_dotted(module_name)
    if not is_name or not is_dotted(attribute):
        raise UsageError(misfit)
    option = f"--module {name}"
    try:
        with user_code(option, module_name, "imported"):
            found = _import(module_name)
    except ModuleNotFoundError as exc:
        raise UsageError(
            f"--module {name}: there is no module {exc.name}, here or installed"
        ) from exc
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"--module {name}: {module_name} has no {attribute!r}")
        found = getattr(found, part)
    target: Any = found
    if isinstance(target, nn.Module):
        return without_wrappers(target)
    expected = "a function without arguments that makes the generator, and name that"
    made = call(option, module_name, target, expected=expected)
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"--module {name} returned {shorten(type(made).__name__)}: it must return the"
            " generator, a torch.nn.Module"
        )
    return without_wrappers(made)


def for_export(module: object) -> nn.Module:
    """Return a module in eval mode, in float32 on the CPU, without wrappers of training.

    Raises:
        UsageError: it is no module, or a TorchScript program.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"the generator is {shorten(module)}: give a torch.nn.Module, so call what makes it"
        )
    module = without_wrappers(module)
    if isinstance(module, torch.jit.ScriptModule):
        raise UsageError(
            "the generator is a TorchScript program, which PyTorch cannot export again: leave out"
            "  torch.jit.script  and  torch.jit.trace,  and export the module itself"
        )
    return module.eval().requires_grad_(False).cpu().float()


def without_wrappers(module: nn.Module) -> nn.Module:
    """The module inside DataParallel, DistributedDataParallel and `torch.compile`.

    These serve training only, and put a prefix before the names of the weights.
    """
    while True:
        inner = getattr(module, "_orig_mod", None)  # of torch.compile
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner

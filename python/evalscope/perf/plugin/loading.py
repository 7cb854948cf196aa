"""Owns the way from a plugin's file, and the options, to an object that can be asked."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from importlib.machinery import SourceFileLoader
from typing import Any

from evalscope.errors import did_you_mean
from evalscope.perf.arguments import Arguments
from evalscope.perf.plugin.api.base import NO_PROCESS_REQUEST, ApiPluginBase
from evalscope.perf.plugin.registry import PluginRegistry
from evalscope.perf.wire import Raised, Refusal


def class_in_file(path: str, name: str | None, registry: PluginRegistry) -> tuple[str, type]:
    """Run a plugin's file, and choose among the classes it registers.

    Returns:
        The name it is registered under, and the class.
    """
    before = dict(registry.items())
    module = _run(path)
    new = {key: cls for key, cls in registry.items() if before.get(key) is not cls}
    # what the file itself defines; else what a module that it imports has registered
    own = {key: cls for key, cls in new.items() if cls.__module__ == module} or new
    decorator = f"register_{registry.role}"
    if name is not None:
        if name in new:
            return name, new[name]
        for key, cls in own.items():
            if cls.__name__ == name:
                return key, cls
        hint = did_you_mean(name, new) or (f"; there are {_listed(new)}" if new else "")
        raise Refusal(f"{path} registers no {registry.role} `{name}`{hint}")
    if not own:
        raise Refusal(f'{path} registers no {registry.role}: put @{decorator}("name") on a class')
    if len(set(own.values())) > 1:
        raise Refusal(
            f"{path} registers several: {_listed(own)}; "
            f"say which one: `--{registry.role} {path}:{next(iter(own))}`"
        )
    return next(iter(own.items()))


def made(cls: type, options: Arguments, needed: tuple[str, ...]) -> Any:
    """Make an object of a plugin's class, which need not have a base class of this package."""
    for method in needed:
        found = getattr(cls, method, None)
        if not callable(found):
            raise Refusal(f"class {cls.__name__} has no method `{method}`")
        if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
            raise Refusal(not_async(method))
    if getattr(cls, "process_request", ApiPluginBase.process_request) is not (
        ApiPluginBase.process_request
    ):
        raise Refusal(f"class {cls.__name__} overrides `process_request`. {NO_PROCESS_REQUEST}")
    try:
        return cls(*_arguments_of(cls, options))
    except (Exception, SystemExit) as error:
        raise Raised(cls.__name__, error) from error


def not_async(method: str) -> str:
    """What to say of a method that would have to be awaited."""
    form = "generator" if method == "build_messages" else "method"
    return f"{method} must be a plain {form}, not async: it may block, the load is made elsewhere"


class _LeavesNothing(SourceFileLoader):
    """Runs a file as a script is run: no `__pycache__` beside it."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Write nothing."""


def _run(path: str) -> str:
    """Run a file as a module; its name is returned."""
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise Refusal(f"there is no file {path}")
    name = f"evalscope_plugin_{os.path.splitext(os.path.basename(path))[0]}"
    loader = _LeavesNothing(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # like a script: modules beside it can be imported, and its classes pickled
    sys.path.insert(0, os.path.dirname(path))
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise Raised(path, error) from error
    return name


def _arguments_of(cls: type, options: Arguments) -> tuple[Any, ...]:
    """What to make an object with: the options; in the oldest form the tokenizer's path."""
    try:
        parameters = list(inspect.signature(cls).parameters.values())
    except (TypeError, ValueError):
        return (options,)
    if not parameters:
        return ()
    # the earliest tool misspelt it
    if parameters[0].name in ("model_path", "mode_path"):
        return (options.tokenizer_path,)
    if parameters[0].kind in (parameters[0].KEYWORD_ONLY, parameters[0].VAR_KEYWORD):
        return ()
    return (options,)


def _listed(classes: dict[str, type]) -> str:
    return ", ".join(f"{name} ({cls.__name__})" for name, cls in classes.items())

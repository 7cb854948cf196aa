"""Owns the way to the `evalscope` binary, which the wheel puts among the scripts."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator

from evalscope.errors import EvalscopeError

_NAME = "evalscope.exe" if os.name == "nt" else "evalscope"


class BinaryNotFound(EvalscopeError, FileNotFoundError):
    """The binary is in none of the places where an installation puts it."""


def find_evalscope_bin() -> str:
    """The path of the `evalscope` binary.

    `EVALSCOPE_BIN` overrides all others. Then: the scripts of this environment, those of the user's
    scheme, the folders next to the package (`pip install --target`), and `PATH`.

    Raises:
        BinaryNotFound: with the places that were tried.
    """
    asked = os.environ.get("EVALSCOPE_BIN")
    if asked:
        if _is_binary(asked):
            return os.path.abspath(asked)
        raise BinaryNotFound(f"`EVALSCOPE_BIN` names {asked}, which is not an executable binary")
    tried: list[str] = []
    for place, path in _candidates():
        if path is not None and _is_binary(path):
            return os.path.abspath(path)
        tried.append(f"  {place}: {path or 'nothing'}")
    places = "\n".join(tried)
    raise BinaryNotFound(
        "the evalscope binary was not found. Tried:\n"
        f"{places}\n"
        "install the package again (`pip install --force-reinstall evalscope`), "
        "or name the binary in the environment variable `EVALSCOPE_BIN`"
    )


def _candidates() -> Iterator[tuple[str, str | None]]:
    scripts = sysconfig.get_path("scripts")
    yield "scripts of this environment", os.path.join(scripts, _NAME)
    user_scripts = sysconfig.get_path("scripts", scheme=_user_scheme())
    yield "scripts of the user", os.path.join(user_scripts, _NAME)
    package_parent = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    yield "next to the package", os.path.join(package_parent, "bin", _NAME)
    yield "PATH", shutil.which("evalscope")


def _user_scheme() -> str:
    if sys.version_info >= (3, 10):
        return sysconfig.get_preferred_scheme("user")
    if os.name == "nt":
        return "nt_user"
    if sys.platform == "darwin" and sys._framework:
        return "osx_framework_user"
    return "posix_user"


def _is_binary(path: str) -> bool:
    """An executable that is not a script: a script of this name belongs to another tool."""
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        return False
    with open(path, "rb") as file:
        return file.read(2) != b"#!"

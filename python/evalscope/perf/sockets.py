"""Owns serving classes of this very process: the same protocol, over a Unix socket.

The load generator is still a separate process; this one only serves its requests.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
from types import TracebackType

from evalscope.errors import EvalscopeError
from evalscope.perf.roles import ApiSession, DatasetSession
from evalscope.perf.wire import serve

_SESSIONS = {"api": ApiSession, "dataset": DatasetSession}
# The address of a Unix socket is limited to 108 bytes on Linux and 104 on macOS.
_LONGEST_PATH_BYTES = 100


class PluginSocket:
    """A socket in a private folder, with a class behind it."""

    address: str
    """What `--api` or `--dataset` is given."""

    def __init__(self, role: str, name: str, cls: type) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise EvalscopeError(
                "this system has no Unix sockets, which classes of this process are served over; "
                f"put the class into a file, and give `{role}` as `path/to/file.py:{name}`"
            )
        self._role = role
        self._name = name
        self._class = cls

    def __enter__(self) -> PluginSocket:
        """Listen, and serve in threads."""
        self._folder = _private_folder()
        path = os.path.join(self._folder, f"{self._role}.sock")
        self.address = f"unix:{path}:{self._name}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(path)
            self._listener.listen()
        except OSError:
            self.__exit__(None, None, None)
            raise
        _start(self._accept, "evalscope-plugins")
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop listening. Conversations end by themselves when the tool is gone."""
        # wakes `accept`, which `close` alone does not
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # daemon threads: a plugin that hangs must not keep the interpreter from ending
            _start(lambda connection=connection: self._serve(connection), "evalscope-plugin")

    def _serve(self, connection: socket.socket) -> None:
        session = _SESSIONS[self._role](lambda _: (self._name, self._class))
        with connection, connection.makefile("rb", buffering=1 << 20) as reader:
            serve(reader, connection.sendall, session)


def _start(target: object, name: str) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()  # type: ignore[arg-type]


def _private_folder() -> str:
    folder = tempfile.mkdtemp(prefix="evalscope-")
    if len(os.fsencode(folder)) + len("/dataset.sock") <= _LONGEST_PATH_BYTES:
        return folder
    os.rmdir(folder)
    return tempfile.mkdtemp(prefix="evalscope-", dir="/tmp")

"""Serving classes of this process over a Unix socket."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from evalscope.perf.plugin import DatasetPluginBase
from evalscope.perf.sockets import PluginSocket
from peer import connected, hello


class Numbers(DatasetPluginBase):
    def build_messages(self) -> Any:
        for number in range(3):
            yield str(number)


class Hangs(DatasetPluginBase):
    def build_messages(self) -> Any:
        time.sleep(3600)
        yield ""


def folder_of(address: str) -> Path:
    return Path(address.partition(":")[2]).parent


def test_nobody_else_can_enter() -> None:
    with PluginSocket("dataset", "numbers", Numbers) as served:
        folder = folder_of(served.address)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == os.getuid()
    assert not folder.exists()


def test_each_conversation_has_an_object_of_its_own() -> None:
    served = PluginSocket("dataset", "numbers", Numbers)
    with served, connected(served.address) as one, connected(served.address) as two:
        assert one.hello("dataset") == {"protocol": 1, "name": "numbers"}
        two.hello("dataset")
        assert one.ask("next", max=2)["items"] == [{"text": "0"}, {"text": "1"}]
        assert two.ask("next", max=1)["items"] == [{"text": "0"}]
        one.ask("bye")
        assert two.ask("next", max=1)["items"] == [{"text": "1"}]


def test_a_wrong_role_is_refused() -> None:
    served = PluginSocket("dataset", "numbers", Numbers)
    with served, connected(served.address) as peer:
        assert "role dataset, not api" in peer.fail("hello", **hello("api"))["message"]


def test_a_class_that_hangs_keeps_nobody_waiting() -> None:
    began = time.monotonic()
    with PluginSocket("dataset", "hangs", Hangs) as served, connected(served.address) as peer:
        peer.hello("dataset")
        peer.send("next", max=1)
        time.sleep(0.2)
    assert time.monotonic() - began < 5
    threads = [thread for thread in threading.enumerate() if "plugin" in thread.name]
    assert all(thread.daemon for thread in threads)


def test_a_long_temporary_folder_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with PluginSocket("dataset", "numbers", Numbers) as served:
        assert not str(folder_of(served.address)).startswith(str(long))
        with connected(served.address) as peer:
            peer.hello("dataset")
    assert list(long.iterdir()) == []

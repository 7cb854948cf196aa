"""Owns what the parts of ci/distributed share: skipping, Debian's packages, the simulated server, commands
that are under way, and waiting. It must not know any part."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 60


class Skipped(Exception):
    """Something is missing that a part needs."""


def programs(package, *names):
    """The paths of programs, from a package of Debian's if they are missing and it can be installed."""
    if not all(map(shutil.which, names)) and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], check=False,
                       env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, **quiet)
    if missing := [name for name in names if not shutil.which(name)]:
        raise Skipped(f"{' and '.join(missing)} of Debian's package {package} cannot be found or installed")
    return [shutil.which(name) for name in names]


def environment(scratch, *packages):
    """The interpreter of a virtual environment with packages from PyPI."""
    folder = scratch / "venv"
    quiet = {"capture_output": True, "text": True}
    made = subprocess.run([sys.executable, "-m", "venv", folder], **quiet)
    python = folder / "bin" / "python"
    if made.returncode == 0:
        made = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], **quiet)
    if made.returncode != 0:
        last = (made.stderr or made.stdout).strip().splitlines()[-1:]
        raise Skipped(f"{', '.join(packages)} cannot be installed from PyPI: {''.join(last)}")
    return python


@contextlib.contextmanager
def simulator(evalscope, *flags):
    """The URL of a simulated server."""
    process = subprocess.Popen([evalscope, "sim", "--port", "0", "--exit-with-parent", *flags],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.stdin.close()
        process.wait()


@contextlib.contextmanager
def running(*command, **options):
    """A process that is ended with the block, if it has not ended by then."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Events:
    """The events that a command with `--progress json` writes to its stderr."""

    def __init__(self, stderr):
        self.seen = []
        self._reader = threading.Thread(target=self._read, args=[stderr], daemon=True)
        self._reader.start()

    def _read(self, stderr):
        for line in stderr:
            if line.startswith("{"):
                self.seen.append(json.loads(line))

    def wait(self, event, text=""):
        """The first event of a kind whose text contains another."""
        def found():
            return next((e for e in list(self.seen) if e["event"] == event and text in e.get("text", "")), None)
        return wait_for(f"the event {event} {text}", found)


def wait_for(what, look):
    """What `look` returns, once it is true."""
    end = time.monotonic() + PATIENCE_S
    while not (seen := look()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.05)
    return seen


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

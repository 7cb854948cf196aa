"""Owns `python -m evalscope …`: passes the command on to the binary."""

from __future__ import annotations

import os
import subprocess
import sys

from evalscope.binary import BinaryNotFound, find_evalscope_bin


def main() -> int:
    """Become the binary on Unix; elsewhere run it and pass its exit code on."""
    try:
        binary = find_evalscope_bin()
    except BinaryNotFound as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # the binary starts plugins with the interpreter that has this package
    environment = {**os.environ, "EVALSCOPE_PYTHON": sys.executable}
    command = [binary, *sys.argv[1:]]
    if os.name == "posix":
        os.execve(binary, command, environment)
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except KeyboardInterrupt:
        # the binary shares the console and got the Ctrl-C too
        return 130


if __name__ == "__main__":
    sys.exit(main())

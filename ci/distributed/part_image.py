"""Owns the part about the container image: Containerfile builds one from a static binary, and a load test runs in
it, without a shell, as nobody."""

import os
import pathlib
import shutil
import subprocess

from common import ROOT, Skipped, programs


def check(evalscope, scratch):
    named = os.environ.get("EVALSCOPE_STATIC_BIN")
    if not named:
        raise Skipped("EVALSCOPE_STATIC_BIN names no static binary; Containerfile says how one is built")
    (buildah,) = programs("buildah", "buildah")
    context = scratch / "context"
    program = context / "target" / "static" / "dist" / "evalscope"
    program.parent.mkdir(parents=True)
    shutil.copy(pathlib.Path(named).resolve(), program)
    for name in ("Containerfile", ".containerignore", "LICENSE"):
        shutil.copy(ROOT / name, context)
    store = ["--root", scratch / "root", "--runroot", scratch / "runroot", "--storage-driver", "vfs"]

    def run(*words):
        done = subprocess.run([buildah, *store, *words], capture_output=True, text=True)
        assert done.returncode == 0, f"buildah {words[0]}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    argument = f"PROGRAM={program.relative_to(context)}"
    run("bud", "--isolation", "chroot", "--build-arg", argument, "--tag", "evalscope", context)
    container = run("from", "evalscope")
    said = run("run", "--isolation", "chroot", container, "/evalscope", "perf", "--api", "local_sim", "--dataset",
               "sample", "--number", "5", "--max-tokens", "2")
    assert "Benchmarking summary" in said, said

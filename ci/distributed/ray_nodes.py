"""Owns what part_ray runs in an interpreter that has Ray: `ray_nodes.py URL FOLDER`."""

import pathlib
import sys
import threading
import time

import ray
from common import wait_for
from part_ray import meta, rows
from ray.cluster_utils import Cluster

from evalscope.errors import EvalscopeError
from evalscope.perf.ray.cluster import Cluster as Opened
from evalscope.perf.ray.distributed import Command, Settings
from evalscope.perf.ray.screen import Screen

URL, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
begun = time.monotonic()


def say(text):
    print(f"ci/distributed: ray: {text} ({time.monotonic() - begun:.0f} s)", flush=True)


def command(name, *argv, **settings):
    """A load test by several shards."""
    line = [f"--url={URL}", "--model=sim", "--dataset=sample", "--max-tokens=4", f"--outputs-dir={SCRATCH / 'out'}",
            "--no-timestamp", f"--name={name}", *argv]
    return Command.of(line, {}, Settings(**{"cpus_per_shard": 1, "strategy": "SPREAD", "show_output": False} | settings))


class AtFirstRequest(Screen):
    """Does something once requests have ended in all shards."""

    def __init__(self, act):
        super().__init__(silent=True)
        self.act = act

    def progress(self, shards):
        if self.act and all(shard.progress.get("ended_requests") for shard in shards):
            act, self.act = self.act, None
            threading.Thread(target=act, args=[shards]).start()


def sweep(opened):
    results = command("sweep", "--rate", "20", "40", "--number", "40", "60", shards=4).run(opened, None)
    assert list(results) == ["rate_20.0_number_40", "rate_40.0_number_60"], list(results)
    for result, number in zip(results.values(), (40, 60)):
        assert rows(result.folder) == list(range(number)), rows(result.folder)
        assert result.result["counts"]["succeeded"] == number, result.result["counts"]
        shards = meta(result.folder)["shards"]
        assert [shard["index"] for shard in shards] == [0, 1, 2, 3], shards
        # all clocks are the same one
        assert all(abs(shard["offset_ns"]) <= shard["offset_error_ns"] + 100_000 for shard in shards), shards
    say("a sweep of two points by four shards")


def ways(opened):
    for collect in ("path", f"file://{SCRATCH / 'bucket'}"):
        name = collect[:4]
        results = command(name, "--parallel=3", "--number=12", shards=3, collect=collect).run(opened, None)
        (only,) = results.values()
        assert rows(only.folder) == list(range(12))
    say("results by a shared folder, and by fsspec")


def no_place(opened):
    try:
        command("place", "--parallel=9", "--number=9", shards=9, strategy="STRICT_SPREAD", place_timeout_s=2).run(opened, None)
    except EvalscopeError as error:
        assert "there is no place for 9 shards" in str(error), error
    else:
        raise AssertionError("9 shards have found a node each, of 3")
    say("no place for nine shards on three nodes")


def under_way(name):
    """The processes of a load test."""
    found = []
    for line in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if f"--name={name}".encode() in words:
            found.append(line)
    return found


def killed_actor(opened):
    load = ("--parallel=4", "--number=200")
    for partial in (False, True):
        name = f"killed-{partial}"
        screen = AtFirstRequest(lambda shards: shards[1].remote.end())
        try:
            results = command(name, *load, shards=4, allow_partial=partial).run(opened, screen)
        except EvalscopeError as error:
            assert not partial and error.exit_code == 1 and "ActorDiedError" in str(error), error
            kept = sorted((SCRATCH / "out" / f"{name}-shards" / "point-1").glob("shard-*"))
            assert [folder.name[:7] for folder in kept] == ["shard-0", "shard-2", "shard-3"], kept
        else:
            assert partial
            (only,) = results.values()
            assert rows(only.folder) == [k for k in range(200) if k % 4 != 1]
            assert meta(only.folder)["missing_shards"] == [1], meta(only.folder)
        wait_for("the end of all processes", lambda name=name: not under_way(name))
    say("an actor is killed: nothing, or the part that there is")


def removed_node(opened, cluster):
    node = cluster.add_node(num_cpus=2, resources={"taken": 1})
    screen = AtFirstRequest(lambda _: cluster.remove_node(node, allow_graceful=False))
    try:
        command("removed", "--parallel=4", "--number=400", shards=4, strategy="STRICT_SPREAD").run(opened, screen)
    except EvalscopeError as error:
        assert error.exit_code == 1 and "were lost" in str(error), error
    else:
        raise AssertionError("a run without one of its nodes has succeeded")
    say("a node is removed")


def main():
    cluster = Cluster()
    try:
        for _ in range(3):
            cluster.add_node(num_cpus=2, node_ip_address="127.0.0.1", include_dashboard=False)
        say("a cluster of three nodes")
        with Opened(cluster.address) as opened:
            sweep(opened)
            ways(opened)
            no_place(opened)
            killed_actor(opened)
            removed_node(opened, cluster)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()

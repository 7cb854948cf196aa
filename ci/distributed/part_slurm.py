"""Owns the part with a Slurm cluster of three nodes on this machine: `srun` starts a shard on each, `--shard env`
knows which it is, all start at one moment, and their results are those of one run. A start in the past sends
nothing."""

import contextlib
import json
import os
import pathlib
import socket
import sqlite3
import subprocess
import time

from common import Skipped, free_port, programs, running, simulator, wait_for

NODES = 3
CONFIG = """
ClusterName=evalscope
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={scratch}/munge.socket
CredType=cred/munge
StateSaveLocation={scratch}/state
SlurmdSpoolDir={scratch}/spool-%n
SlurmctldPidFile={scratch}/slurmctld.pid
SlurmdPidFile={scratch}/slurmd-%n.pid
SlurmctldLogFile={scratch}/slurmctld.log
SlurmdLogFile={scratch}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/linear
SchedulerType=sched/builtin
MpiDefault=none
ReturnToService=2
{nodes}
PartitionName=all Nodes=n[1-{count}] Default=YES MaxTime=INFINITE State=UP
"""


@contextlib.contextmanager
def cluster(scratch):
    """The environment for Slurm's commands, while a cluster is up."""
    munged, slurmctld, slurmd, sinfo, _ = programs("slurm-wlm", "munged", "slurmctld", "slurmd", "sinfo", "srun")
    host = socket.gethostname().split(".")[0]
    (scratch / "state").mkdir()
    key = scratch / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    nodes = "\n".join(f"NodeName=n{nth} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs=1 State=UNKNOWN"
                      for nth in range(1, NODES + 1))
    config = scratch / "slurm.conf"
    config.write_text(CONFIG.format(host=host, port=free_port(), scratch=scratch, nodes=nodes, count=NODES))
    environment = os.environ | {"SLURM_CONF": str(config)}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with contextlib.ExitStack() as daemons:
        daemons.enter_context(running(
            munged, "--foreground", "--force", f"--key-file={key}", f"--socket={scratch}/munge.socket",
            f"--pid-file={scratch}/munge.pid", f"--seed-file={scratch}/munge.seed", **quiet))
        wait_for("munge", (scratch / "munge.socket").exists)
        daemons.enter_context(running(slurmctld, "-D", **quiet))
        for nth in range(1, NODES + 1):
            daemons.enter_context(running(slurmd, "-D", "-N", f"n{nth}", **quiet))

        def idle():
            done = subprocess.run([sinfo, "-h", "-N", "-o", "%T"], env=environment, capture_output=True, text=True)
            return done.stdout.split() == ["idle"] * NODES
        wait_for(f"{NODES} idle nodes", idle)
        yield environment


def srun(environment, evalscope, url, out, start, number):
    return subprocess.run(
        ["srun", "-N", str(NODES), "-n", str(NODES), "--kill-on-bad-exit=1", evalscope, "perf", "--shard", "env",
         "--start-at", f"{start:.3f}", "--run-id", "slurm-1", "--url", url, "--model", "sim", "--dataset", "sample",
         "--rate", "20", "--number", str(number), "--max-tokens", "4", "--outputs-dir", str(out), "--no-timestamp"],
        env=environment, capture_output=True, text=True, timeout=120)


def check(evalscope, scratch):
    if os.geteuid() != 0:
        raise Skipped("daemons of Slurm that start jobs want root")
    shown = subprocess.run([evalscope, "--help"], check=True, capture_output=True, text=True).stdout
    if "merge" not in shown:
        raise Skipped(f"{evalscope} has no `merge`")
    truth, number = scratch / "truth.jsonl", 40
    with cluster(scratch) as environment, simulator(evalscope, "--ttft-ms", "50", "--truth-log", truth) as url:
        begin = time.time() + 5
        done = srun(environment, evalscope, url, scratch / "out", begin, number)
        assert done.returncode == 0, done.stderr
        parts = sorted((scratch / "out").glob("shard-*"))
        assert [part.name for part in parts] == [f"shard-{i}-of-{NODES}" for i in range(NODES)], parts
        merged = scratch / "merged"
        subprocess.run([evalscope, "merge", "-o", merged, *parts], check=True, capture_output=True)
        (database,) = merged.rglob("benchmark_data.db")
        with sqlite3.connect(database) as rows:
            seen = [row[0] for row in rows.execute("SELECT idx FROM result ORDER BY idx")]
        assert seen == list(range(number)), seen
        shards = json.loads((merged / "result.json").read_text())["runs"][0]["shards"]
        assert len(shards) == NODES, shards
        before = len(truth.read_text().splitlines())
        late = srun(environment, evalscope, url, scratch / "late", time.time() - 1, number)
        assert late.returncode != 0 and "nothing was sent" in late.stderr, late.stderr
        assert len(truth.read_text().splitlines()) == before, "a shard that is late has sent something"
        assert not list(pathlib.Path(scratch, "late").rglob("benchmark_data.db"))

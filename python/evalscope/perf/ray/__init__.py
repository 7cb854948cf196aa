"""Owns load tests by several machines of a Ray cluster: `run_distributed`, and the same as a
command, `python -m evalscope.perf.ray --shards N -- perf …`.

Ray is imported when it is needed: `pip install 'evalscope[ray]'`. What a shard does on its machine
is in `process`, how all of them start and end in `drive`, and what is Ray's in `cluster`.
"""

from evalscope.perf.ray.distributed import Settings, run_distributed

__all__ = ["Settings", "run_distributed"]

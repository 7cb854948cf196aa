"""Owns what is said of the parts of EvalScope that are not here."""

EVALUATION = (
    "`{name}` evaluates models, which is the other half of EvalScope: install EvalScope itself for "
    "it, in an environment of its own, since both are called `evalscope`; this package has "
    "`evalscope perf` (`from evalscope.perf.main import run_perf_benchmark`)"
)
OF_EVALUATION = ("run_task", "TaskConfig")

"""Owns nothing: EvalScope's place of `run_task`, which is not here."""

from evalscope.elsewhere import EVALUATION

raise ImportError(EVALUATION.format(name="run_task"))

"""Owns nothing: EvalScope's place of `TaskConfig`, which is not here."""

from evalscope.elsewhere import EVALUATION

raise ImportError(EVALUATION.format(name="TaskConfig"))

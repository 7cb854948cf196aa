"""Owns nothing: EvalScope's place of the search for a service level."""

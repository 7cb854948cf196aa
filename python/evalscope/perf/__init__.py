"""Owns load tests from Python: running them (`main`) and plugins for them (`plugin`, `serve`)."""

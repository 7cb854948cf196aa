"""Owns nothing: the earlier tool's place of the decorators, kept for its plugins."""

from evalscope.perf.plugin.registry import (
    ApiRegistry,
    DatasetRegistry,
    register_api,
    register_dataset,
)

# the earliest names of the registries
api_registry = ApiRegistry
dataset_registry = DatasetRegistry

__all__ = [
    "ApiRegistry",
    "DatasetRegistry",
    "api_registry",
    "dataset_registry",
    "register_api",
    "register_dataset",
]

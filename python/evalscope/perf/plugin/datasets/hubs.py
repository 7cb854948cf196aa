"""Owns downloads of datasets for plugins in Python. The tool has its own for its datasets."""

from __future__ import annotations

import importlib
import os
from typing import Any

from evalscope.errors import EvalscopeError


class NoHubLibrary(EvalscopeError, ImportError):
    """The library of a hub is not installed."""


def download(dataset_id: str, file_name: str, source: str | None) -> str:
    """The path of a file of a dataset, downloaded unless it is there already."""
    if source == "local":
        raise EvalscopeError(
            '`data_source` is "local", which downloads nothing: give `dataset_path`'
        )
    if source == "huggingface":
        hub = _library("huggingface_hub", "files of huggingface.co")
        return str(hub.hf_hub_download(dataset_id, file_name, repo_type="dataset"))
    hub = _library("modelscope", "files of modelscope.cn")
    folder = hub.dataset_snapshot_download(dataset_id, allow_file_pattern=[file_name])
    return os.path.join(folder, file_name)


def load(dataset: str, split: str, subset: str, source: str | None) -> Any:
    """A dataset of the library `datasets`: out of a folder, or of a hub."""
    if source in ("local", "huggingface"):
        library = _library("datasets", "datasets with columns")
        named = {} if source == "local" else {"name": subset}
        return library.load_dataset(dataset, split=split, **named)
    library = _library("modelscope.msdatasets", "datasets of modelscope.cn")
    return library.MsDataset.load(dataset, subset_name=subset, split=split)


def _library(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise NoHubLibrary(
            f"a plugin that reads {what} needs {package}: `pip install {package}`, or download the "
            "file and give `dataset_path`"
        ) from None

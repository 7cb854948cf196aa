"""Owns the list of names of EvalScope 1.14.1 that scripts use, with defaults: printed as JSON.

Run with an interpreter that has the real package.
"""

import dataclasses
import importlib
import inspect
import json
import sys

MODELS = {
    "evalscope.perf.utils.perf_models": ["BenchmarkSummary", "PercentileRow"],
    "evalscope.perf.utils.trace_metrics": ["TraceLevelSummary", "TraceMetricStats"],
    "evalscope.perf.utils.workload_timeline": ["WorkloadThroughput", "WorkloadThroughputRow"],
    "evalscope.perf.sla.sla_models": ["SLAProbe", "SLASelection"],
}
CLASSES = {
    "evalscope.perf.utils.perf_models": ["BenchmarkSummary", "PercentileRow", "PercentileResult"],
    "evalscope.perf.utils.trace_metrics": ["TraceLevelSummary"],
    "evalscope.perf.utils.workload_timeline": ["WorkloadThroughput"],
    "evalscope.perf.arguments": ["Arguments"],
    "evalscope.perf.plugin.api.base": ["ApiPluginBase"],
    "evalscope.perf.plugin.api.default_api": ["DefaultApiPlugin", "StreamedResponseHandler"],
    "evalscope.perf.plugin.api.openai_api": ["OpenaiPlugin"],
    "evalscope.perf.plugin.api.custom_api": ["CustomPlugin"],
    "evalscope.perf.plugin.datasets.base": ["DatasetPluginBase"],
}
CONSTANTS = ["Metrics", "PercentileMetrics"]
# every pydantic class has them, and nobody's script
PYDANTIC = {
    "construct", "copy", "dict", "from_orm", "json", "parse_file", "parse_obj", "parse_raw", "schema",
    "schema_json", "update_forward_refs", "validate",
}


def fields(of):
    """Attribute, key in JSON and default of each field of a pydantic class."""
    return {name: [field.alias or name, None if field.is_required() else field.get_default(call_default_factory=True)]
            for name, field in of.model_fields.items()}


def methods(of):
    """Public names of a class, without its fields and pydantic's own."""
    from pydantic import BaseModel

    return sorted(
        name for name in dir(of)
        if not name.startswith("_") and name not in getattr(of, "model_fields", {})
        and name not in PYDANTIC and name not in dir(BaseModel)
    )


def main():
    from evalscope.perf.arguments import Arguments
    from evalscope.perf.plugin.datasets.base import Turn
    from evalscope.perf.utils import perf_constants
    from evalscope.perf.utils.benchmark_util import BenchmarkData

    found = {
        "fields": {name: fields(getattr(importlib.import_module(module), name))
                   for module, names in MODELS.items() for name in names},
        "methods": {f"{module}:{name}": methods(getattr(importlib.import_module(module), name))
                    for module, names in CLASSES.items() for name in names},
        "constants": {name: {key: value for key, value in vars(getattr(perf_constants, name)).items() if key.isupper()}
                      for name in CONSTANTS},
        "arguments": {name: default for name, (_, default) in fields(Arguments).items()},
        "turn": [field.name for field in dataclasses.fields(Turn)],
        "benchmark_data": [field.name for field in dataclasses.fields(BenchmarkData)],
        "build_request": {},
    }
    for module, names in CLASSES.items():
        for name in names:
            method = getattr(getattr(importlib.import_module(module), name), "build_request", None)
            if method is not None:
                found["build_request"][f"{module}:{name}"] = list(inspect.signature(method).parameters)
    json.dump(found, sys.stdout, indent=1, default=str)
    print()


if __name__ == "__main__":
    main()

"""EvalScope 1.14.1's names: everything that its scripts import and read is here.

`golden/evalscope-1.14.1.json` is printed by ci/reference-python, from the real package.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import evalscope
from evalscope.errors import Unsupported
from evalscope.perf import figures, names
from evalscope.perf.arguments import Arguments
from evalscope.perf.plugin.datasets.base import Turn
from evalscope.perf.utils.benchmark_util import BenchmarkData

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden" / "evalscope-1.14.1.json").read_text()
)

PATHS = """
evalscope.utils.logger: get_logger
evalscope.utils: get_logger
evalscope.perf.plugin.datasets.base: Turn Conversation Messages Message DatasetPluginBase
evalscope.perf.plugin.api.default_api: DefaultApiPlugin StreamedResponseHandler
evalscope.perf.utils.benchmark_util: BenchmarkData
evalscope.perf.plugin.datasets.dataset_args: BaseDatasetArgs TextLengthArgs TextDatasetArgs
evalscope.perf.plugin.datasets.utils: load_tokenizer tokenize_chat_messages
evalscope.perf.main: run_one_benchmark run_multi_benchmark run_perf_benchmark parse_args
evalscope.perf.main: PerfBenchmarkInterrupted Arguments
evalscope.perf.arguments: Arguments add_argument parse_args ParseKVAction
evalscope.perf.multi_turn_args: MultiTurnArgs
evalscope.perf.utils.perf_models: BenchmarkSummary PercentileResult PercentileRow
evalscope.perf.utils.perf_constants: Metrics PercentileMetrics
evalscope.perf.utils.db_util: get_percentile_results
evalscope.perf.utils.report.generate_report: gen_perf_html_report
evalscope.perf.utils.rich_display: print_summary
evalscope.perf.utils.handler: PerfBenchmarkInterrupted
evalscope.perf.utils.trace_metrics: TraceLevelSummary
evalscope.perf.utils.workload_timeline: WorkloadThroughput
evalscope.perf.sla.sla_run: run_sla_auto_tune SLAResult
evalscope.perf.sla.sla_models: SLAProbe SLASelection
evalscope.perf.plugin: CustomPlugin OpenaiPlugin ApiPluginBase DatasetPluginBase ApiRegistry
evalscope.perf.plugin.api.openai_api: OpenaiPlugin
evalscope.perf.plugin.api.custom_api: CustomPlugin
evalscope.perf.plugin.api.dashscope_api: DashScopeApiPlugin
evalscope.perf.plugin.api.openai_embedding_api: OpenaiEmbeddingPlugin
evalscope.perf.plugin.api.openai_rerank_api: OpenaiRerankPlugin
evalscope.perf.plugin.api.openai_responses_api: OpenAIResponsesPlugin
evalscope.perf.plugin.datasets.random_dataset: RandomDatasetPlugin
evalscope.perf.plugin.datasets.openqa: OpenqaDatasetPlugin
"""


@pytest.mark.parametrize("line", PATHS.strip().splitlines())
def test_what_documents_and_programs_import_is_there(line: str) -> None:
    module, found = line.split(": ")
    for name in found.split():
        assert hasattr(importlib.import_module(module), name), name


@pytest.mark.parametrize("name", sorted(GOLDEN["fields"]))
def test_results_have_its_attributes_keys_and_defaults(name: str) -> None:
    cls = getattr(figures, name)
    ours = {attribute: [of.key, of.default] for attribute, of in cls._FIELDS.items()}
    # what has no default there has an empty one here
    assert ours.keys() == GOLDEN["fields"][name].keys()
    for attribute, (key, default) in GOLDEN["fields"][name].items():
        assert ours[attribute][0] == key
        assert default is None or ours[attribute][1] == default, attribute


@pytest.mark.parametrize("place", sorted(GOLDEN["methods"]))
def test_classes_have_its_methods(place: str) -> None:
    module, name = place.split(":")
    cls = getattr(importlib.import_module(module), name)
    missing = [method for method in GOLDEN["methods"][place] if not hasattr(cls, method)]
    assert not missing


@pytest.mark.parametrize("place", sorted(GOLDEN["build_request"]))
def test_build_request_takes_the_same(place: str) -> None:
    module, name = place.split(":")
    cls = getattr(importlib.import_module(module), name)
    assert list(inspect.signature(cls.build_request).parameters) == GOLDEN["build_request"][place]


def test_names_of_figures_are_the_same() -> None:
    for cls, constants in GOLDEN["constants"].items():
        assert {key: getattr(getattr(names, cls), key) for key in constants} == constants


def test_options_have_the_same_defaults() -> None:
    ours = {field.name: field.default for field in fields(Arguments)}
    ours["outputs_dir"], ours["headers"] = f"./{ours['outputs_dir']}", {}
    assert {name: ours[name] for name in GOLDEN["arguments"]} == GOLDEN["arguments"]


def test_turns_and_requests_have_the_same_fields() -> None:
    assert [field.name for field in fields(Turn)] == GOLDEN["turn"]
    assert [field.name for field in fields(BenchmarkData)] == GOLDEN["benchmark_data"]
    with pytest.raises(Unsupported, match="the tool takes all times itself"):
        BenchmarkData().finalize(None)


@pytest.mark.parametrize(
    "statement",
    [
        "from evalscope import run_task",
        "from evalscope import TaskConfig",
        "from evalscope.run import run_task",
        "from evalscope.config import TaskConfig",
    ],
)
def test_evaluation_is_said_to_be_elsewhere(statement: str) -> None:
    with pytest.raises(ImportError, match="the other half of EvalScope"):
        exec(statement)


def test_names_that_nobody_has_are_attribute_errors() -> None:
    assert not hasattr(evalscope, "nothing")


def test_nothing_but_python_is_imported() -> None:
    code = (
        "import sys, evalscope.perf.main, evalscope.perf.plugin, evalscope.perf.sla.sla_run\n"
        "heavy = {'numpy', 'pydantic', 'transformers', 'aiohttp', 'yaml', 'modelscope'}\n"
        "print(*heavy & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.stdout, done.stderr) == (b"\n", b"")


def test_the_logger_writes_to_stderr_at_the_level_asked_for(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalscope.utils.logger import configure_logging, get_logger

    monkeypatch.setenv("EVALSCOPE_LOG_LEVEL", "warning")
    logger = logging.getLogger("evalscope")
    logger.handlers.clear()
    try:
        get_logger().info("not shown")
        get_logger(name="mine").warning("shown")
        configure_logging(debug=True)
        get_logger().debug("shown as well")
        lines = capfd.readouterr().err.splitlines()
    finally:
        logger.handlers.clear()
    assert [line.partition("- evalscope")[2] for line in lines] == [
        ".mine - WARNING: shown",
        " - DEBUG: shown as well",
    ]

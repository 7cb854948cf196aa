"""Owns reporting to Weights & Biases, SwanLab and ClearML: the role `tracker`.

Their client libraries are imported only when one is asked for, and may be missing.

Every figure is named `<run>/<metric>`, so that the runs of a sweep lie side by side. ClearML has
two levels of names itself, and draws the runs of a metric into one plot.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from evalscope.perf.wire import Method, Raised, Refusal, Session, dumps

DEFAULT_PROJECT = "perf_benchmark"


class Tracker(ABC):
    """One client library, and the one thing that it tracks."""

    library: str
    """What is imported, and what `pip install` installs."""
    project_variable: str
    """The environment variable that names the project."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        try:
            self._module: Any = importlib.import_module(self.library)
        except ModuleNotFoundError as error:
            if error.name != self.library:
                raise
            raise Refusal(
                f"`--visualizer {self.library}` needs its client library: "
                f"pip install {self.library}"
            ) from None

    @property
    def project(self) -> str:
        """The option, else the environment variable, else what the earlier tool takes."""
        return (
            self._options.get("project") or os.environ.get(self.project_variable) or DEFAULT_PROJECT
        )

    @abstractmethod
    def start(self, settings: Mapping[str, Any], name: str, output_dir: str) -> str | None:
        """Log in and begin; the address to look at is the answer."""

    @abstractmethod
    def metrics(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Figures of a run that is under way."""

    @abstractmethod
    def summary(
        self, run: str, metrics: Mapping[str, Any], percentiles: Sequence[Mapping[str, Any]]
    ) -> None:
        """Figures of a run that has ended."""

    @abstractmethod
    def files(self, paths: Sequence[str]) -> None:
        """Files to keep with the figures."""

    @abstractmethod
    def finish(self, finished: bool) -> None:
        """Upload the rest; not `finished` when the tool is gone without a word."""


class Wandb(Tracker):
    """Weights & Biases. `WANDB_API_KEY`, `WANDB_MODE` and the like are its own to read."""

    library = "wandb"
    project_variable = "WANDB_PROJECT"

    def start(self, settings: Mapping[str, Any], name: str, output_dir: str) -> str | None:
        """A run of the project. Without a key, and without a terminal to ask, it is refused."""
        self._runs: set[str] = set()
        self._run = self._module.init(
            project=self.project, name=name, dir=output_dir, config=dict(settings)
        )
        url: str | None = self._run.url or None
        return url

    def metrics(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """One step of a run, on an axis of the run's own: the library's only ever rises."""
        if run not in self._runs:
            self._runs.add(run)
            self._run.define_metric(f"{run}/step", hidden=True)
            self._run.define_metric(f"{run}/*", step_metric=f"{run}/step")
        self._run.log({f"{run}/step": step, **_named(run, values)})

    def summary(
        self, run: str, metrics: Mapping[str, Any], percentiles: Sequence[Mapping[str, Any]]
    ) -> None:
        """Values of the summary, and a table."""
        self._run.summary.update(_named(run, metrics))
        if percentiles:
            columns, rows = _table(percentiles)
            table = self._module.Table(columns=columns, data=rows, allow_mixed_types=True)
            self._run.log({f"{run}/percentiles": table})

    def files(self, paths: Sequence[str]) -> None:
        """An artifact of type `results`."""
        artifact = self._module.Artifact(f"results-{self._run.id}", type="results")
        for path, name in _relative(paths):
            artifact.add_file(path, name=name)
        self._run.log_artifact(artifact)

    def finish(self, finished: bool) -> None:
        """The run is marked as failed when it is not finished."""
        self._run.finish(exit_code=0 if finished else 1)


class SwanLab(Tracker):
    """SwanLab. The key `local` keeps everything on this machine."""

    library = "swanlab"
    project_variable = "SWANLAB_PROJ_NAME"

    def start(self, settings: Mapping[str, Any], name: str, output_dir: str) -> str | None:
        """An experiment of the project."""
        key = os.environ.get("SWANLAB_API_KEY")
        host = self._options.get("swanlab_host") or os.environ.get("SWANLAB_HOST")
        mode = None
        if key == "local":
            # the library has its dashboard apart; without it, what is written can be sent later
            mode = "local" if importlib.util.find_spec("swanboard") else "offline"
        elif os.environ.get("SWANLAB_MODE", "online") == "online" and (key or host):
            login = {"api_key": key, "host": host}
            if not self._module.login(**{name: text for name, text in login.items() if text}):
                raise Refusal("SwanLab did not accept the key in `SWANLAB_API_KEY`")
        self._run = self._module.init(
            project=self.project,
            workspace=os.environ.get("SWANLAB_WORKSPACE") or None,
            name=name,
            config=dict(settings),
            log_dir=os.path.join(output_dir, "swanlog"),
            mode=mode,
        )
        try:
            url: str | None = self._run.url or None
        except ValueError:
            # what is kept on this machine has no address
            url = None
        return url

    def metrics(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """One step of a run; each figure has steps of its own."""
        numbers = _numbers(_named(run, values))
        if numbers:
            self._run.log(numbers, step=step)

    def summary(
        self, run: str, metrics: Mapping[str, Any], percentiles: Sequence[Mapping[str, Any]]
    ) -> None:
        """One value for each figure; percentiles as curves, whose steps are the percentiles."""
        self._run.log(_numbers(_named(f"{run}/summary", metrics)), step=0)
        for row in percentiles:
            numbers = _numbers(_named(f"{run}/percentiles", row))
            step = _percent(row.get("Percentiles"))
            if numbers and step is not None:
                self._run.log(numbers, step=step)

    def files(self, paths: Sequence[str]) -> None:
        """Copies in the run's folder, which is uploaded."""
        base = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else None
        for path in paths:
            self._run.save(path, base_path=base, policy="now")

    def finish(self, finished: bool) -> None:
        """The experiment is marked as crashed when it is not finished."""
        if finished:
            self._run.finish()
        else:
            self._run.finish("crashed", error="evalscope perf ended without a word")


# All by name: a name that is missing counts as wanted. The detection of the repository runs git
# where the command was called, and `close` waits for it, for minutes where that is slow.
_CLEARML_COLLECTS_NOTHING = dict.fromkeys(
    (
        "catboost",
        "detect_repository",
        "fastai",
        "gradio",
        "hydra",
        "joblib",
        "lightgbm",
        "matplotlib",
        "megengine",
        "pytorch",
        "scikit",
        "tensorboard",
        "tensorflow",
        "tfdefines",
        "xgboost",
    ),
    False,
)


class ClearML(Tracker):
    """ClearML. Address and keys come from `clearml-init` or its environment variables."""

    library = "clearml"
    project_variable = "CLEARML_PROJECT_NAME"

    def start(self, settings: Mapping[str, Any], name: str, output_dir: str) -> str | None:
        """A task of the project, with nothing collected that was not measured."""
        task = self._module.Task
        self._task = task.init(
            project_name=self.project,
            task_name=name,
            task_type=task.TaskTypes.testing,
            reuse_last_task_id=False,
            auto_connect_arg_parser=False,
            auto_connect_frameworks=_CLEARML_COLLECTS_NOTHING,
            auto_resource_monitoring=False,
            auto_connect_streams=False,
        )
        self._task.connect(dict(settings), name="settings")
        self._logger = self._task.get_logger()
        if task.is_offline():
            return None
        url: str | None = self._task.get_output_log_web_page() or None
        return url

    def metrics(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """A plot for each figure, a line in it for each run."""
        for name, value in _numbers(values).items():
            self._logger.report_scalar(name, run, value, iteration=step)

    def summary(
        self, run: str, metrics: Mapping[str, Any], percentiles: Sequence[Mapping[str, Any]]
    ) -> None:
        """Single values, and a table."""
        for name, value in _numbers(_named(run, metrics)).items():
            self._logger.report_single_value(name, value)
        if percentiles:
            columns, rows = _table(percentiles)
            self._logger.report_table("percentiles", run, iteration=0, table_plot=[columns, *rows])

    def files(self, paths: Sequence[str]) -> None:
        """Artifacts."""
        for path, name in _relative(paths):
            self._task.upload_artifact(name, path, wait_on_upload=True)

    def finish(self, finished: bool) -> None:
        """The task is marked as failed when it is not finished."""
        if not finished:
            self._task.mark_failed(status_reason="evalscope perf ended without a word")
        self._task.close()


KINDS: Mapping[str, type[Tracker]] = {"wandb": Wandb, "swanlab": SwanLab, "clearml": ClearML}
"""What `--visualizer` can be."""


class TrackerSession(Session):
    """Figures on their way to a tracker."""

    role = "tracker"

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._tracker: Tracker | None = None
        self._started = False

    def hello(self, name: str | None, options: Mapping[str, Any]) -> str:
        """Import the library, before any load."""
        with _client(self._kind, "import"):
            self._tracker = KINDS[self._kind](options)
        return self._kind

    def methods(self) -> Mapping[str, Method]:
        """`start`, `metrics`, `summary` and `files`."""
        return {
            "start": self._start,
            "metrics": self._metrics,
            "summary": self._summary,
            "files": self._files,
        }

    def close(self, finished: bool) -> None:
        """Upload the rest, when there is anything."""
        if self._tracker is not None and self._started:
            self._started = False
            with _client(self._kind, "finish"):
                self._tracker.finish(finished)

    def _start(self, params: Mapping[str, Any]) -> str:
        if self._started:
            raise Refusal("`start` was said already")
        assert self._tracker is not None
        with _client(self._kind, "start"):
            url = self._tracker.start(params["settings"], params["name"], params["output_dir"])
        self._started = True
        return dumps({"url": url})

    def _metrics(self, params: Mapping[str, Any]) -> str:
        tracker = self._running("metrics")
        with _client(self._kind, "metrics"):
            tracker.metrics(params["run"], params["step"], _known(params["values"]))
        return "{}"

    def _summary(self, params: Mapping[str, Any]) -> str:
        tracker = self._running("summary")
        with _client(self._kind, "summary"):
            tracker.summary(params["run"], _known(params["metrics"]), params["percentiles"])
        return "{}"

    def _files(self, params: Mapping[str, Any]) -> str:
        tracker = self._running("files")
        with _client(self._kind, "files"):
            tracker.files(params["paths"])
        return "{}"

    def _running(self, method: str) -> Tracker:
        if self._tracker is None or not self._started:
            raise Refusal(f"`start` comes before `{method}`")
        return self._tracker


class _client:
    """Everything that is raised inside is the client library's, and named so."""

    __slots__ = ("_where",)

    def __init__(self, kind: str, doing: str) -> None:
        self._where = f"{kind} ({doing})"

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, (Exception, SystemExit)) and not isinstance(error, Refusal):
            # an old library has other parameters
            old = isinstance(error, (AttributeError, TypeError))
            hint = "; is the library up to date (pip install --upgrade)?" if old else ""
            raise Raised(self._where, error, hint) from error


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Missing is `null` in the protocol; a tracker wants such a figure left out."""
    return {name: value for name, value in values.items() if value is not None}


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _named(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    columns = list(rows[0])
    return columns, [[row.get(column) for column in columns] for row in rows]


def _percent(name: object) -> int | None:
    """The place of a percentile on an axis from 0 to 100."""
    text = str(name)
    if text in ("min", "max"):
        return 0 if text == "min" else 100
    try:
        return int(text.rstrip("%"))
    except ValueError:
        return None


def _relative(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Paths, and names that keep the folder: every run has files of the same names."""
    if not paths:
        return []
    base = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [(path, os.path.relpath(path, base).replace(os.sep, "/")) for path in paths]

"""Owns the part with a real Prometheus: promtool accepts the metrics in both formats, Prometheus scrapes a
run that is under way and knows its counts at the end, and every query of the Grafana dashboard has a
result."""

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from common import ROOT, Events, free_port, programs, running, simulator, wait_for

REQUESTS = 40
CONFIG = """
global:
  scrape_interval: 500ms
scrape_configs:
  - job_name: evalscope
    static_configs: [{targets: ["%s"]}]
"""


def get(url, **headers):
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read().decode()


def lint(promtool, page):
    done = subprocess.run([promtool, "check", "metrics"], input=page, text=True, capture_output=True)
    assert done.returncode == 0 and not done.stderr, f"promtool: {done.stderr}"


def expressions():
    """The queries of the dashboard, for all runs and models."""
    board = json.loads((ROOT / "contrib" / "grafana" / "evalscope.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "10s")
            yield panel["title"], re.sub(r"\$(run|model)", ".*", query)


def query(server, expression):
    """The samples of a query; none while Prometheus is not there yet."""
    try:
        text = get(f"{server}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return []
        raise AssertionError(f"{expression}: {error.read().decode()}") from None
    except urllib.error.URLError:
        return []
    return json.loads(text)["data"]["result"]


def check(evalscope, scratch):
    promtool, prometheus = programs("prometheus", "promtool", "prometheus")
    port = free_port()
    server = f"http://127.0.0.1:{port}"
    with simulator(evalscope, "--ttft-ms", "200", "--fault", "http-503:every=10") as url:
        command = [evalscope, "perf", url, "--model", "sim", "--dataset", "sample", "--parallel", "2", "-n", REQUESTS,
                   "--rate", "10", "--max-tokens", "8", "--outputs-dir", scratch, "--no-timestamp", "--name", "run",
                   "--progress", "json", "--metrics-listen", "0", "--metrics-linger", "60"]
        with running(*map(str, command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
            events = Events(run.stderr)
            address = events.wait("message", "metrics are at ")["text"].split("http://")[1].split("/")[0]
            (scratch / "prometheus.yml").write_text(CONFIG % address)
            log = (scratch / "prometheus.log").open("w")
            with running(prometheus, f"--config.file={scratch / 'prometheus.yml'}",
                         f"--storage.tsdb.path={scratch / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}",
                         stdout=log, stderr=log):
                wait_for("a scrape of the run under way",
                         lambda: query(server, 'evalscope_run_state{state="running"} == 1'))
                events.wait("ended")
                wait_for("the counts at the end", lambda: sum(
                    float(sample["value"][1]) for sample in query(server, "evalscope_requests_total")) == REQUESTS)
                for title, expression in expressions():
                    wait_for(f"a result of the panel {title}: {expression}", lambda: query(server, expression))
                targets = json.loads(get(f"{server}/api/v1/targets"))["data"]["activeTargets"]
                assert [target["lastError"] for target in targets] == [""], targets
            page = get(f"http://{address}/metrics")
            lint(promtool, page)
            open_metrics = get(f"http://{address}/metrics", Accept="application/openmetrics-text;version=1.0.0")
            assert open_metrics.endswith("# EOF\n"), open_metrics
    lint(promtool, (scratch / "run" / "metrics.prom").read_text())

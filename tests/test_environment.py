"""Versions: ranges in pyproject.toml, exact pins in the locks and in environment.yml, and all of
them agree."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# What `make run` installs: the notebooks, compressed DICOM and the public archive.
RUN = [Requirement(r) for r in PROJECT["dependencies"] + EXTRAS["decoders"] + EXTRAS["archive"]]
ALL = RUN + [Requirement(r) for e in ("idc", "jax", "voila", "lint", "test") for r in EXTRAS[e]]


def pins(lines) -> dict[str, str]:
    """{name: version} of `name[extra]==version` lines."""
    found = (
        re.match(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", line.strip()) for line in lines
    )
    return {m[1].lower().replace("_", "-"): m[2] for m in found if m}


def lock(name: str) -> dict[str, str]:
    return pins((ROOT / name).read_text(encoding="utf-8").splitlines())


def test_dependencies_are_ranges():
    for need in ALL:
        if need.name != PROJECT["name"]:
            operators = {s.operator for s in need.specifier}
            assert ">=" in operators and "==" not in operators, str(need)


@pytest.mark.parametrize(
    "name, needs", [("requirements.lock", RUN), ("requirements-test.lock", ALL)]
)
def test_lock_holds_a_version_within_every_range(name, needs):
    locked = lock(name)
    for need in needs:
        if need.name != PROJECT["name"]:
            assert need.specifier.contains(locked[need.name.lower()]), str(need)


def test_environment_yml_has_the_pins_of_the_lock_with_a_reason_each():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    conda = yaml.safe_load(text)["dependencies"]
    pip_lines = next(d for d in conda if isinstance(d, dict))["pip"]
    locked = lock("requirements.lock")
    assert pins(pip_lines) == {r.name: locked[r.name] for r in RUN}
    assert pip_lines[-1] == "-e ."
    for line in text.splitlines():
        if line.lstrip().startswith("- ") and line.strip() not in ("- conda-forge", "- pip:"):
            assert "#" in line, f"no reason given: {line}"


def test_the_two_locks_agree_and_are_hashed():
    small, large = lock("requirements.lock"), lock("requirements-test.lock")
    assert {k: large.get(k) for k in small} == small
    for name in ("requirements.lock", "requirements-test.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://|file:|--index|--find-links", text), (
            f"{name} names a registry"
        )
        blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
        assert all("--hash=sha256:" in b for b in blocks if re.match(r"[A-Za-z0-9_.-]+==", b))


@pytest.mark.parametrize(
    "module",
    [
        "petphantom",
        "petsuv",
        "radiogan_lib",
        "radiogan_lib.config",
        "radiogan_lib.data",
        "radiogan_lib.evaluation",
        "radiogan_lib.batch",
    ],
)
def test_import_loads_no_tensorflow(module):
    code = (
        f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', "
        "'jax', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

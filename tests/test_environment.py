"""The pins say the same thing everywhere: pyproject.toml, environment.yml and the two hashed locks."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIRED = {"jupyterlab", "tensorflow", "ipywidgets", "nibabel", "matplotlib", "papermill", "nbval"}


def pins(lines) -> dict[str, str]:
    """{name: version} of `name[extra]==version` lines."""
    found = (
        re.match(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", line.strip()) for line in lines
    )
    return {m[1].lower().replace("_", "-"): m[2] for m in found if m}


def lock(name: str) -> dict[str, str]:
    return pins((ROOT / name).read_text().splitlines())


def test_every_dependency_is_pinned_exactly():
    everything = PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])
    loose = [d for d in everything if "==" not in d and not d.startswith("radiogan-reproduced[")]
    assert not loose
    assert REQUIRED <= pins(PROJECT["dependencies"]).keys()


def test_environment_yml_has_the_same_pins_with_a_reason_each():
    text = (ROOT / "environment.yml").read_text()
    conda = yaml.safe_load(text)["dependencies"]
    pip_lines = next(d for d in conda if isinstance(d, dict))["pip"]
    assert pins(pip_lines) == pins(PROJECT["dependencies"])
    assert pip_lines[-1] == "-e ."
    for line in text.splitlines():
        if line.lstrip().startswith("- ") and line.strip() not in ("- conda-forge", "- pip:"):
            assert "#" in line, f"no reason given: {line}"


@pytest.mark.parametrize(
    "name, extras", [("requirements.lock", []), ("requirements-test.lock", ["test"])]
)
def test_lock_agrees_with_pyproject(name, extras):
    wanted = pins(PROJECT["dependencies"])
    if extras:
        wanted |= pins(
            sum(
                (
                    PROJECT["optional-dependencies"][e]
                    for e in ("test", "jax", "dask", "idc", "voila")
                ),
                [],
            )
        )
    locked = lock(name)
    assert {k: locked.get(k) for k in wanted} == wanted


def test_the_two_locks_agree_and_are_hashed():
    small, large = lock("requirements.lock"), lock("requirements-test.lock")
    assert {k: large.get(k) for k in small} == small
    for name in ("requirements.lock", "requirements-test.lock"):
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://|file:|--index|--find-links", text), (
            f"{name} names a registry"
        )
        blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
        assert all("--hash=sha256:" in b for b in blocks if re.match(r"[A-Za-z0-9_.-]+==", b))


def test_installed_versions_are_the_pinned_ones():
    from importlib.metadata import version

    assert {k: version(k) for k in pins(PROJECT["dependencies"])} == pins(PROJECT["dependencies"])


@pytest.mark.parametrize(
    "module",
    [
        "radiogan_lib",
        "radiogan_lib.config",
        "radiogan_lib.data",
        "radiogan_lib.evaluation",
        "radiogan_lib.batch",
    ],
)
def test_import_loads_no_tensorflow(module):
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'jax', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

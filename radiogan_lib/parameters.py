"""What a headless run is told (`--set name=value`) and what of it each notebook is given. Used by `batch`."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import yaml

from radiogan_lib import config, paths


def parse_setting(text: str) -> tuple[str, list]:
    """`name=value` or, for a sweep, `name=v1,v2`: values are YAML; brackets and quotes keep a comma in one value."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise config.ConfigError(
            f"--set {' '.join(text.split())[:60]!r} is not of the form name=value: write it like epochs=5."
        )
    if name.strip() == "profile":
        raise config.ConfigError(f"--set {text!r}: choose the profile with --profile NAME.")
    # A cohort is a path: it is taken whole, whatever it holds.
    parts = (
        [value]
        if name.strip() == "cohort"
        else re.findall(r"""(?:\[[^\]]*\]|"[^"]*"|'[^']*'|[^,])+""", value) or [""]
    )
    try:
        values = [p if name.strip() == "cohort" else yaml.load(p, Loader=_Yaml) for p in parts]
    except yaml.YAMLError:
        raise config.ConfigError(
            f"--set {' '.join(text.split())[:60]!r}: the value is not readable; quote it if it is text."
        ) from None
    return name.strip(), ["" if v is None else v for v in values]


class _Yaml(yaml.SafeLoader):
    """YAML that also reads 1e-4 as a number, as everybody but YAML 1.1 does."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def portable(settings: dict) -> dict:
    """A cohort given relative to where the user stands, as a notebook finds it too: relative to home if it lies below."""
    if not settings.get("cohort"):
        return settings
    try:
        path = Path(str(settings["cohort"])).expanduser()
        path = path.resolve() if path.exists() else paths.home() / path
        there = path.is_file()
    except (RuntimeError, ValueError, OSError):  # ~ of nobody, a NUL, too long
        there = False
    if not there:
        raise config.ConfigError(
            f"the cohort {settings['cohort']} does not exist; give the path of a csv with one row per exam."
        )
    return settings | {
        "cohort": str(path.relative_to(paths.home()) if path.is_relative_to(paths.home()) else path)
    }


def known_parameters(path: Path) -> dict[str, object]:
    """{name: default} of a notebook's `parameters` cell, read as literals without running it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cell = next((c for c in cells if "parameters" in c["metadata"].get("tags", [])), None)
    tree = ast.parse("".join(cell["source"])) if cell else ast.Module([], [])
    return {
        n.target.id: ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.AnnAssign)
    }


def parameters_for(path: Path, profile: str, settings: dict, everywhere: set[str]) -> dict:
    """What one notebook is given: its own parameters by name, every other setting inside `settings`.

    Raises:
        ConfigError: a name that is neither a parameter of any notebook nor a setting; the message lists them.
    """
    unknown = [k for k in settings if k not in everywhere and k not in config.FIELDS]
    if unknown:
        raise config.ConfigError(
            f"--set {unknown[0]}: no notebook has this parameter and there is no such setting. Parameters: "
            f"{', '.join(sorted(everywhere))}. Settings: {', '.join(config.FIELDS)}."
        )
    own = known_parameters(path)
    given = {"profile": profile} | {k: v for k, v in settings.items() if k in own}
    rest = {k: v for k, v in settings.items() if k not in own and k in config.FIELDS}
    return given | ({"settings": rest} if rest else {})

"""Run the notebooks headless, in order, strictly: `python -m radiogan_lib.batch --profile teach`.

Each notebook is executed by papermill into its run's folder. What is finished and unchanged is not
run again: a notebook is finished when its source, its parameters, the library and every file that
it needs are those of its last successful run, and every file that it made is still there. A sweep
is several values (`--set seed=0,1,2`): its results stand in one table in the end.
"""

import argparse
import hashlib
import itertools
import json
import logging
import re
import sys
import time
from pathlib import Path

import yaml

from radiogan_lib import config, machine, notebooks, paths, sweeps
from radiogan_lib.config import ConfigError


class _Yaml(yaml.SafeLoader):
    """YAML that also reads 1e-4 as a number, as everybody but YAML 1.1 does."""


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_setting(text: str) -> tuple[str, list]:
    """`name=value` or, for a sweep, `name=v1,v2` (YAML); brackets and quotes keep a comma."""
    name, equals, value = text.partition("=")
    name, short = name.strip(), " ".join(text.split())[:60].replace("\\", "/")
    said = f"--set {short!r}"
    if not equals or not name:
        raise ConfigError(f"{said} is not of the form name=value: write it like epochs=5.")
    if name == "profile":
        raise ConfigError(f"{said}: choose the profile with --profile NAME.")
    if name == "settings":
        raise ConfigError(f"{said}: name the setting itself, like --set epochs=5.")
    if name == "cohort":  # a path is taken whole, whatever it holds
        return name, [value]
    parts = re.findall(r"""(?:\[[^\]]*\]|"[^"]*"|'[^']*'|[^,])+""", value) or [""]
    try:
        values = [yaml.load(p, Loader=_Yaml) for p in parts]
    except yaml.YAMLError:
        raise ConfigError(f"{said}: the value is not readable; quote it if it is text.") from None
    return name, ["" if v is None else v for v in values]


def split_settings(line: str) -> list[str]:
    """`seed=1 class_a='head neck'` → one text per setting: a blank separates before a name=."""
    return [s for s in re.split(r"\s+(?=[A-Za-z_]\w*\s*=)", line.strip()) if s]


def portable(settings: dict) -> dict:
    """A cohort given from where the user stands, as a notebook finds it too: from home."""
    if not settings.get("cohort"):
        return settings
    try:
        path = Path(str(settings["cohort"])).expanduser()
        path = path.resolve() if path.exists() else paths.home() / path
        there = path.is_file()
    except (RuntimeError, ValueError, OSError):  # ~ of nobody, a NUL, too long
        there = False
    if not there:
        said = f"the cohort {settings['cohort']} does not exist"
        raise ConfigError(f"{said}; give the path of a csv with one row per exam.")
    home = paths.home()
    return settings | {"cohort": str(path.relative_to(home) if path.is_relative_to(home) else path)}


def parameters_for(path: Path, profile: str, settings: dict, everywhere: set[str]) -> dict:
    """What one notebook is given: its own parameters by name, the rest inside `settings`."""
    if unknown := [k for k in settings if k not in everywhere and k not in config.FIELDS]:
        raise ConfigError(
            f"--set {unknown[0]}: no notebook has this parameter and there is no such setting. "
            f"Parameters: {', '.join(sorted(everywhere))}. Settings: {', '.join(config.FIELDS)}."
        )
    own = notebooks.parameters(path)
    given = {"profile": profile} | {k: v for k, v in settings.items() if k in own}
    rest = {k: v for k, v in settings.items() if k not in own and k in config.FIELDS}
    return given | ({"settings": rest} if rest else {})


def _digest(*parts) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def library_digest() -> str:
    """One hash over the library's source and the profiles: a change makes notebooks stale."""
    files = sorted(Path(__file__).parent.rglob("*.py")) + sorted(config.PROFILES.glob("*.yaml"))
    return _digest([(str(p.name), paths.sha256(p)) for p in files])


def _artefacts(path: Path, key: str, cfg: config.Config) -> list[Path]:
    """What a notebook `needs` or `makes`, as paths."""
    places = {
        "{dataset}": paths.dataset_dir(cfg),
        "{run}": paths.run_dir(cfg),
        "{cohort}": paths.cohort_path(cfg),
    }
    heads = (d.partition("/") for d in notebooks.declared(path, key))
    return [Path(places[head] / tail if tail else places[head]) for head, _, tail in heads]


def _record(file: Path) -> dict:
    """What finished before; nothing where the file is damaged: then the notebooks run again."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {k: v for k, v in content.items() if isinstance(v.get("seconds"), (int, float))}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def run_all(profile: str, settings: dict, first="00", last="99", force=False) -> Path:
    """Run the notebooks of one experiment that are not finished yet; return the run's folder."""
    todo = notebooks.numbered(first, last)
    everywhere = set().union(*(notebooks.parameters(p) for p in notebooks.numbered()))
    given = {p: parameters_for(p, profile, settings, everywhere) for p in todo}
    cfg = config.load(profile, **{k: v for k, v in settings.items() if k in config.FIELDS})
    folder = paths.run_dir(cfg)
    record_file = folder / "batch.json"
    record, library = _record(record_file), library_digest()
    print(f"{cfg} → {paths.shown(folder)}", flush=True)
    for path in todo:
        out = folder / path.name
        source = [c["source"] for c in json.loads(path.read_text(encoding="utf-8"))["cells"]]

        def stamp(path=path, source=source):
            needs = [p for p in _artefacts(path, "needs", cfg) if p.is_file()]
            return _digest(source, given[path], library, [(str(p), paths.sha256(p)) for p in needs])

        made = all(p.exists() for p in [out, *_artefacts(path, "makes", cfg)])
        done = record.get(path.name, {})
        if not force and made and done.get("stamp") == stamp():
            took = f"finished before ({done['seconds']:.0f} s)"
            print(f"  {path.name:34s} {took}; nothing it needs has changed", flush=True)
            continue
        record.pop(path.name, None)
        print(f"  {path.name:34s} running …", flush=True)
        started = time.time()
        notebooks.run(path, out, given[path], cfg.cell_timeout_s)
        # The stamp is taken again: a notebook may write what it needs.
        record[path.name] = {"stamp": stamp(), "seconds": round(time.time() - started, 1)}
        paths.write_json(record_file, record)
        print(f"  {path.name:34s} {record[path.name]['seconds']:.0f} s", flush=True)
    return folder


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    what = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m radiogan_lib.batch", description=what)
    add = parser.add_argument
    add("--profile", default="teach", help="sizes: " + ", ".join(config.profiles()))
    add("--from", dest="first", default="00", metavar="NN", help="first notebook, e.g. 03")
    add("--to", dest="last", default="99", metavar="NN", help="last notebook")
    text = "a parameter or setting; several values (seed=0,1,2) make a sweep"
    add("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help=text)
    add("--sets", default="", metavar="LINE", help="several of them in one text, blanks between")
    add("--jobs", type=_at_least_one, default=1, help="experiments of a sweep that run at once")
    text = "run a sweep on the workers of this Dask scheduler (tcp://…), which see the same folders"
    add("--scheduler", default="", metavar="ADDRESS", help=text)
    add("--force", action="store_true", help="run also what is finished")
    return parser


def _run(args: argparse.Namespace) -> int:
    """What `main` does, once its arguments are read."""
    machine.keras_backend()  # notebooks import Keras before any line of ours could tell
    given = dict(parse_setting(s) for s in [*args.settings, *split_settings(args.sets)])
    combinations = itertools.product(*given.values())
    experiments = [portable(dict(zip(given, values, strict=True))) for values in combinations]
    if len(experiments) == 1:
        run_all(args.profile, experiments[0], args.first, args.last, args.force)
        return 0
    everywhere = set().union(*(notebooks.parameters(p) for p in notebooks.numbered()))
    for e in experiments:  # a misspelt name is reported before anything runs
        config.load(args.profile, **{k: v for k, v in e.items() if k in config.FIELDS})
        parameters_for(notebooks.numbered()[0], args.profile, e, everywhere)
    options = ["--profile", args.profile, "--from", args.first, *["--force"] * args.force]
    done = sweeps.run(options, experiments, args.last, args.jobs, args.scheduler)
    sweeps.write(args.profile, done, [*args.settings, *split_settings(args.sets)])
    return int(any(d["error"] for d in done))


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    machine.forgiving_output()
    args = _parser().parse_args(arguments)
    try:
        with notebooks.kernel_environment():
            return _run(args)
    except config.RadioganError as e:
        print(f"\n{sweeps.FAILED}{e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # A kernel that dies with us is no news, but asyncio would report it at exit.
        logging.getLogger("asyncio").disabled = True
        print("\nStopped. The same command continues where this one stopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""Run the notebooks headless, in order, strictly: `python -m radiogan_lib.batch --profile teach`.

Each notebook is executed by papermill into its run's folder. What is finished and unchanged is not run again: a
notebook is finished when its source, its parameters, the library and every file that it needs are those of its last
successful run, and every file that it made is still there. A sweep is several values (`--set seed=0,1,2`): its results
stand in one table in the end.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import logging
import os
import re
import sys
import time
from pathlib import Path

import yaml

from radiogan_lib import config, paths, sweeps

NOTEBOOKS = paths.REPO / "notebooks"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookFailed(config.RadioganError):
    """A notebook stopped; the message shows its failing cell."""


def notebooks(first: str = "00", last: str = "99") -> list[Path]:
    """The numbered notebooks from `first` to `last`, in order."""
    found = [p for p in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")) if first[:2] <= p.name[:2] <= last[:2]]
    if not found:
        raise config.ConfigError(f"no notebook lies between {first} and {last}; choose among "
                                 f"{', '.join(p.name for p in sorted(NOTEBOOKS.glob('[0-9][0-9]_*.ipynb')))}.")
    return found


def parse_setting(text: str) -> tuple[str, list]:
    """`name=value` or, for a sweep, `name=v1,v2`: values are YAML; brackets and quotes keep a comma in one value."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise config.ConfigError(f"--set {' '.join(text.split())[:60]!r} is not of the form name=value: write it like epochs=5.")
    if name.strip() == "profile":
        raise config.ConfigError(f"--set {text!r}: choose the profile with --profile NAME.")
    # A cohort is a path: it is taken whole, whatever it holds.
    parts = [value] if name.strip() == "cohort" else re.findall(r"""(?:\[[^\]]*\]|"[^"]*"|'[^']*'|[^,])+""", value) or [""]
    try:
        values = [p if name.strip() == "cohort" else yaml.load(p, Loader=_Yaml) for p in parts]
    except yaml.YAMLError:
        raise config.ConfigError(f"--set {' '.join(text.split())[:60]!r}: the value is not readable; quote it if it is text.") from None
    return name.strip(), ["" if v is None else v for v in values]


class _Yaml(yaml.SafeLoader):
    """YAML that also reads 1e-4 as a number, as everybody but YAML 1.1 does."""


_Yaml.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789"))


def _portable(settings: dict) -> dict:
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
        raise config.ConfigError(f"the cohort {settings['cohort']} does not exist; give the path of a csv with one row per exam.")
    return settings | {"cohort": str(path.relative_to(paths.home()) if path.is_relative_to(paths.home()) else path)}


def known_parameters(path: Path) -> dict[str, object]:
    """{name: default} of a notebook's `parameters` cell, read as literals without running it."""
    import ast

    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cell = next((c for c in cells if "parameters" in c["metadata"].get("tags", [])), None)
    tree = ast.parse("".join(cell["source"])) if cell else ast.Module([], [])
    return {n.target.id: ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.AnnAssign)}


def parameters_for(path: Path, profile: str, settings: dict, everywhere: set[str]) -> dict:
    """What one notebook is given: its own parameters by name, every other setting inside `settings`.

    Raises:
        ConfigError: a name that is neither a parameter of any notebook nor a setting; the message lists them.
    """
    unknown = [k for k in settings if k not in everywhere and k not in config.FIELDS]
    if unknown:
        raise config.ConfigError(f"--set {unknown[0]}: no notebook has this parameter and there is no such setting. Parameters: "
                                 f"{', '.join(sorted(everywhere))}. Settings: {', '.join(config.FIELDS)}.")
    own = known_parameters(path)
    given = {"profile": profile} | {k: v for k, v in settings.items() if k in own}
    rest = {k: v for k, v in settings.items() if k not in own and k in config.FIELDS}
    return given | ({"settings": rest} if rest else {})


def _digest(*parts) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def library_digest() -> str:
    """One hash over the library's source and the profiles: a changed library makes finished notebooks stale."""
    files = sorted(Path(__file__).parent.rglob("*.py")) + sorted(config.PROFILES.glob("*.yaml"))
    return _digest([(str(p.name), paths.sha256(p)) for p in files])


def declared(path: Path, key: str) -> list[str]:
    """What a notebook says it `needs` or `makes` (its `radiogan` metadata), e.g. "{dataset}/dataset.json"."""
    return json.loads(path.read_text(encoding="utf-8"))["metadata"].get("radiogan", {}).get(key, [])


def _artefacts(path: Path, key: str, cfg: config.Config) -> list[Path]:
    """The same as paths."""
    places = {"{dataset}": paths.dataset_dir(cfg), "{run}": paths.run_dir(cfg), "{cohort}": paths.cohort_path(cfg)}
    return [Path(places[head] / tail if tail else places[head]) for head, _, tail in (d.partition("/") for d in declared(path, key))]


class _Progress(logging.Handler):
    """Passes a notebook's printed progress lines on to the terminal, and nothing else of its output."""

    def emit(self, record):
        for line in str(record.getMessage()).splitlines():
            if line.startswith("… "):
                print(f"    {line}", flush=True)


def _failing_cell(error, path: Path, out: Path) -> str:
    trace = "\n".join(ANSI.sub("", error.traceback if isinstance(error.traceback, str) else "\n".join(error.traceback)).splitlines()[-15:])
    first = next((s for s in error.source.splitlines() if s.strip() and not s.lstrip().startswith("#")), "")
    return f"{path.name}, In [{error.exec_count}]: {first}\n{trace}\nAll of it: {paths.shown(out.with_suffix('.failed.ipynb'))}"


def run_notebook(path: Path, out: Path, parameters: dict, timeout_s: int) -> None:
    """Execute one notebook with papermill.

    Raises:
        NotebookFailed: a cell failed, ran too long, or the kernel died; the message shows which.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    logger, handler = logging.getLogger("papermill"), _Progress()
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    try:
        with paths.atomic(out) as temporary, _quiet():
            # papermill writes while it runs; a notebook that did not finish keeps its own name, for reading
            try:
                papermill.execute_notebook(path, temporary, parameters, kernel_name="python3", cwd=NOTEBOOKS, progress_bar=False,
                                           log_output=True, execution_timeout=timeout_s, start_timeout=120,
                                           extra_arguments=["--IPKernelApp.log_level=ERROR"])
            except Exception:
                with contextlib.suppress(OSError):
                    os.replace(temporary, out.with_suffix(".failed.ipynb"))
                    temporary.touch()
                raise
    except PapermillExecutionError as e:
        raise NotebookFailed(_failing_cell(e, path, out)) from None
    except DeadKernelError:
        raise NotebookFailed(f"{path.name}: the kernel died; most often the machine ran out of memory. Try a smaller profile or "
                             "`--set batch_size=8`.") from None
    except CellTimeoutError as e:
        raise NotebookFailed(f"{path.name}: a cell ran longer than {timeout_s} s and was stopped; raise it with "
                             f"`--set cell_timeout_s=…`. {str(e).splitlines()[0]}") from None


@contextlib.contextmanager
def _quiet():
    """TensorFlow's and Jupyter's start-up lines stay out of kernels that nobody watches; progress becomes single lines."""
    wanted = {"TF_CPP_MIN_LOG_LEVEL": "2", "RADIOGAN_HEADLESS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    before = {k: os.environ.get(k) for k in wanted}
    os.environ.update({k: v for k, v in wanted.items() if before[k] is None})
    yield
    for k, v in before.items():
        if v is None:
            os.environ.pop(k, None)


def _record(file: Path) -> dict:
    """What finished before; nothing where the file is damaged: then the notebooks run again, and find their artefacts made."""
    try:
        return {k: v for k, v in json.loads(file.read_text(encoding="utf-8")).items() if isinstance(v.get("seconds"), (int, float))}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def run_all(profile: str, settings: dict, first="00", last="99", force=False, say=print) -> Path:
    """Run the notebooks of one experiment that are not finished yet; return the run's folder."""
    todo = notebooks(first, last)
    everywhere = set().union(*(known_parameters(p) for p in notebooks()))
    given = {p: parameters_for(p, profile, settings, everywhere) for p in todo}
    cfg = config.load(profile, **{k: v for k, v in settings.items() if k in config.FIELDS})
    folder = paths.run_dir(cfg)
    record_file = folder / "batch.json"
    record = _record(record_file)
    library = library_digest()
    say(f"{cfg} → {paths.shown(folder)}")
    for path in todo:
        out = folder / path.name
        source = [c["source"] for c in json.loads(path.read_text(encoding="utf-8"))["cells"]]
        needs = [(str(p), paths.sha256(p)) for p in _artefacts(path, "needs", cfg) if p.is_file()]
        stamp, makes, started = _digest(source, given[path], library, needs), _artefacts(path, "makes", cfg), time.time()
        done = record.get(path.name, {})
        if not force and done.get("stamp") == stamp and out.exists() and all(p.exists() for p in makes):
            say(f"  {path.name:34s} finished before ({done['seconds']:.0f} s); nothing it needs has changed")
            continue
        record.pop(path.name, None)
        say(f"  {path.name:34s} running …")
        run_notebook(path, out, given[path], cfg.cell_timeout_s)
        needs = [(str(p), paths.sha256(p)) for p in _artefacts(path, "needs", cfg) if p.is_file()]
        record[path.name] = {"stamp": _digest(source, given[path], library, needs), "seconds": round(time.time() - started, 1)}
        paths.write_json(record_file, record)
        say(f"  {path.name:34s} {record[path.name]['seconds']:.0f} s")
    return folder


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m radiogan_lib.batch", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="teach", help="sizes: " + ", ".join(config.profiles()))
    parser.add_argument("--from", dest="first", default="00", metavar="NN", help="first notebook, e.g. 03")
    parser.add_argument("--to", dest="last", default="99", metavar="NN", help="last notebook")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
                        help="a parameter or setting; several values (seed=0,1,2) make a sweep")
    parser.add_argument("--jobs", type=int, default=1, help="experiments of a sweep that run at once")
    parser.add_argument("--scheduler", default="", metavar="ADDRESS",
                        help="run a sweep on the workers of this Dask scheduler (tcp://…), which see the same folders")
    parser.add_argument("--force", action="store_true", help="run also what is finished")
    parser.add_argument("--publish", action="store_true", help="write the clean executed notebooks back into notebooks/")
    args = parser.parse_args(arguments)
    try:
        names, values = zip(*(parse_setting(s) for s in args.settings)) if args.settings else ((), ())
        experiments = [_portable(dict(zip(names, combination))) for combination in itertools.product(*values)]
        if args.publish and len(experiments) > 1:
            raise config.ConfigError("--publish takes one experiment, not a sweep.")
        if len(experiments) > 1:
            for e in experiments:  # a misspelt name is told before anything runs
                config.load(args.profile, **{k: v for k, v in e.items() if k in config.FIELDS})
                parameters_for(notebooks()[0], args.profile, e, set().union(*(known_parameters(p) for p in notebooks())))
            done = sweeps.run(args.profile, experiments, args.first, args.last, args.force, max(1, args.jobs), args.scheduler)
            sweeps.write(args.profile, done, args.settings)
            return int(any(d["error"] for d in done))
        folder = run_all(args.profile, experiments[0], args.first, args.last, args.force)
        if args.publish:
            from radiogan_lib import publish
            publish.publish(folder, notebooks(args.first, args.last))
    except config.RadioganError as e:
        print(f"\n{e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

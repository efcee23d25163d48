"""Run the notebooks headless, in order, strictly: `python -m radiogan_lib.batch --profile teach`.

Each notebook is executed by papermill into its run's folder. What is finished and unchanged is not run again: a
notebook is finished when its source, its parameters, the library and every file that it needs are those of its last
successful run, and every file that it made is still there. A sweep is several values (`--set seed=0,1,2`): its results
stand in one table in the end.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
import time
from pathlib import Path

from radiogan_lib import config, paths, sweeps
from radiogan_lib.execution import run_notebook
from radiogan_lib.parameters import known_parameters, parameters_for, parse_setting, portable

NOTEBOOKS = paths.REPO / "notebooks"


def notebooks(first: str = "00", last: str = "99") -> list[Path]:
    """The numbered notebooks from `first` to `last`, in order."""
    found = [
        p
        for p in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
        if first[:2] <= p.name[:2] <= last[:2]
    ]
    if not found:
        raise config.ConfigError(
            f"no notebook lies between {first} and {last}; choose among "
            f"{', '.join(p.name for p in sorted(NOTEBOOKS.glob('[0-9][0-9]_*.ipynb')))}."
        )
    return found


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
    places = {
        "{dataset}": paths.dataset_dir(cfg),
        "{run}": paths.run_dir(cfg),
        "{cohort}": paths.cohort_path(cfg),
    }
    return [
        Path(places[head] / tail if tail else places[head])
        for head, _, tail in (d.partition("/") for d in declared(path, key))
    ]


def _record(file: Path) -> dict:
    """What finished before; nothing where the file is damaged: then the notebooks run again, and find their artefacts made."""
    try:
        return {
            k: v
            for k, v in json.loads(file.read_text(encoding="utf-8")).items()
            if isinstance(v.get("seconds"), (int, float))
        }
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
        stamp, makes, started = (
            _digest(source, given[path], library, needs),
            _artefacts(path, "makes", cfg),
            time.time(),
        )
        done = record.get(path.name, {})
        if (
            not force
            and done.get("stamp") == stamp
            and out.exists()
            and all(p.exists() for p in makes)
        ):
            say(
                f"  {path.name:34s} finished before ({done['seconds']:.0f} s); nothing it needs has changed"
            )
            continue
        record.pop(path.name, None)
        say(f"  {path.name:34s} running …")
        run_notebook(path, out, given[path], cfg.cell_timeout_s)
        needs = [(str(p), paths.sha256(p)) for p in _artefacts(path, "needs", cfg) if p.is_file()]
        record[path.name] = {
            "stamp": _digest(source, given[path], library, needs),
            "seconds": round(time.time() - started, 1),
        }
        paths.write_json(record_file, record)
        say(f"  {path.name:34s} {record[path.name]['seconds']:.0f} s")
    return folder


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m radiogan_lib.batch", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--profile", default="teach", help="sizes: " + ", ".join(config.profiles()))
    parser.add_argument(
        "--from", dest="first", default="00", metavar="NN", help="first notebook, e.g. 03"
    )
    parser.add_argument("--to", dest="last", default="99", metavar="NN", help="last notebook")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter or setting; several values (seed=0,1,2) make a sweep",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="experiments of a sweep that run at once"
    )
    parser.add_argument(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="run a sweep on the workers of this Dask scheduler (tcp://…), which see the same folders",
    )
    parser.add_argument("--force", action="store_true", help="run also what is finished")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write the clean executed notebooks back into notebooks/",
    )
    args = parser.parse_args(arguments)
    try:
        names, values = (
            zip(*(parse_setting(s) for s in args.settings)) if args.settings else ((), ())
        )
        experiments = [
            portable(dict(zip(names, combination))) for combination in itertools.product(*values)
        ]
        if args.publish and len(experiments) > 1:
            raise config.ConfigError("--publish takes one experiment, not a sweep.")
        if len(experiments) > 1:
            for e in experiments:  # a misspelt name is told before anything runs
                config.load(args.profile, **{k: v for k, v in e.items() if k in config.FIELDS})
                parameters_for(
                    notebooks()[0],
                    args.profile,
                    e,
                    set().union(*(known_parameters(p) for p in notebooks())),
                )
            done = sweeps.run(
                args.profile,
                experiments,
                args.first,
                args.last,
                args.force,
                max(1, args.jobs),
                args.scheduler,
            )
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

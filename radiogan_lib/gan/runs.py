"""The folder of a run: what it holds, how it is claimed, opened and read.

config.json, provenance.json, history.csv, samples/, checkpoints/, generator.keras and
discriminator.keras. Training itself is in `training.py`.
"""

import io
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

import radiogan_lib
from radiogan_lib import config, machine, paths
from radiogan_lib.config import Config, RadioganError
from radiogan_lib.gan import engine
from radiogan_lib.gan import networks as _networks  # noqa: F401  registers our layers with Keras


class RunError(RadioganError):
    """A run's folder that does not hold what is asked of it."""


@dataclass
class Run:
    """A training, finished or not. `history` has one row per epoch."""

    directory: Path
    config: Config
    class_names: list[str]
    generator: keras.Model
    discriminator: keras.Model | None
    history: pd.DataFrame
    provenance: dict

    @property
    def finished(self) -> bool:
        return len(self.history) >= self.config.epochs


def load_run(run_dir, discriminator: bool = True) -> Run:
    """Open a run's folder. Loading is safe: no pickle, no code from the file.

    Args:
        discriminator: False opens a folder with the generator alone; it is None then.

    Raises:
        RunError: something that the folder must hold is missing or unreadable.
    """
    run_dir = Path(run_dir)
    names = ("generator", "discriminator") if discriminator else ("generator",)
    for name in ("config.json", "provenance.json", *(f"{n}.keras" for n in names)):
        if not (run_dir / name).exists():
            raise RunError(
                f"{paths.shown(run_dir / name)} is missing: no finished training is in that "
                "folder. Run notebooks/03_training.ipynb first (or call gan.train with the same "
                "folder to finish it)."
            )
    engine.prepare()
    try:
        cfg, provenance = _read_claim(run_dir)
        classes = [str(name) for name in provenance["class_names"]]
        networks = [
            keras.saving.load_model(run_dir / f"{n}.keras", compile=False, safe_mode=True)
            for n in names
        ] + [None] * (not discriminator)
    except config.ConfigError:
        raise
    except Exception as e:
        why = f"{type(e).__name__}: {' '.join(str(e).split())[:160]}"
        said = f"{paths.shown(run_dir)} cannot be read ({why})"
        raise RunError(f"{said}; delete the folder and train again.") from None
    _check_fit(run_dir, cfg, classes, *networks)
    return Run(run_dir, cfg, classes, *networks, read_history(run_dir), provenance)  # type: ignore[call-arg]


def _check_fit(run_dir: Path, cfg: Config, names: list[str], generator, discriminator) -> None:
    """Refuse networks of another run: another canvas, other classes, or none of this library."""

    def wrong(said: str) -> RunError:
        again = "copy the files of one run together, or delete the folder and train again."
        return RunError(f"{said}; {again}")

    try:
        canvases = {"generator": tuple(generator.outputs[0].shape[1:3])}
        if discriminator:
            canvases["discriminator"] = tuple(discriminator.inputs[0].shape[1:3])
        known = generator.get_layer("label_embedding").input_dim
        generator.layers[-1].to_suv  # noqa: B018  only this library's know their pixels' scale
    except (AttributeError, ValueError, IndexError, TypeError):
        said = "holds Keras files that are not a generator and a discriminator of this library"
        raise wrong(f"{paths.shown(run_dir)} {said}") from None
    for name, canvas in canvases.items():
        if canvas != tuple(cfg.canvas):
            there, wanted = (" x ".join(map(str, c)) for c in (canvas, cfg.canvas))
            said = f"is made for {there} pixels, but config.json beside it says {wanted}"
            raise wrong(f"{paths.shown(run_dir / f'{name}.keras')} {said}")
    if known != len(names):
        said = f"knows {known} classes, but provenance.json beside it names {len(names)}"
        raise wrong(f"{paths.shown(run_dir / 'generator.keras')} {said}")


def load_shipped(name: str = "") -> Run:
    """A run of the repository: on phantoms, or "real", the generator of public real exams."""
    return load_run(paths.REPO / "weights" / name, discriminator=not name)


def load_run_or_shipped(run_dir) -> Run:
    """The run of that folder if it is finished, else the shipped one, with a line that says so."""
    if (Path(run_dir) / "generator.keras").exists():
        return load_run(run_dir)
    print(
        f"No training of your own in {paths.shown(run_dir)} yet: this is the run that comes with "
        "the repository."
    )
    return load_shipped()


def discriminator_scores(run: Run, suv: np.ndarray, labels) -> np.ndarray:
    """The discriminator's logits (n,) float32 of exams (n, h, w) in SUV; above 0 is real."""
    from radiogan_lib.data import encode

    scale, labels = run.generator.layers[-1], np.asarray(labels, "int32")
    images, found = encode(suv, scale.curve, scale.suv_max), [np.zeros(0, "float32")]
    for i in range(0, len(images), 64):
        part = [images[i : i + 64], labels[i : i + 64]]
        found.append(keras.ops.convert_to_numpy(run.discriminator(part, training=False))[:, 0])
    return np.concatenate(found)


def samples_over_epochs(run: Run) -> tuple[np.ndarray, list[int]]:
    """The latent grids of the training: SUV (epochs, 4 draws, classes, h, w), and their epochs."""
    folder = Path(run.directory) / "samples"
    files = sorted(folder.glob("epoch-*.npy"))
    if not files:
        raise RunError(f"{paths.shown(run.directory)} holds no samples of its training.")
    try:
        grids = np.stack([np.load(f, allow_pickle=False) for f in files]).astype("float32")
    except (OSError, ValueError, EOFError) as e:
        raise RunError(
            f"{paths.shown(folder)} holds a damaged picture ({type(e).__name__}); delete that "
            "folder: the networks do not need it."
        ) from None
    epochs = [int(f.stem.split("-")[1]) for f in files]
    return (grids / 255) ** 2 * run.generator.layers[-1].suv_max, epochs


def read_history(run_dir: Path) -> pd.DataFrame:
    """The epochs in history.csv, without a line that was cut off or is not epoch 1, 2, 3 …"""
    path = run_dir / "history.csv"
    if not path.exists():
        return pd.DataFrame()
    try:
        text = path.read_text(encoding="utf-8")
        rows = pd.read_csv(io.StringIO(text[: text.rfind("\n") + 1]))
        return rows[(rows["epoch"] == range(1, len(rows) + 1)).cummin()]
    except (OSError, ValueError, KeyError):  # pandas' own errors are ValueErrors
        print(f"{paths.shown(path)} is damaged and left out.")
        return pd.DataFrame()


def claim(run_dir: Path, cfg: Config, mips, shared_by: list[str]) -> None:
    """Write config and provenance into a new folder; an old one must be the same experiment."""
    choose = "choose another folder, or delete this one to train anew."
    path = run_dir / "config.json"
    # Of paths only the last name is kept: their folders may name a person.
    named = {k: Path(getattr(cfg, k)).name for k in ("cohort", "start_from")}
    facts = {"dataset_sha256": mips.sha256, "class_names": list(mips.class_names)}
    facts["exams"] = len(mips)
    if not (path.exists() and (run_dir / "provenance.json").exists()):
        paths.write_json(path, cfg.as_dict() | named)
        told = facts | provenance() | {"shared_by": shared_by}
        paths.write_json(run_dir / "provenance.json", told)
        return
    try:
        cfg_there, told = _read_claim(run_dir)
    except RadioganError:
        raise
    except (ValueError, TypeError, RecursionError, OSError) as e:
        raise RunError(
            f"config.json or provenance.json in {paths.shown(run_dir)} is damaged "
            f"({type(e).__name__}): {choose}"
        ) from None
    old = cfg_there.stage("gan") | {k: told.get(k) for k in facts}
    wanted = cfg.stage("gan") | {"start_from": named["start_from"]} | facts
    if differ := [k for k, v in wanted.items() if old[k] != v]:
        there = f"{paths.shown(run_dir)} holds a run that differs in {', '.join(differ)}"
        raise RunError(f"{there}: {choose}")


def _read_claim(run_dir: Path) -> tuple[Config, dict]:
    """config.json and provenance.json of a run."""
    settings, told = (
        json.loads((run_dir / name).read_text(encoding="utf-8"))
        for name in ("config.json", "provenance.json")
    )
    return config.from_dict(settings, f"{run_dir.name}/config.json"), dict(told)


def provenance() -> dict:
    """Versions and device behind a run; nothing that names a person, a host or a folder."""
    backend = keras.backend.backend()
    return {
        "radiogan_lib": radiogan_lib.__version__,
        "python": platform.python_version(),
        "keras": keras.__version__,
        "engine": backend,
        backend: sys.modules[backend].__version__,
        "numpy": np.__version__,
        "devices": [str(d) for d in keras.distribution.list_devices()],
        "machine": f"{platform.system()} {platform.machine()}, {machine.cores()} cores",
    }

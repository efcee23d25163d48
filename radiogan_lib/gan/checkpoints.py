"""The whole state of a training on disk: written at once or not at all, checked before it is believed.

A state is `state-EPOCH.npz` (weights, optimizer, averages, noise and dropout seeds; plain arrays, no pickle) and
`state-EPOCH.json` with its SHA-256. Explained in notebooks/03_training.ipynb.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import keras
import numpy as np

from radiogan_lib import paths


def _variables(game: keras.Model) -> list:
    """Everything that the next step depends on, in an order that is the same in every process."""
    return game.trainable_variables + game.non_trainable_variables + game.optimizer.variables


def save(game: keras.Model, folder: Path, epoch: int) -> None:
    """Write the state after `epoch` finished epochs, then drop all but the newest two."""
    path = Path(folder) / f"state-{epoch:06d}.npz"
    arrays = {
        f"{i:04d}": np.asarray(keras.ops.convert_to_numpy(v))
        for i, v in enumerate(_variables(game))
    }
    with paths.atomic(path) as temporary, open(temporary, "wb") as f:
        np.savez(f, **arrays)
    paths.write_json(path.with_suffix(".json"), {"epoch": epoch, "sha256": paths.sha256(path)})
    for old in states(folder)[2:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".json").unlink(missing_ok=True)


def states(folder: Path) -> list[Path]:
    """The state files, newest first; whether they are whole is for `restore` to find out."""
    return sorted(Path(folder).glob("state-*.npz"), reverse=True)


def restore(game: keras.Model, folder: Path, newest: int | None = None) -> int:
    """Put the newest whole state into the game and return its epoch; 0 if there is none (the game is untouched).

    Args:
        game: whose variables are replaced.
        folder: of the states.
        newest: epochs that history.csv knows; a later state waits until they have been made again.
    """
    for path in states(folder):
        if newest is not None and path.stem > f"state-{newest:06d}":
            continue
        try:
            said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            if paths.sha256(path) != said["sha256"]:
                raise ValueError("the checksum differs")
            with np.load(path, allow_pickle=False) as stored:
                values = [stored[name] for name in sorted(stored.files)]
            variables = _variables(game)
            if [v.shape for v in values] != [tuple(v.shape) for v in variables]:
                raise ValueError("it belongs to other networks")
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            EOFError,
            zipfile.BadZipFile,
            zipfile.zlib.error,
        ) as e:
            print(
                f"{paths.shown(path)} is left out: {type(e).__name__}, {e}. An older state is used, or training starts again."
            )
            continue
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return int(said["epoch"])
    return 0

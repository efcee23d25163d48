"""Every setting of an experiment in one frozen object, and the profiles and recipes that fill it.

A *profile* (notebooks/profiles/NAME.yaml) fixes sizes: how many exams, how large the canvas, how long the training.
A *recipe* fixes the switches that change the mathematics; `paper` is the paper's, with every improvement off.
Precedence: the defaults below (the paper's) < recipe < profile < what the caller passes to `load`.
Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import dataclasses
import difflib
import html
import math
import os
import re
import reprlib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml

# Absolute: a notebook's kernel stands in another folder than the user.
PROFILES = Path(
    os.environ.get("RADIOGAN_PROFILES") or Path(__file__).parents[1] / "notebooks" / "profiles"
).absolute()

# Every name here is a switch that changes the mathematics; all are off in the paper's recipe (paper §3.2, §4).
RECIPES: dict[str, dict] = {
    "paper": {},
    # What measurement chose for few exams and few steps (benchmarks/ablation.md says what each bought).
    "improved": {
        "intensity": "sqrt",  # paper: linear
        "label_init": 1.0,  # paper: not given; Keras' own start is ±0.05
        "generator_kernel": 4,  # paper: not given; 3 leaves checkerboards
        "learning_rate": 1e-3,  # paper: 2e-4
        "auxiliary": 0.5,  # paper: none
        "auxiliary_augment": "translation",  # paper: none
        "lecam": 0.3,  # paper: none
        "batch_spread": True,  # paper: none
        "cooldown": 0.3,  # paper: none
        "ema": 0.998,  # paper: none
    },
    # For a few hundred real exams of unequal classes (benchmarks/real.md says how each was chosen).
    "real": {
        "start_from": "phantoms_160x96",  # paper: nothing; 1,424 phantoms teach both networks what a body is
        "intensity": "sqrt",  # paper: linear
        "label_init": 1.0,  # paper: not given; Keras' own start is ±0.05
        "generator_kernel": 4,  # paper: not given; 3 leaves checkerboards
        "learning_rate": 1e-3,  # paper: 2e-4
        "spectral_matching": 0.05,  # paper: none; without it the texture gives every image away
        "auxiliary": 0.1,  # paper: none; with 0.5 classes become caricatures
        "auxiliary_augment": "translation",  # paper: none
        "diffaugment": "translation",  # paper: none
        "diffaugment_share": 0.5,
        "lecam": 0.3,  # paper: none
        "batch_spread": True,  # paper: none
        "balanced": True,  # paper: not given
        "cooldown": 0.3,  # paper: none
        "ema": 0.99,  # paper: none; 0.998 averages the texture away
    },
}


class RadioganError(Exception):
    """A fault that the user can mend: one sentence with what is wrong, where, and what to do next."""


class ConfigError(RadioganError, ValueError):
    """A setting that does not exist or cannot have this value."""


def _setting(default, stage: str, help: str, low=None, high=None, choices=None):
    """A field with the stage that it belongs to: data, gan, evaluation or batch."""
    return field(
        default=default, metadata=dict(stage=stage, help=help, low=low, high=high, choices=choices)
    )


@dataclass(frozen=True, repr=False)
class Config:
    """The settings of one experiment. Defaults are the paper's values, or our reading where it gives none."""

    profile: str = _setting("paper", "batch", "sizes: smoke, teach, real or paper")
    recipe: str = _setting(
        "paper", "gan", "switches: paper, improved or real", choices=tuple(RECIPES)
    )
    seed: int = _setting(0, "gan", "one seed for weights, order and noise", low=0, high=2**31 - 1)

    cohort: str = _setting(
        "", "data", "csv with one row per exam; empty = the embedded phantom cohort"
    )
    train_exams: tuple[int, ...] = _setting(
        (0,), "data", "training exams per class, in class order; 0 = all", low=0
    )
    test_exams: tuple[int, ...] = _setting(
        (0,), "data", "held-out exams per class, in class order; 0 = all", low=0
    )
    leave_out: str = _setting("", "data", "classes of the cohort that are not used; a comma list")
    phantom_spacing_mm: float = _setting(
        0.0, "data", "phantom voxels, mm; 0 = the paper's 4.06 x 4.06 x 2.0", 0, 10
    )
    doublings: int = _setting(7, "data", "canvas = 5·2^d x 3·2^d pixels", 1, 7)
    field_of_view_mm: tuple[float, ...] = _setting(
        (1280.0, 768.0), "data", "height, width shown, mm", 50, 3000
    )
    suv_max: float = _setting(30.0, "data", "SUV is clipped to [0, suv_max]", 1, 1000)
    keep_ids: bool = _setting(
        False, "data", "keep exam and patient identifiers instead of keyed hashes"
    )
    workers: int = _setting(0, "batch", "processes that prepare exams; 0 = one per core", 0, 1024)
    devices: int = _setting(
        1, "batch", "devices that share each batch of the training; 0 = all GPUs", 0, 1024
    )

    noise_dim: int = _setting(100, "gan", "length of z (paper)", 1, 4096)
    embedding_dim: int = _setting(50, "gan", "length of the label embedding (paper)", 1, 4096)
    generator_channels: int = _setting(
        512, "gan", "channels at 5 x 3, halved towards the image", 4, 4096
    )
    discriminator_channels: int = _setting(
        16, "gan", "channels of the first convolution, doubled inwards", 2, 4096
    )
    max_channels: int = _setting(512, "gan", "no layer is wider than this", 4, 4096)
    generator_kernel: int = _setting(
        3, "gan", "transposed convolution kernel; 4 avoids checkerboards", 2, 7
    )
    generator_least: int = _setting(
        8, "gan", "no layer of the generator is thinner than this", 1, 4096
    )
    dropout: float = _setting(0.25, "gan", "discriminator dropout rate", 0, 0.9)
    leaky_slope: float = _setting(0.2, "gan", "LeakyReLU slope", 0, 1)
    bn_momentum: float = _setting(0.8, "gan", "BatchNorm momentum (paper)", 0, 0.9999)

    start_from: str = _setting(
        "",
        "gan",
        "an earlier run whose weights the training starts from; a folder, or a name in weights/",
    )
    epochs: int = _setting(300, "gan", "passes over the training exams (paper)", 1, 100000)
    batch_size: int = _setting(32, "gan", "exams per step", 2, 4096)
    learning_rate: float = _setting(2e-4, "gan", "Adam step (paper)", 0, 1)
    cooldown: float = _setting(
        0.0,
        "gan",
        "last share of the training in which the Adam step falls to nearly nothing",
        0,
        1,
    )
    beta_1: float = _setting(0.5, "gan", "Adam beta_1 (paper)", 0, 0.9999)
    precision: str = _setting("float32", "gan", "arithmetic", choices=("float32", "mixed_bfloat16"))
    samples_every: int = _setting(
        1, "gan", "epochs between pictures of the fixed latent grid", 1, 10000
    )

    intensity: str = _setting(
        "linear", "gan", "curve from SUV to grey value", choices=("linear", "sqrt")
    )
    label_init: float = _setting(
        0.0, "gan", "sd of the label embeddings at the start; 0 = Keras' uniform ±0.05", 0, 10
    )
    auxiliary: float = _setting(
        0.0, "gan", "weight of an auxiliary classifier in the generator's loss; 0 = off", 0, 100
    )
    auxiliary_augment: str = _setting(
        "",
        "gan",
        "what the auxiliary classifier sees its images through: translation",
    )
    batch_spread: bool = _setting(
        False, "gan", "show the discriminator how much the images of a batch differ"
    )
    spectral_matching: float = _setting(
        0.0, "gan", "weight of matching the power of each band of spatial frequencies", 0, 100
    )
    ema: float = _setting(
        0.0, "gan", "momentum of the averaged generator weights; 0 = off", 0, 0.99999
    )
    diffaugment: str = _setting(
        "", "gan", "what the discriminator sees its images through: translation; never flips"
    )
    diffaugment_share: float = _setting(
        1.0, "gan", "share of the images, real and fake alike, that DiffAugment changes", 0, 1
    )
    lecam: float = _setting(0.0, "gan", "weight of the LeCam regulariser", 0, 100)
    balanced: bool = _setting(False, "gan", "draw every class equally often")

    generated: int = _setting(
        0, "evaluation", "images drawn for evaluation; 0 = as many as training exams", 0, 100000
    )
    sampling_seeds: int = _setting(
        5, "evaluation", "independent draws behind every interval", 1, 1000
    )
    bootstrap: int = _setting(200, "evaluation", "bootstrap and permutation rounds", 10, 100000)
    classifier_epochs: int = _setting(30, "evaluation", "epochs of the judge classifier", 1, 10000)
    baseline_exams: int = _setting(
        20, "evaluation", "exams that the memorising CGAN of Fig. 4 sees", 4, 100000
    )
    baseline_epochs: int = _setting(
        3000, "evaluation", "passes of the memorising CGAN over its exams", 1, 100000
    )
    walk_steps: int = _setting(10, "evaluation", "frames of a walk (paper: A to J)", 2, 200)
    cell_timeout_s: int = _setting(
        3600, "batch", "a notebook cell that runs longer is stopped", 10, 10**7
    )

    @property
    def canvas(self) -> tuple[int, int]:
        """Image height and width in pixels: 5·2^d × 3·2^d."""
        return 5 * 2**self.doublings, 3 * 2**self.doublings

    def as_dict(self) -> dict:
        """Plain values, ready for JSON (tuples become lists)."""
        return {
            k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()
        }

    def changed(self, stages: tuple[str, ...] = ("data", "gan", "evaluation")) -> dict:
        """What differs from the bare profile, for the given stages; names the folder of a run."""
        base = load(self.profile, cohort=self.cohort)  # with its caps on the exams
        base = dataclasses.replace(base, cohort=load(self.profile).cohort)
        return {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.metadata["stage"] in stages and getattr(self, f.name) != getattr(base, f.name)
        }

    def stage(self, *stages: str) -> dict:
        """All settings of the given stages, as plain values: what an artefact's fingerprint is made of."""
        d = self.as_dict()
        return {
            f.name: d[f.name] for f in dataclasses.fields(self) if f.metadata["stage"] in stages
        }

    def _shown(self, name: str):
        """A setting as it may be seen: of a path the last name, for its folders may name a person."""
        value = getattr(self, name)
        return Path(value).name if name in ("cohort", "start_from") else value

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{f.name}={self._shown(f.name)!r}' for f in dataclasses.fields(self))})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td><code>{f.name}</code></td><td>{html.escape(repr(self._shown(f.name)), quote=False)}</td>"
            f"<td style='text-align:left'>{f.metadata['help']}</td></tr>"
            for f in dataclasses.fields(self)
        )
        return (
            f"<details><summary>profile <b>{self.profile}</b>, recipe <b>{self.recipe}</b>, canvas "
            f"{self.canvas[0]} × {self.canvas[1]}, {self.epochs} epochs, seed {self.seed} (open for all settings)"
            f"</summary><table>{rows}</table></details>"
        )

    def __str__(self) -> str:
        return (
            f"profile {self.profile}, recipe {self.recipe}, canvas {self.canvas[0]} x {self.canvas[1]}, "
            f"{self.epochs} epochs, seed {self.seed}"
        )


FIELDS = {f.name: f for f in dataclasses.fields(Config)}
_TYPES = typing.get_type_hints(Config)


def _short(value) -> str:
    """The value for a message: one short line, whatever it holds (YAML can name a thousand million items in a few lines)."""
    if isinstance(value, (list, tuple, dict, set)) and (
        len(value) > 8 or not all(isinstance(v, (str, int, float, bool, type(None))) for v in value)
    ):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    shown = repr(value[:60]) if isinstance(value, (str, bytes)) else reprlib.repr(value)
    # In a repr a line break is one backslash and n; a backslash of the user's own, as in a Windows path, is two.
    return re.sub(r"\\\\|\\[nrt]\s*", lambda m: "/" if m[0] == "\\\\" else " ", shown)


def _checked(name: str, value, where: str):
    """The value in the field's type and range, or a ConfigError that says what would do."""
    if not isinstance(name, str) or name not in FIELDS:
        name = " ".join(name.split())[:60] if isinstance(name, str) else _short(name)
        near = difflib.get_close_matches(name, FIELDS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"{where}: there is no setting {name!r}.{hint} Choose among the known settings: {', '.join(FIELDS)}."
        )
    meta, kind = FIELDS[name].metadata, _TYPES[name]
    many = isinstance(kind, types.GenericAlias)
    scalar = typing.get_args(kind)[0] if many else kind
    items = list(value) if many and isinstance(value, (list, tuple)) else [value]
    if many and not items:
        raise ConfigError(f"{where}: {name} is empty; give at least one {scalar.__name__}.")
    out = []
    for item in items:
        if scalar is float and isinstance(item, int) and not isinstance(item, bool):
            item = float(item) if abs(item) < 2**1000 else math.inf
        if not isinstance(item, scalar) or (scalar is int and isinstance(item, bool)):
            raise ConfigError(
                f"{where}: {name} = {_short(value)} is a {type(item).__name__}; it must be {scalar.__name__}: correct it."
            )
        if meta["choices"] and item not in meta["choices"]:
            raise ConfigError(
                f"{where}: {name} = {_short(item)}; choose one of {', '.join(meta['choices'])}."
            )
        if scalar in (int, float) and not (
            (meta["low"] is None or item >= meta["low"])
            and (meta["high"] is None or item <= meta["high"])
        ):
            raise ConfigError(
                f"{where}: {name} = {_short(item)}; choose a value between {meta['low']} and {meta['high']}."
            )
        out.append(item)
    return tuple(out) if many else out[0]


def profiles() -> list[str]:
    """The names of the profiles on disk."""
    return sorted(p.stem for p in PROFILES.glob("*.yaml"))


def load(profile: str = "teach", table: dict | None = None, /, **settings) -> Config:
    """Return the settings of a profile, with some replaced.

    A profile's `train_exams` and `test_exams` are for the embedded cohort: with a `cohort` of the caller's, all of its exams
    are used unless the caller limits them too.

    Args:
        profile: a file name in notebooks/profiles without `.yaml`.
        table: further settings; the notebooks' parameter `settings`.
        **settings: any field of `Config`. An empty `recipe` or `cohort` keeps the profile's.

    Raises:
        ConfigError: an unknown name (the message lists the known ones) or a value of the wrong type or range.
    """
    if not isinstance(profile, str) or profile not in profiles():
        raise ConfigError(
            f"there is no profile {_short(profile)}; choose one of the known profiles: {', '.join(profiles())}."
        )
    path = PROFILES / f"{profile}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        fixed = dict(content.get("settings") or {})
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError, OSError) as e:
        why = "it is nested too deeply" if isinstance(e, RecursionError) else str(e)
        raise ConfigError(
            f"{path.name} is not a readable profile: {' '.join(why.split())[:200]}. "
            "It needs `profile: NAME` and a `settings:` table."
        ) from None
    settings = _joined(table, settings)
    recipe = settings.get("recipe", fixed.get("recipe", "paper"))
    recipe = _checked("recipe", recipe, "settings")
    if settings.get("cohort"):
        fixed |= {"train_exams": 0, "test_exams": 0}
    values = {"profile": profile, "recipe": recipe}
    for source, where in (
        (RECIPES[recipe], f"recipe {recipe}"),
        (fixed, path.name),
        (settings, "settings"),
    ):
        values.update({k: _checked(k, v, where) for k, v in source.items()})
    return Config(**values)


def _joined(table: dict | None, settings: dict) -> dict:
    """Both in one; an empty `recipe` or `cohort` leaves, since it keeps the profile's."""
    if table is not None and not isinstance(table, dict):
        raise ConfigError(
            f"settings = {_short(table)} is a {type(table).__name__}; it must be a table: {{'epochs': 5}} in a notebook, "
            "`papermill -y 'settings: {epochs: 5}'` on a command line, or `--set epochs=5` with radiogan_lib.batch."
        )
    twice = [k for k in table or () if k in settings]
    if twice:
        raise ConfigError(
            f"settings: {twice[0]} is a parameter of its own: set {twice[0]} = {_short(table[twice[0]])} beside settings, "
            "not inside it."
        )
    joined = (table or {}) | settings
    return {k: v for k, v in joined.items() if not (k in ("recipe", "cohort") and v == "")}


# Settings that have left, and the value at which a run of an earlier version is still understood.
LEFT = {
    "value_range": "symmetric",
    "gradient_penalty": 0.0,
    "generator_noise": False,
    "discriminator_norm": True,
    "spectrum": False,
    "loss": "bce",
    "projection": False,
    "label_smoothing": 0.0,
    "transitional": 0.0,
}


def from_dict(values: dict, where: str = "config.json") -> Config:
    """Rebuild a `Config` that `as_dict` wrote; the same checks apply."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where} does not hold a table of settings.")
    known = {k: v for k, v in values.items() if k not in LEFT or v != LEFT[k]}
    return Config(**{k: _checked(k, v, where) for k, v in known.items()})

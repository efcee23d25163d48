"""Every setting of an experiment in one frozen object, and the profiles and recipes that fill it.

A *profile* (notebooks/profiles/NAME.yaml) fixes sizes, a *recipe* the switches that change the
mathematics. Precedence: the defaults below (the paper's) < recipe < profile < what the caller
passes to `load`. Explained in notebooks/00_start_here.ipynb.
"""

import dataclasses
import difflib
import functools
import html
import math
import os
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

# Absolute: a notebook's kernel stands in another folder than the user.
PROFILES = Path(
    os.environ.get("RADIOGAN_PROFILES") or Path(__file__).parents[1] / "notebooks" / "profiles"
).absolute()

# Every name is a switch that changes the mathematics; all are off in the paper (§3.2, §4).
RECIPES: dict[str, dict] = {
    "paper": {},
    # Measured for few exams and few steps (benchmarks/ablation.md says what each bought).
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
        "start_from": "phantoms_160x96",  # paper: nothing; phantoms teach what a body is
        "intensity": "sqrt",  # paper: linear
        "label_init": 1.0,  # paper: not given; Keras' own start is ±0.05
        "generator_kernel": 4,  # paper: not given; 3 leaves checkerboards
        "learning_rate": 5e-4,  # paper: 2e-4
        "spectral_matching": 0.03,  # paper: none; without it the texture gives every image away
        "auxiliary": 0.02,  # paper: none; with 0.1 classes become caricatures
        "auxiliary_augment": "translation",  # paper: none
        "diffaugment": "translation",  # paper: none
        "diffaugment_share": 0.5,
        "lecam": 0.3,  # paper: none
        "batch_spread": True,  # paper: none
        "balanced": True,  # paper: not given
        "cooldown": 0.5,  # paper: none
        "ema": 0.995,  # paper: none; 0.998 averages the texture away
    },
}


class RadioganError(Exception):
    """A fault that the user can mend: one sentence: what is wrong, where, what to do."""


class ConfigError(RadioganError, ValueError):
    """A setting that does not exist or cannot have this value."""


def _setting(default, help: str, low=None, high=None, *, stage: str, choices=None):
    """A field with the stage that it belongs to, its range or choices, and what it is."""
    facts = dict(stage=stage, help=help, low=low, high=high, choices=choices)
    return field(default=default, metadata=facts)


_data, _gan, _evaluation, _batch = (
    functools.partial(_setting, stage=stage) for stage in ("data", "gan", "evaluation", "batch")
)


Numbers = tuple[int, ...]


@dataclass(frozen=True, repr=False)
class Config:
    """The settings of one experiment; defaults are the paper's, or our reading of it."""

    profile: str = _batch("paper", "sizes: smoke, teach, real or paper")
    recipe: str = _gan("paper", "switches: paper, improved or real", choices=tuple(RECIPES))
    seed: int = _gan(0, "one seed for weights, order and noise", low=0, high=2**31 - 1)

    cohort: str = _data("", "csv with one row per exam; empty = the embedded phantom cohort")
    train_exams: Numbers = _data((0,), "training exams per class, in class order; 0 = all", low=0)
    test_exams: Numbers = _data((0,), "held-out exams per class, in class order; 0 = all", low=0)
    leave_out: str = _data("", "classes of the cohort that are not used; a comma list")
    phantom_spacing_mm: float = _data(
        0.0, "phantom voxels, mm; 0 = the paper's 4.06 x 4.06 x 2.0", 0, 10
    )
    doublings: int = _data(7, "canvas = 5·2^d x 3·2^d pixels", 1, 7)
    field_of_view_mm: tuple[float, ...] = _data(
        (1280.0, 768.0), "height, width shown, mm", 50, 3000
    )
    suv_max: float = _data(30.0, "SUV is clipped to [0, suv_max]", 1, 1000)
    keep_ids: bool = _data(False, "keep exam and patient identifiers instead of keyed hashes")
    workers: int = _batch(0, "processes that prepare exams; 0 = one per core", 0, 1024)
    devices: int = _batch(1, "devices that share each batch of the training; 0 = all GPUs", 0, 1024)

    noise_dim: int = _gan(100, "length of z (paper)", 1, 4096)
    embedding_dim: int = _gan(50, "length of the label embedding (paper)", 1, 4096)
    generator_channels: int = _gan(512, "channels at 5 x 3, halved towards the image", 4, 4096)
    discriminator_channels: int = _gan(
        16, "channels of the first convolution, doubled inwards", 2, 4096
    )
    max_channels: int = _gan(512, "no layer is wider than this", 4, 4096)
    generator_kernel: int = _gan(3, "transposed convolution kernel; 4 avoids checkerboards", 2, 7)
    generator_least: int = _gan(8, "no layer of the generator is thinner than this", 1, 4096)
    dropout: float = _gan(0.25, "discriminator dropout rate", 0, 0.9)
    leaky_slope: float = _gan(0.2, "LeakyReLU slope", 0, 1)
    bn_momentum: float = _gan(0.8, "BatchNorm momentum (paper)", 0, 0.9999)

    start_from: str = _gan(
        "", "an earlier run whose weights the training starts from; a folder, or a name in weights/"
    )
    epochs: int = _gan(300, "passes over the training exams (paper)", 1, 100000)
    batch_size: int = _gan(32, "exams per step", 2, 4096)
    learning_rate: float = _gan(2e-4, "Adam step (paper)", 0, 1)
    cooldown: float = _gan(
        0.0, "last share of the training in which the Adam step falls to nearly nothing", 0, 1
    )
    beta_1: float = _gan(0.5, "Adam beta_1 (paper)", 0, 0.9999)
    precision: str = _gan("float32", "arithmetic", choices=("float32", "mixed_bfloat16"))
    samples_every: int = _gan(1, "epochs between pictures of the fixed latent grid", 1, 10000)

    intensity: str = _gan("linear", "curve from SUV to grey value", choices=("linear", "sqrt"))
    label_init: float = _gan(
        0.0, "sd of the label embeddings at the start; 0 = Keras' uniform ±0.05", 0, 10
    )
    auxiliary: float = _gan(
        0.0, "weight of an auxiliary classifier in the generator's loss; 0 = off", 0, 100
    )
    auxiliary_augment: str = _gan(
        "", "what the auxiliary classifier sees its images through: translation"
    )
    batch_spread: bool = _gan(False, "show the discriminator how much the images of a batch differ")
    spectral_matching: float = _gan(
        0.0, "weight of matching the power of each band of spatial frequencies", 0, 100
    )
    ema: float = _gan(0.0, "momentum of the averaged generator weights; 0 = off", 0, 0.99999)
    diffaugment: str = _gan(
        "", "what the discriminator sees its images through: translation; never flips"
    )
    diffaugment_share: float = _gan(
        1.0, "share of the images, real and fake alike, that DiffAugment changes", 0, 1
    )
    lecam: float = _gan(0.0, "weight of the LeCam regulariser", 0, 100)
    balanced: bool = _gan(False, "draw every class equally often")

    generated: int = _evaluation(
        0, "images drawn for evaluation; 0 = as many as training exams", 0, 100000
    )
    sampling_seeds: int = _evaluation(5, "independent draws behind every interval", 1, 1000)
    bootstrap: int = _evaluation(200, "bootstrap and permutation rounds", 10, 100000)
    classifier_epochs: int = _evaluation(30, "epochs of the judge classifier", 1, 10000)
    baseline_exams: int = _evaluation(
        20, "exams that the memorising CGAN of Fig. 4 sees", 4, 100000
    )
    baseline_epochs: int = _evaluation(
        3000, "passes of the memorising CGAN over its exams", 1, 100000
    )
    walk_steps: int = _evaluation(10, "frames of a walk (paper: A to J)", 2, 200)
    cell_timeout_s: int = _batch(3600, "a notebook cell that runs longer is stopped", 10, 10**7)

    @property
    def canvas(self) -> tuple[int, int]:
        """Image height and width in pixels: 5·2^d × 3·2^d."""
        return 5 * 2**self.doublings, 3 * 2**self.doublings

    def as_dict(self) -> dict:
        """Plain values, ready for JSON (tuples become lists)."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    def changed(self, stages: tuple[str, ...] = ("data", "gan", "evaluation")) -> dict:
        """What differs from the bare profile, for the given stages; names the folder of a run."""
        base = load(self.profile, cohort=self.cohort)  # with its caps on the exams
        base = dataclasses.replace(base, cohort=load(self.profile).cohort)
        names = [k for k in FIELDS if FIELDS[k].metadata["stage"] in stages]
        return {k: getattr(self, k) for k in names if getattr(self, k) != getattr(base, k)}

    def stage(self, *stages: str) -> dict:
        """All settings of the given stages, as plain values: what a fingerprint is made of."""
        return {k: v for k, v in self.as_dict().items() if FIELDS[k].metadata["stage"] in stages}

    def _shown(self, name: str):
        """A setting as it may be seen: of a path the last name, folders may name a person."""
        value = getattr(self, name)
        return Path(value).name if name in ("cohort", "start_from") else value

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={self._shown(name)!r}' for name in FIELDS)})"

    def _repr_html_(self) -> str:
        rows = ""
        for name, f in FIELDS.items():
            value = html.escape(repr(self._shown(name)), quote=False)
            cell = f"<td style='text-align:left'>{f.metadata['help']}</td>"
            rows += f"<tr><td><code>{name}</code></td><td>{value}</td>{cell}</tr>"
        said = f"profile <b>{self.profile}</b>, recipe <b>{self.recipe}</b>, canvas "
        said += f"{self.canvas[0]} × {self.canvas[1]}, {self.epochs} epochs, seed {self.seed}"
        summary = f"<summary>{said} (open for all settings)</summary>"
        return f"<details>{summary}<table>{rows}</table></details>"

    def __str__(self) -> str:
        said = f"profile {self.profile}, recipe {self.recipe}, canvas {self.canvas[0]} x "
        return f"{said}{self.canvas[1]}, {self.epochs} epochs, seed {self.seed}"


FIELDS = {f.name: f for f in dataclasses.fields(Config)}
_TYPES = typing.get_type_hints(Config)


def _short(value) -> str:
    """The value for a message: one short line (YAML can name a thousand million items)."""
    if isinstance(value, (list, tuple, dict, set)):
        if len(value) > 8 or not all(isinstance(v, (str, int, float, type(None))) for v in value):
            return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    shown = repr(value[:60]) if isinstance(value, (str, bytes)) else reprlib.repr(value)
    # In a repr a line break is one backslash and n; a backslash as in a Windows path is two.
    return re.sub(r"\\\\|\\[nrt]\s*", lambda m: "/" if m[0] == "\\\\" else " ", shown)


def _checked(name: str, value, where: str):
    """The value in the field's type and range, or a ConfigError that says what would do."""
    if not isinstance(name, str) or name not in FIELDS:
        name = " ".join(name.split())[:60] if isinstance(name, str) else _short(name)
        near = difflib.get_close_matches(name, FIELDS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        said = f"{where}: there is no setting {name!r}.{hint}"
        raise ConfigError(f"{said} Choose among the known settings: {', '.join(FIELDS)}.")
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
        said = f"{where}: {name} = {_short(item)}"
        if not isinstance(item, scalar) or (scalar is int and isinstance(item, bool)):
            what = f"{type(item).__name__}; it must be {scalar.__name__}"
            raise ConfigError(f"{where}: {name} = {_short(value)} is a {what}: correct it.")
        if meta["choices"] and item not in meta["choices"]:
            raise ConfigError(f"{said}; choose one of {', '.join(meta['choices'])}.")
        low, high = meta["low"], meta["high"]
        inside = (low is None or item >= low) and (high is None or item <= high)
        if scalar in (int, float) and not inside:
            raise ConfigError(f"{said}; choose a value between {low} and {high}.")
        out.append(item)
    return tuple(out) if many else out[0]


def profiles() -> list[str]:
    """The names of the profiles on disk."""
    return sorted(p.stem for p in PROFILES.glob("*.yaml"))


NO_SETTINGS: Mapping = types.MappingProxyType({})


def load(profile: str = "teach", table: Mapping = NO_SETTINGS, /, **settings) -> Config:
    """Return the settings of a profile, with some replaced.

    A profile's `train_exams` and `test_exams` are for the embedded cohort: with a `cohort` of the
    caller's, all of its exams are used unless the caller limits them too.

    Args:
        profile: a file name in notebooks/profiles without `.yaml`.
        table: further settings; the notebooks' parameter `settings`.
        **settings: any field of `Config`. An empty `recipe` or `cohort` keeps the profile's.

    Raises:
        ConfigError: an unknown name (the message lists the known ones), or a wrong value.
    """
    if not isinstance(profile, str) or profile not in profiles():
        known = f"choose one of the known profiles: {', '.join(profiles())}."
        raise ConfigError(f"there is no profile {_short(profile)}; {known}")
    path = PROFILES / f"{profile}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        fixed = dict(content.get("settings") or {})
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError, OSError) as e:
        why = "it is nested too deeply" if isinstance(e, RecursionError) else str(e)
        said = f"{path.name} is not a readable profile: {' '.join(why.split())[:200]}"
        raise ConfigError(f"{said}. It needs `profile: NAME` and a `settings:` table.") from None
    settings = _joined(table, settings)
    recipe = settings.get("recipe", fixed.get("recipe", "paper"))
    recipe = _checked("recipe", recipe, "settings")
    if settings.get("cohort"):
        fixed |= {"train_exams": 0, "test_exams": 0}
    values = {"profile": profile, "recipe": recipe}
    sources = {f"recipe {recipe}": RECIPES[recipe], path.name: fixed, "settings": settings}
    for where, source in sources.items():
        values |= {k: _checked(k, v, where) for k, v in source.items()}
    return Config(**values)


def _joined(table: Mapping, settings: dict) -> dict:
    """Both in one; an empty `recipe` or `cohort` leaves, since it keeps the profile's."""
    if not isinstance(table, Mapping):
        raise ConfigError(
            f"settings = {_short(table)} is a {type(table).__name__}; it must be a table: "
            "{'epochs': 5} in a notebook, `papermill -y 'settings: {epochs: 5}'` on a command "
            "line, or `--set epochs=5` with radiogan_lib.batch."
        )
    if twice := [k for k in table if k in settings]:
        value = f"{twice[0]} = {_short(table[twice[0]])}"
        said = f"settings: {twice[0]} is a parameter of its own: set {value}"
        raise ConfigError(f"{said} beside settings, not inside it.")
    joined = dict(table) | settings
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

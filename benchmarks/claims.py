"""The paper's claims, each by the experiment that could refute it.

    python benchmarks/claims.py EXPERIMENT [--world phantoms]

EXPERIMENT (docs/claims.md says what each found; the tables are docs/claims/*.csv):

one_or_five   one conditional model of all classes beside one unconditional model per class: same
              exams at the paper's proportions, same layers, same number of steps in all; per class
              quality, use and memory
over_time     memory and quality while training on 16, 64, 256 and all exams
augmentation  a classifier and a generator that get the same 10, 20 or 50 exams a class, beside
              plain augmentation
cgan          Fig. 4: a standard CGAN on few exams; do blends appear on the walks between them?
walks         Fig. 5: a hundred walks of each kind beside a cross-fade and a true morph of phantoms
final         the final model on phantoms that nothing was tuned on (petphantom.cohort.final_rows)

Every cell of an experiment (an arm and a seed) is kept in runs/claims; a stopped command continues.
The csv is written again, whole, after every cell.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import claims_tools as tools  # this folder is on the path of a script
import numpy as np
import pandas as pd

from radiogan_lib import config, data, evaluation, paths

# The paper's exams per class, scaled so that 150 normal exams remain: 50 more can be held out of
# the 200 of `teach`.
PROPORTIONS = {"normal": 675, "head_neck": 422, "oesophagus": 97, "lung": 189, "lymphoma": 225}
LARGEST = 150
DRAWN = 200  # generated images a class
CLASSIFIER_STEPS = 400


# ---------------------------------------------------------------------------------------------- one
# model or one per class


def proportional(world: tools.World, seed: int):
    """Training exams at the paper's proportions, and held-out exams of other patients.

    Phantoms: the dataset's held-out exams and those of its training exams that are left over. Real
        exams: the training split in two halves by class, which change places with the seed; the
        held-out split is not touched.
    """
    rng = np.random.default_rng([seed // 2 if world.name == "real" else seed, 11])
    mips = world.train
    used, rest = [], []
    for c, name in enumerate(mips.class_names):
        members = rng.permutation(np.flatnonzero(mips.labels == c))
        if world.name == "real":
            halves = members[: len(members) // 2], members[len(members) // 2 :]
            used.append(halves[seed % 2])
            rest.append(halves[1 - seed % 2])
        else:
            n = round(LARGEST * PROPORTIONS[name] / max(PROPORTIONS.values()))
            used.append(members[:n])
            rest.append(members[n : n + 50])
    used, rest = np.concatenate(used), np.concatenate(rest)
    patients = np.asarray(mips.patient_ids)
    rest = rest[~np.isin(patients[rest], patients[used])]
    train, held = mips.subset(used), tools.as_images(mips.subset(rest))
    if world.name == "phantoms":
        test = tools.as_images(world.test)
        held = evaluation.ImageSet(
            np.concatenate([test.images, held.images]), np.concatenate([test.labels, held.labels])
        )
    return train, held


ARMS = (
    "one model",
    "five models",
    "five models, as many steps each",
    "one model, no auxiliary classifier",
)


def one_or_five(world: tools.World, a) -> None:
    """Every arm and seed: images of each class, and what they are worth."""
    for seed in a.seeds:
        train, held = proportional(world, seed)
        for arm in a.arms or ARMS[:3]:
            key = {"world": world.name, "arm": arm, "seed": seed, "steps": a.steps}
            tools.cell(
                a.results,
                "one_or_five",
                key | {"canvas": world.cfg.canvas[0]},
                lambda train=train, held=held, arm=arm, seed=seed: _arm(
                    world, train, held, (arm, seed, a.steps)
                ),
            )
            tools.collect(a.results, "one_or_five", a.tables)


def _arm(world: tools.World, train, held, what: tuple[str, int, int]) -> list[dict]:
    arm, seed, steps = what
    names = train.class_names
    cfg = dataclasses.replace(world.cfg, seed=seed)
    if arm == "one model":
        made = _drawn(cfg, train, steps, len(names), seed)
    elif arm == "five models":
        made = _one_each(cfg, train, steps, seed)
    elif arm == "five models, as many steps each":
        made = _one_each(cfg, train, steps, seed, shared=False)
    else:
        made = _drawn(dataclasses.replace(cfg, auxiliary=0.0), train, steps, len(names), seed)
    real = tools.as_images(train)
    rows = []
    for c, name in enumerate(names):
        sets = [s.take(np.flatnonzero(s.labels == c)) for s in (real, held, made)]
        found = tools.quality(*sets) + tools.memory(*sets)
        rows += [{"class": name, "exams": len(sets[0])} | r for r in found]
    same = {"n_classes": len(names), "steps": CLASSIFIER_STEPS, "seed": seed}
    on_real = evaluation.train_classifier(real, **same)
    on_made = evaluation.train_classifier(made, **same)
    rows += tools.recalls(on_real, held, names, "trtr")
    rows += tools.recalls(on_made, held, names, "tstr")
    rows += tools.recalls(on_real, made, names, "label_agreement")
    return rows


def _drawn(cfg, train, steps: int, n: int, seed: int) -> evaluation.ImageSet:
    found = tools.train(cfg, train, steps, lambda g: tools.draw(g, [DRAWN] * n, seed))
    return list(found.values())[-1]


def _one_each(cfg, train, steps: int, seed: int, shared: bool = True) -> evaluation.ImageSet:
    """One unconditional model per class.

    `shared`: the steps are divided in proportion to the exams, so that each exam is seen as often
    as by one model of all classes. Otherwise every model gets all the steps: several times the
    computation.
    """
    # with one class there is nothing for the label, the auxiliary classifier or balanced batches to
    # say
    cfg = dataclasses.replace(cfg, auxiliary=0.0, auxiliary_augment="", balanced=False)
    images, labels = [], []
    for c in range(len(train.class_names)):
        own = train.subset(np.flatnonzero(train.labels == c))
        n = max(tools.STRETCH, round(steps * len(own) / len(train))) if shared else steps
        found = tools.train(
            dataclasses.replace(cfg, seed=100 * seed + c),
            own,
            n,
            lambda g: tools.draw(g, [DRAWN], seed).images,
            n_classes=1,
        )
        images.append(list(found.values())[-1])
        labels.append(np.full(DRAWN, c))
    return evaluation.ImageSet(np.concatenate(images), np.concatenate(labels))


# --------------------------------------------------------------------------------- memory over time


def over_time(world: tools.World, a) -> None:
    """Membership AUC, copy fraction and KID at a series of steps, for several numbers of training
    exams."""
    import n_sweep

    full, held = world.train, tools.as_images(world.test)
    if world.name == "real":
        full, held = proportional(world, 0)
    for seed in a.seeds:
        for n in a.sizes:
            n = min(n, len(full))
            few = full.subset(n_sweep.nested(full.labels, full.patient_ids, n, seed))
            # no cooldown: every step then is as good a place to stop as any other
            cfg = dataclasses.replace(world.cfg, seed=seed, cooldown=0.0)
            key = {"world": world.name, "exams": n, "seed": seed, "canvas": cfg.canvas[0]}
            tools.cell(
                a.results,
                "over_time",
                key | {"until": a.steps},
                lambda cfg=cfg, few=few: _watched(cfg, few, held, a.steps),
            )
            tools.collect(a.results, "over_time", a.tables)


def _watched(cfg, few, held, steps: int) -> list[dict]:
    real = tools.as_images(few)
    counts = np.bincount(np.resize(few.labels, 500), minlength=len(few.class_names))

    def look(generator):
        made = tools.draw(generator, counts, cfg.seed)
        return tools.quality(real, held, made, rounds=50) + tools.memory(real, held, made)

    at = [s for s in (100, 200, 400, 800, 1600, 3200, 6400, 12800) if s < steps] + [steps]
    found = tools.train(cfg, few, steps, look, at)
    batch = min(cfg.batch_size, len(tools.filled(len(few))))
    return [
        {"steps": step, "epochs": round(step * batch / len(few), 1)} | r
        for step, rows in found.items()
        for r in rows
    ]


# ------------------------------------------------------------------------------------- augmentation


def augmentation(world: tools.World, a) -> None:
    """Balanced accuracy of a classifier that gets few exams a class, and what each kind of further
    images adds."""
    held = tools.as_images(world.test)
    full = world.train
    if world.name == "real":
        full, held = proportional(world, 0)
    for draw in a.seeds:
        for k in a.sizes:
            few = _few(full, k, draw)
            key = {"world": world.name, "per_class": k, "draw": draw, "steps": a.steps}
            tools.cell(
                a.results,
                "augmentation",
                key | {"canvas": world.cfg.canvas[0]},
                lambda few=few, draw=draw: _compared(world, few, held, a, draw),
            )
            tools.collect(a.results, "augmentation", a.tables)


def _few(full, k: int, draw: int):
    rng = np.random.default_rng([draw, k, 13])
    members = [np.flatnonzero(full.labels == c) for c in range(len(full.class_names))]
    return full.subset(np.concatenate([rng.permutation(m)[:k] for m in members]))


def plain(few: evaluation.ImageSet, times: int, seed: int) -> evaluation.ImageSet:
    """Each exam `times` times: shifted by up to 4 pixels, scaled by up to 10 %, 20 % brighter or
    darker, with noise."""
    from scipy import ndimage

    rng, made = np.random.default_rng(seed), []
    h, w = few.images.shape[1:]
    for x in np.repeat(few.images, times, axis=0):
        zoom, middle = rng.uniform(0.9, 1.1, 2), np.array([h - 1, w - 1]) / 2
        offset = middle - middle / zoom + rng.uniform(-4, 4, 2)
        moved = ndimage.affine_transform(x, 1 / zoom, offset, order=1)
        moved = moved * rng.uniform(0.8, 1.2) * (1 + 0.05 * rng.standard_normal(x.shape))
        made.append(moved)
    return evaluation.ImageSet(np.asarray(made, np.float32), np.repeat(few.labels, times))


def _compared(world: tools.World, few, held, a, draw: int) -> list[dict]:
    """Every arm trains on the same exams; the two steps of an arm with further images are 150 on
    these, 150 on the exams."""
    names, real = few.class_names, tools.as_images(few)
    n = len(names)
    cfg = dataclasses.replace(world.cfg, seed=draw)
    further = {
        "plain augmentation": lambda: plain(real, 20, draw),
        "generator of the same exams": lambda: _drawn(cfg, few, a.steps, n, draw),
    }
    if world.name == "phantoms" and a.generator:
        further["generator of 200 exams a class"] = lambda: tools.draw(
            _loaded(a.generator).generator, [DRAWN] * n, draw
        )
    if world.name == "real" and a.generator:
        further["generator of phantoms, then of the same exams"] = lambda: _tuned(
            cfg, few, a, n, draw
        )
    rows = []
    for arm, exams in {"exams alone": None, **further}.items():
        start = None
        if exams is not None:
            start = evaluation.train_classifier(exams(), n, steps=150, seed=draw)
        made = evaluation.train_classifier(
            real, n, steps=150 if start else 300, start=start, seed=draw
        )
        rows += [{"arm": arm} | r for r in tools.recalls(made, held, names, "balanced_accuracy")]
    return rows


def _loaded(name: str):
    from radiogan_lib import gan

    return gan.load_shipped() if name == "shipped" else gan.load_run(name)


def _tuned(cfg, few, a, n: int, seed: int) -> evaluation.ImageSet:
    """Both networks start from a model of phantoms where a weight has the same name and shape."""
    from radiogan_lib.gan import radiogan

    start = _loaded(a.generator)
    if start.config.canvas != cfg.canvas:
        height, width = start.config.canvas
        raise config.ConfigError(
            f"--generator draws {height} x {width} pixels: add --doublings "
            f"{start.config.doublings}."
        )

    def build(settings, n_classes, suv_max):
        model = radiogan.compiled(settings, n_classes, suv_max)
        for own, other in (
            (model.generator, start.generator),
            (model.discriminator, start.discriminator),
        ):
            for layer in own.layers:
                pairs = zip(layer.weights, other.get_layer(layer.name).weights, strict=True)
                for v, found in pairs:
                    if found.shape == v.shape:
                        v.assign(found)
        return model

    settings = dataclasses.replace(
        start.config,
        seed=seed,
        learning_rate=cfg.learning_rate / 2,
        suv_max=cfg.suv_max,
    )
    found = tools.train(
        settings, few, a.steps, lambda g: tools.draw(g, [DRAWN] * n, seed), build=build
    )
    return list(found.values())[-1]


# ----------------------------------------------------------------------------------- Fig. 4: a CGAN


def standard_cgan(cfg, n_classes: int, suv_max: float | None = None):
    """The conditional GAN of Mirza & Osindero (2014) as a compiled model: fully connected, nothing
    that holds it back.

    Their layers for MNIST: z to 200 and the label to 1000 units, 1200 together, then every pixel.
    Where they have maxout and a schedule of plain gradient descent, we take LeakyReLU and the
    paper's Adam.
    """
    from keras import Input, Model, layers

    from radiogan_lib.gan.networks import SuvImage
    from radiogan_lib.gan.radiogan import compile_model

    h, w = cfg.canvas

    def generator():
        z, label = Input((cfg.noise_dim,)), Input((), dtype="int32")
        e = layers.Embedding(n_classes, cfg.embedding_dim, name="label_embedding")(label)
        x = layers.Concatenate()([layers.Dense(200, "relu")(z), layers.Dense(1000, "relu")(e)])
        x = layers.Dense(h * w)(layers.Dense(1200, "relu")(x))
        image = SuvImage(cfg.intensity, suv_max, name="suv")
        return Model([z, label], image(layers.Reshape((h, w, 1))(x)))

    def discriminator():
        image, label = Input((h, w, 1)), Input((), dtype="int32")
        e = layers.Embedding(n_classes, cfg.embedding_dim, name="label_embedding")(label)
        x = layers.LeakyReLU(0.2)(layers.Dense(240)(layers.Flatten()(image)))
        x = layers.Concatenate()([x, layers.LeakyReLU(0.2)(layers.Dense(50)(e))])
        x = layers.Dropout(0.5)(layers.LeakyReLU(0.2)(layers.Dense(240)(x)))
        return Model([image, label], layers.Dense(1)(x))

    return compile_model(cfg, lambda: (generator(), discriminator()))


def cgan(world: tools.World, a) -> None:
    """How far a CGAN on few exams memorises, and on how many of a hundred walks between classes a
    blend appears."""
    from radiogan_lib.gan import memoriser

    full, held = world.train, tools.as_images(world.test)
    if world.name == "real":
        full, held = proportional(world, 0)
    bare = dataclasses.replace(
        config.Config(), doublings=world.cfg.doublings, suv_max=world.cfg.suv_max, batch_size=40
    )
    ours = dataclasses.replace(memoriser.settings(world.cfg, 20), cooldown=0.0)
    arms = {
        "standard CGAN": (bare, standard_cgan),
        "standard CGAN, Adam 1e-3, noise of 10, root of SUV": (
            dataclasses.replace(bare, noise_dim=10, learning_rate=1e-3, intensity="sqrt"),
            standard_cgan,
        ),
        "ours: with R1, averaged weights, a flat start": (ours, memoriser.build_model),
    }
    for seed in a.seeds:
        few = _few(full, 4, seed)
        for arm, (cfg, build) in arms.items():
            if a.arms and arm not in a.arms:
                continue
            key = {"world": world.name, "arm": arm, "seed": seed, "steps": a.steps}
            cfg = dataclasses.replace(cfg, seed=seed)
            tools.cell(
                a.results,
                "cgan",
                key | {"canvas": cfg.canvas[0], "exams": len(few)},
                lambda arm=arm, cfg=cfg, build=build, few=few: _memories(
                    (world.name, arm), cfg, build, few, held, a
                ),
            )
            tools.collect(a.results, "cgan", a.tables, every_walk=False)
    rows = {}
    for arm in arms:
        kept = tools.kept(a.results, "cgan", f"{world.name}, {arm}, seed {a.seeds[0]}")
        short = "ours" if "ours" in arm else "faster CGAN" if "Adam" in arm else "standard CGAN"
        rows |= {f"{short}: {k}": v for k, v in kept.items()}
    # a copy of a real exam is a picture of it: it stays beside the results, which nobody publishes
    folder = a.tables if world.name == "phantoms" else a.results
    tools.strips(folder / "cgan.png", rows, full.class_names, full.unit_label)


def _memories(what: tuple[str, str], cfg, build, few, held, a) -> list[dict]:
    from radiogan_lib.evaluation.walks import WalkReference

    real, n = tools.as_images(few), len(few.class_names)
    reference = WalkReference(real, held, cfg.canvas)

    def look(generator):
        made = tools.draw(generator, [60] * n, cfg.seed)
        rows = tools.quality(real, held, made, rounds=50) + tools.memory(real, held, made)
        rng, found, likely = np.random.default_rng(cfg.seed), [], []
        for k in range(a.walks):
            first, second = rng.choice(n, 2, replace=False)
            ends = (first, int(rng.integers(2**31))), (second, int(rng.integers(2**31)))
            frames = evaluation.walk(generator, *ends, steps=a.frames).frames
            found.append((frames, reference.measure(frames)))
            measured = _blend(found[-1][1], a.frames)
            rows += [{"walk": k} | r for r in measured]
            values = {r["measure"]: r["value"] for r in measured}
            likely.append((1 - values["blend"], values["red_residual"]))
        order = sorted(range(a.walks), key=lambda k: likely[k])
        name = ", ".join((*what, f"seed {cfg.seed}"))
        some = {"typical walk": order[len(order) // 2], "most like a blend": order[0]}
        tools.keep(a.results, "cgan", name, {k: found[i] for k, i in some.items()})
        return rows

    return list(tools.train(cfg, few, a.steps, look, build=build).values())[-1]


def _blend(m, frames: int) -> list[dict]:
    """Of one walk: is its frame in red a blend?

    The red frame is chosen by the rule of `evaluation.walk_measures`: nearest to the segment
    between two exams, and not merely near one. We call it a blend if fewer than 5 % of held-out
    exams are as near to such a segment, the second exam explains half of the distance to the first
    or more, and either exam has a share of a fifth or more.
    """
    b = m["blend_frame"]
    even = 0.2 <= b["share_of_second"] <= 0.8
    blend = b["share_of_holdout_below"] <= 0.05 and b["explained_by_second"] >= 0.5 and even
    middle = m["residual_ratio"][frames // 4 : frames - frames // 4]
    found = {
        "blend": float(blend),
        "red_frame": b["index"] + 1,
        "red_residual": b["residual_ratio"],
        "red_explained_by_second": b["explained_by_second"],
        "red_share_of_second": b["share_of_second"],
        "lowest_residual": min(middle),
        "largest_step": m["largest_step"],
    }
    return [tools.row(name, value) for name, value in found.items()]


# -------------------------------------------------------------------------------- Fig. 5: the walks


def walks(world: tools.World, a) -> None:
    """The measures of a walk over many walks of each kind, and over two controls whose sides are
    known."""
    from radiogan_lib.evaluation.walks import KINDS, WalkReference

    test = world.test
    reference = WalkReference(tools.as_images(world.train), tools.as_images(test), test.canvas)
    run = _loaded(a.generator or "shipped")
    rng = np.random.default_rng(a.seeds[0])
    n = len(test.class_names)

    def classes():
        return rng.choice(n, 2, replace=False)

    def generated(kind, k):
        first, second = (k, k) if kind == "paper" else classes()  # the paper gives z itself
        ends = (first, int(rng.integers(2**31))), (second, int(rng.integers(2**31)))
        return evaluation.walk(run.generator, *ends, steps=a.frames, kind=kind).frames

    def exams():
        return [rng.choice(np.flatnonzero(test.labels == c)) for c in classes()]

    def cross_fade(first, second):
        share = np.linspace(0, 1, a.frames)[:, None, None]
        return (1 - share) * first + share * second

    shares = np.linspace(0, 1, a.frames)
    for kind in KINDS:
        count = min(a.walks, n) if kind == "paper" else a.walks
        jobs = [lambda kind=kind, k=k: generated(kind, k) for k in range(count)]
        _measured(a, reference, kind, jobs)
    held = "cross-fade of held-out exams"
    _measured(a, reference, held, [lambda: cross_fade(*(test.suv[i] for i in exams()))] * a.walks)
    for k in range(a.morphs):
        pair = [_named(test.exams["path"].iloc[i]) for i in exams()]
        key = {"kind": "true morph", "frames": a.frames, "walk": k}

        def both(pair=pair, first=k == 0):
            frames = np.stack([_morphed(pair, s, world.cfg) for s in shares])
            found = {"true morph": frames, "cross-fade of the same ends": None}
            found["cross-fade of the same ends"] = cross_fade(frames[0], frames[-1])
            for kind, f in found.items() if first else ():
                tools.keep(a.results, "walks", kind, {"first": (f, reference.measure(f))})
            return [{"kind": kind} | r for kind, f in found.items() for r in _walked(reference, f)]

        tools.cell(a.results, "walks", key, both)
    tools.collect(a.results, "walks", a.tables)
    rows = {}
    for kind in (*KINDS, "true morph", "cross-fade of the same ends"):
        kept = tools.kept(a.results, "walks", kind)
        short = kind.removesuffix(" of the same ends")
        rows |= {f"{short}: {k}": v for k, v in kept.items() if kind == "slerp" or "least" not in k}
    tools.strips(a.tables / "walks.png", rows, test.class_names, test.unit_label, red=False)


def _named(path: str) -> tuple[str, int]:
    import petphantom

    return petphantom.parse(path)


def _morphed(pair, share: float, cfg) -> np.ndarray:
    import petphantom

    volume = petphantom.morph(*pair, float(share), cfg.phantom_spacing_mm)
    mip = np.clip(data.coronal_mip(volume), 0, cfg.suv_max)
    return data.fit_to_canvas(mip, cfg.canvas, cfg.field_of_view_mm)


def _measured(a, reference, kind: str, jobs) -> None:
    def every():
        frames = [job() for job in jobs]
        rows = [{"walk": k} | r for k, f in enumerate(frames) for r in _walked(reference, f)]
        fine = np.argsort([r["value"] for r in rows if r["measure"] == "fine_detail"])
        some = {"typical": fine[len(fine) // 2], "least fine detail": fine[0]}
        some = {k: (frames[i], reference.measure(frames[i])) for k, i in some.items()}
        tools.keep(a.results, "walks", kind, some)
        return rows

    tools.cell(a.results, "walks", {"kind": kind, "frames": a.frames}, every)
    tools.collect(a.results, "walks", a.tables)


def _walked(reference, frames: np.ndarray) -> list[dict]:
    """Every candidate for a measure of a walk: those in use, and three that the controls may favour
    (one does)."""
    m = reference.measure(frames)
    part = slice(len(frames) // 4, len(frames) - len(frames) // 4)
    near = np.asarray(m["nearest_ratio"])
    found = {
        "chord_ratio": m["chord_ratio"],
        "off_chord": m["off_chord"],
        "largest_step": m["largest_step"],
        "lowest_residual": min(m["residual_ratio"][part]),
        "highest_residual": max(m["residual_ratio"][part]),
        "middle_nearest": float(near[part].mean()),
        "middle_nearest_to_ends": float(near[part].mean() / (near[0] + near[-1]) * 2),
        "fine_detail": m["fine_detail"],
    }
    return [tools.row(name, value) for name, value in found.items() if value is not None]


# ------------------------------------------------------------------------------------------------
# the final judgement


def final(world: tools.World, a) -> None:
    """The final model, once, on phantoms of the final seeds; and the same on the exams that it was
    tuned on."""
    from petphantom import cohort

    cfg = dataclasses.replace(config.load("teach"), train_exams=(0,), test_exams=(0,))
    folder = paths.home() / "data" / "final-phantoms"
    listed = pd.DataFrame(cohort.final_rows())
    # a dataset has to have training exams; here both splits are loaded together and nothing is
    # trained on them
    listed["split"] = np.where(np.arange(len(listed)) % 2, "test", "train")
    data.prepare(listed, folder, cfg)
    model = a.generator or "shipped"
    held = {"final": data.load(folder), "development": world.test}
    tools.cell(a.results, "final", {"model": model}, lambda: _judged(world, cfg, model, held))
    tools.collect(a.results, "final", a.tables)


def _judged(world: tools.World, cfg, model: str, held: dict) -> list[dict]:
    run, train, n = _loaded(model), world.train, len(world.train.class_names)
    made = evaluation.ImageSet(_sampled(run, train.labels, cfg.seed), train.labels)
    same = {"n_classes": n, "epochs": cfg.classifier_epochs, "seed": cfg.seed}
    on_real = evaluation.train_classifier(train, **same)
    on_made = evaluation.train_classifier(made, **same)
    rows = []
    for name, exams in held.items():
        test = tools.as_images(exams)
        found = {
            "label_agreement": evaluation.label_agreement(on_real, made, test)["overall"],
            **{
                k: tools.recalls(c, test, train.class_names, k)[-1]
                for k, c in (("trtr", on_real), ("tstr", on_made))
            },
        }
        quality = evaluation.quality_report(train, test, made, on_real, details=False)
        found |= {k: quality[k] for k in ("fine_detail", "two_sample_auc")}
        for space in ("pixels", "classifier"):
            found |= {f"{k}, {space}": v for k, v in quality[space].items()}
        memory = evaluation.memorization_report(train, test, made)
        found |= {k: memory[k] for k in ("membership_auc", "copy_fraction", "blend_fraction")}
        rows += [tools.row(k, m, held_out=name, exams=len(test)) for k, m in found.items()]
    return rows


def _sampled(run, labels, seed: int) -> np.ndarray:
    from radiogan_lib import gan

    return gan.sample(run.generator, labels, seed=seed)


# --------------------------------------------------------------------------------------------- main

EXPERIMENTS = {
    "one_or_five": one_or_five,
    "over_time": over_time,
    "augmentation": augmentation,
    "cgan": cgan,
    "walks": walks,
    "final": final,
}


def numbers(text: str) -> list[int]:
    """A comma list of whole numbers."""
    return [int(v) for v in text.split(",")]


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--world", default="phantoms", choices=("phantoms", "real"))
    parser.add_argument("--dataset", default="", help="a prepared dataset; default the profile's")
    parser.add_argument("--doublings", type=int, default=3, help="canvas; 3 = 40 x 24, 4 = 80 x 48")
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1500, help="of a training, in all")
    parser.add_argument("--sizes", type=numbers, default=[16, 64, 256, 1000])
    parser.add_argument("--arms", nargs="*", help="one_or_five: which; default the first three")
    parser.add_argument("--walks", type=int, default=100, help="of each kind")
    parser.add_argument("--frames", type=int, default=11, help="of each walk")
    parser.add_argument("--morphs", type=int, default=20, help="true morphs of phantoms")
    parser.add_argument("--generator", default="", help="a finished run, or `shipped`")
    parser.add_argument("--results", type=Path, default=paths.home() / "runs" / "claims")
    parser.add_argument("--tables", type=Path, default=tools.TABLES)
    a = parser.parse_args(arguments)
    if min(a.steps, a.walks, a.morphs, a.doublings, *a.sizes) < 1 or a.frames < 2:
        parser.error(
            "--steps, --sizes, --walks, --morphs and --doublings are numbers from 1, "
            "--frames from 2."
        )
    if min(a.seeds) < 0:
        parser.error("--seeds are whole numbers from 0.")
    EXPERIMENTS[a.experiment](tools.world(a.world, a.dataset, a.doublings), a)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

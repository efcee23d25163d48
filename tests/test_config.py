"""Settings: profiles load, unknown names and bad values are named, precedence holds, names of
folders are functions of settings."""

import dataclasses

import pytest
import yaml

from radiogan_lib import config, paths


@pytest.mark.parametrize("name", ["smoke", "teach", "paper"])
def test_profiles_load_and_survive_json(name):
    cfg = config.load(name)
    assert cfg.profile == name
    assert config.from_dict(cfg.as_dict()) == cfg
    assert not cfg.changed()


def test_the_paper_profile_is_the_paper():
    cfg = config.load("paper")
    assert cfg.recipe == "paper" and cfg.canvas == (640, 384) and cfg.epochs == 300
    assert (cfg.noise_dim, cfg.embedding_dim, cfg.learning_rate, cfg.beta_1, cfg.bn_momentum) == (
        100,
        50,
        2e-4,
        0.5,
        0.8,
    )
    assert cfg.train_exams == (675, 422, 97, 189, 225) and cfg.suv_max == 30


def test_recipe_paper_switches_everything_off():
    """Whatever another recipe sets must be at its default, off, in the paper's."""
    defaults = {f.name: f.default for f in dataclasses.fields(config.Config)}
    assert config.RECIPES["paper"] == {}
    for profile in config.profiles():
        cfg = config.load(profile, recipe="paper")
        for recipe in config.RECIPES.values():
            assert all(getattr(cfg, name) == defaults[name] for name in recipe)


def test_profiles_and_recipes_set_different_things():
    for profile in config.profiles():
        content = yaml.safe_load((config.PROFILES / f"{profile}.yaml").read_text())["settings"]
        assert not set(content) & set(config.RECIPES[content["recipe"]]), (
            "a recipe must not be undone by a profile"
        )


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"epocs": 3}, ["epocs", "Did you mean 'epochs'", "batch_size"]),
        ({"epochs": -1}, ["epochs = -1", "between 1 and"]),
        ({"epochs": "3"}, ["'3' is a str", "must be int"]),
        ({"epochs": True}, ["bool"]),
        ({"learning_rate": float("nan")}, ["nan"]),
        ({"train_exams": []}, ["empty"]),
        ({"train_exams": [3, "a"]}, ["must be int"]),
        ({"intensity": "log"}, ["linear, sqrt"]),
        ({"recipe": "best"}, ["paper, improved"]),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(config.ConfigError) as e:
        config.load("teach", **settings)
    assert all(w in str(e.value) for w in words)


def test_unknown_profile_names_the_known():
    with pytest.raises(config.ConfigError, match="paper, real, smoke, teach"):
        config.load("tech")


@pytest.mark.parametrize(
    "content", ["settings: [1, 2]", "just text", "settings: {epochs: {a: 1}}", "a: [", "\x00", ""]
)
def test_a_broken_profile_is_one_sentence(tmp_path, monkeypatch, content):
    (tmp_path / "mine.yaml").write_text(content)
    monkeypatch.setattr(config, "PROFILES", tmp_path)
    if content == "":
        content = None
    with pytest.raises(config.ConfigError, match="mine.yaml"):
        config.load("mine")


def test_integers_serve_as_floats_and_empty_recipe_keeps_the_profile():
    cfg = config.load("teach", learning_rate=1, recipe="", cohort="")
    assert cfg.learning_rate == 1.0 and cfg.recipe == config.load("teach").recipe


def test_run_folders_are_named_by_what_differs(monkeypatch, tmp_path):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path))
    plain, other = config.load("teach"), config.load("teach", seed=1, epochs=5)
    assert paths.run_dir(plain) == tmp_path.resolve() / "runs" / "teach"
    assert paths.run_dir(other).name == "teach-seed=1-epochs=5"
    assert paths.dataset_dir(plain) == paths.dataset_dir(other), (
        "runs on the same exams share one dataset"
    )
    assert paths.dataset_dir(config.load("teach", doublings=3)) != paths.dataset_dir(plain)
    assert paths.run_dir(config.load("teach", generated=7)) == paths.run_dir(plain), (
        "evaluation settings do not fork a run"
    )


def test_two_cohorts_of_one_name_do_not_meet(monkeypatch, tmp_path):
    a, b = (config.load("teach", cohort=str(tmp_path / d / "c.csv")) for d in "ab")
    assert paths.run_dir(a) != paths.run_dir(b) and "c" in paths.run_dir(a).name


@pytest.mark.parametrize(
    "table",
    [
        {"balanced": {"\n": None}},
        {"balanced": ["\n", "\t"]},
        {"balanced": "a\n\nb"},
        {"epocs\n": 1},
        {"balanced": b"\n"},
    ],
)
def test_a_line_break_in_a_setting_does_not_break_the_sentence(table):
    with pytest.raises(config.ConfigError) as e:
        config.from_dict(table)
    assert "\n" not in str(e.value) and "\\n" not in str(e.value)

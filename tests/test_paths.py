"""Atomic writes and the sentence for what is missing."""

import os

import pytest

from radiogan_lib import config, paths


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.json"
    paths.write_json(target, {"x": 1})
    with pytest.raises(RuntimeError):
        with paths.atomic(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError
    assert target.read_text() == '{\n "x": 1\n}\n' and os.listdir(tmp_path) == ["a.json"]


def test_the_temporary_file_keeps_its_suffix_and_its_folder(tmp_path):
    with paths.atomic(tmp_path / "deep" / "a.keras") as temporary:
        assert temporary.suffix == ".keras" and temporary.parent == tmp_path / "deep"
    assert (tmp_path / "deep" / "a.keras").stat().st_mode & 0o600 == 0o600


def test_nan_never_reaches_a_json_file(tmp_path):
    with pytest.raises(ValueError):
        paths.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not os.listdir(tmp_path)


def test_missing_says_which_notebook_makes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("RADIOGAN_HOME", str(tmp_path))
    with pytest.raises(config.RadioganError) as e:
        paths.need(tmp_path / "runs" / "teach" / "generator.keras", "03_training")
    assert str(e.value).startswith(
        "runs/teach/generator.keras is missing. Run notebooks/03_training.ipynb first"
    )
    assert str(tmp_path) not in str(e.value)

"""The readers under fuzzing: whatever bytes come in, a result or a `RadioganError` comes out, in
bounded memory.

A few hundred inputs each here; RADIOGAN_FUZZ=20000 makes it a campaign. The counts are printed at
the end of the test run, and those of the last campaign are in docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from survived import COUNTS, faults_of_sentence

from radiogan_lib import batch, config, paths

FUZZ = Path(__file__).with_name("fuzz.py")
INPUTS = int(os.environ.get("RADIOGAN_FUZZ", 300))
PEAK_MB = 700  # of a process with NumPy, pandas, nibabel and pydicom, which alone take about 200
TABLE = COUNTS["fuzzing"]


@pytest.mark.parametrize("reader", ["nifti", "nifti-gz", "dicom", "csv", "yaml", "json"])
def test_only_our_errors_come_out_of_the_readers(reader):
    done = subprocess.run(
        [sys.executable, str(FUZZ), reader, str(INPUTS), "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=paths.REPO,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    TABLE.extend(
        [("reader", "inputs", "read", "refused", "crashed", "peak MB", "longest s")]
        if not TABLE
        else []
    )
    TABLE.append(
        (
            reader,
            *(found[k] for k in ("inputs", "read", "refused", "crashed", "peak_mb", "longest_s")),
        )
    )
    assert found["crashed"] == 0, "\n".join(found["crashes"])
    assert found["refused"] > INPUTS // 10 and found["peak_mb"] < PEAK_MB


plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=8)
)
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)
names = st.sampled_from(sorted(config.FIELDS)) | st.text(max_size=12) | st.integers()


@settings(
    max_examples=INPUTS,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(st.dictionaries(names, values, max_size=4) | values)
def test_any_table_of_settings_is_a_config_or_one_sentence(table):
    try:
        cfg = config.from_dict(table)
    except config.ConfigError as e:
        assert not faults_of_sentence(str(e), 2000) or "does not hold a table" in str(e)
        return
    assert config.from_dict(cfg.as_dict()) == cfg


@settings(
    max_examples=INPUTS,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(
    st.text(max_size=40)
    | st.builds("{}={}".format, st.sampled_from(sorted(config.FIELDS)), st.text(max_size=30))
)
def test_any_set_option_is_a_setting_or_one_sentence(text):
    try:
        name, found = batch.parse_setting(text)
        config.load("smoke", **{name: found[0]})
    except config.ConfigError as e:
        assert not faults_of_sentence(str(e), 2000)


def test_the_fuzzer_would_notice(tmp_path):
    """A reader with a fault planted in it is found out."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import fuzz; from petsuv import nifti "
        "as n; real = n._check_length\n"
        "def broken(path, needed):\n    if needed > 8000: raise ZeroDivisionError\n    "
        "real(path, needed)\n"
        "n._check_length = broken; import json; print(json.dumps(fuzz.main('nifti', 60, 1)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(FUZZ.parent)],
        capture_output=True,
        text=True,
        check=True,
        cwd=paths.REPO,
    )
    assert json.loads(done.stdout.splitlines()[-1])["crashed"] > 0

"""petsuv/README.md names a test for every rule; the tests must exist, and the tags must be those of
the messages."""

import re
from pathlib import Path

import pytest
from pydicom.datadict import keyword_for_tag

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "petsuv" / "README.md").read_text(encoding="utf-8")
FILES = {
    "d": "test_petsuv/test_dicom.py",
    "v": "test_petsuv/test_dicom_vendors.py",
    "k": "test_petsuv/test_kinds.py",
    "n": "test_volumes.py",
    "m": "test_projection.py",
}
ROWS = [
    line.split(" | ")
    for line in DOC.splitlines()
    if line.startswith("| ") and not line.startswith("| rule")
]


def named(cell):
    """(letter, test name or its beginning) of every test in a cell; a letter holds until the next
    one."""
    letter = None
    for word, name in re.findall(r"\b([dvknm]) (?=`)|`([a-z0-9_…]+)`", cell):
        letter = word or letter
        if name:
            yield letter, name.rstrip("…").rstrip("_")


def test_every_test_that_is_named_exists():
    wanted = [(letter, name) for row in ROWS for letter, name in named(row[-1]) if letter]
    assert len(wanted) > 60
    for letter, name in wanted:
        tests = re.findall(
            r"^def test_(\w+)", (ROOT / "tests" / FILES[letter]).read_text(encoding="utf-8"), re.M
        )
        assert any(t.startswith(name) for t in tests), f"{FILES[letter]} has no test_{name}"


@pytest.mark.parametrize("tag", sorted(set(re.findall(r"\(([0-9A-F]{4},[0-9A-F]{4})\)", DOC))))
def test_every_public_tag_is_in_the_standard(tag):
    group, element = (int(part, 16) for part in tag.split(","))
    assert group % 2 or keyword_for_tag((group << 16) | element), tag

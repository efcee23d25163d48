"""What the hard tests tried and what came of it: filled by the tests, printed as tables at the end
of a test run.

`tests/conftest.py` prints what is here; nothing is printed where the tests were not run.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict

BAD_INPUT: dict[str, dict[str, dict]] = defaultdict(
    dict
)  # group → kind → {"clear": bool, "unharmed": bool | None}
COUNTS: dict[str, list[tuple]] = defaultdict(list)  # title of a table → rows of text and numbers

# A remedy tells the reader to do something; these are the verbs that our sentences begin such a
# clause with.
VERBS = (
    "add choose check convert correct crop delete export fetch fill give halve install keep "
    "leave lower make mark mend name open prepare "
    "quote raise rename resample run save set start take train try use wait write"
).split()
NOT_A_SENTENCE = re.compile(r"Traceback|File \"|0x[0-9a-f]{6}|<class |<function |object at |\\n")


def faults_of_sentence(text: str, length: int = 500) -> list[str]:
    """Why this text is not one clear sentence for a user; empty if it is one.

    Args:
        text: what the user reads.
        length: characters; a message that lists every known setting is longer than others.
    """
    found = []
    if not text.strip():
        return ["it is empty"]
    if "\n" in text.strip():
        found.append("it has several lines")
    if len(text) > length:
        found.append(f"it has {len(text)} characters")
    if NOT_A_SENTENCE.search(text):
        found.append("it shows the insides of the program")
    if not re.search(rf"(?i)\b({'|'.join(VERBS)})\b", text):
        found.append("it does not say what to do")
    if not text.strip().endswith((".", "…", ")")):
        found.append("it does not end")
    return found


def packed() -> str:
    """All of it as JSON, for another process."""
    return json.dumps([BAD_INPUT, COUNTS], default=str)


def unpack(text: str) -> None:
    """Add what another process found."""
    groups, counts = json.loads(text)
    for group, kinds in groups.items():
        BAD_INPUT[group].update(kinds)
    for title, rows in counts.items():
        COUNTS[title] += rows


def lines() -> list[str]:
    """The tables, ready to print."""
    out = []
    if BAD_INPUT:
        rows = []
        for group, kinds in BAD_INPUT.items():
            told = [k["unharmed"] for k in kinds.values() if k["unharmed"] is not None]
            rows.append(
                (
                    group,
                    len(kinds),
                    sum(k["clear"] for k in kinds.values()),
                    f"{sum(told)} of {len(told)}",
                )
            )
        rows.append(
            (
                "together",
                *(sum(r[i] for r in rows) for i in (1, 2)),
                f"{sum(int(r[3].split()[0]) for r in rows)} of "
                f"{sum(int(r[3].split()[2]) for r in rows)}",
            )
        )
        out += table(
            "bad input", [("where", "kinds tried", "clear errors", "others unharmed"), *rows]
        )
    for title, rows in COUNTS.items():
        out += (
            table(title, rows) if rows else []
        )  # a module may have been read and none of its tests run
    return out


def table(title: str, rows: list[tuple]) -> list[str]:
    """Aligned columns under a title."""
    widths = [max(len(str(r[i])) for r in rows) for i in range(len(rows[0]))]
    return [
        title,
        *(
            "  "
            + "  ".join(
                f"{str(v):{'<' if i == 0 else '>'}{w}}" for i, (v, w) in enumerate(zip(r, widths))
            )
            for r in rows
        ),
        "",
    ]

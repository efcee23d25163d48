"""The static site builds from README, notebooks and guides, and holds no dead link and no missing
image."""

import importlib.util
import os
import subprocess
import sys
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


class Page(HTMLParser):
    """Links, images and anchors of one page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.update(v for v in (attrs.get("id"), attrs.get("name")) if v)
        for key in ("href", "src"):
            if attrs.get(key):
                self.links.append(attrs[key])


def faults(folder):
    """Every link of the pages in `folder` that leads nowhere within it, and every picture or script
    that comes from elsewhere."""
    pages = {
        p.resolve(): Page(p.read_text(encoding="utf-8"))
        for p in Path(folder).rglob("*.html")
        if "_static" not in p.relative_to(folder).parts
    }  # templates of the theme
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if (
                parts.scheme in ("http", "https", "mailto", "data", "javascript")
                or link in ("#", "")
                or parts.netloc
            ):
                continue
            target = (
                (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            )
            anchor = urllib.parse.unquote(parts.fragment)
            if not target.exists():
                found.append(f"{path.name}: {link} is missing")
            elif anchor and target in pages and anchor not in pages[target].ids:
                found.append(f"{path.name}: {link} has no such place")
    return found


def python_with_sphinx():
    """This interpreter, or the one of `make site`, or the one that RADIOGAN_SITE_PYTHON names."""
    if importlib.util.find_spec("sphinx") and importlib.util.find_spec("myst_nb"):
        return sys.executable
    for path in (
        os.environ.get("RADIOGAN_SITE_PYTHON"),
        ROOT / "_build" / "site-env" / "bin" / "python",
    ):
        if path and Path(path).exists():
            return str(path)
    pytest.skip(
        "Sphinx and MyST-NB are not installed here; `make site` installs them in _build/site-env"
    )


def test_the_site_builds_without_warning_and_no_link_is_dead(tmp_path):
    python = python_with_sphinx()
    done = subprocess.run(
        [
            python,
            "-m",
            "sphinx",
            "-q",
            "-c",
            "docs/site",
            "-b",
            "html",
            "-d",
            str(tmp_path / "trees"),
            ".",
            str(tmp_path / "html"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line]
    assert not warnings, "\n".join(warnings)
    pages = {
        p.relative_to(tmp_path / "html").as_posix() for p in (tmp_path / "html").rglob("*.html")
    }
    assert {"index.html", "README.html", "docs/glossary.html"} | {
        f"notebooks/{p.stem}.html" for p in (ROOT / "notebooks").glob("*.ipynb")
    } <= pages
    assert not faults(tmp_path / "html")


def test_dead_links_and_missing_images_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<h1 id="top">x</h1><a href="b.html#there">b</a><a href="#top">t</a><img '
        'src="gone.png"><a href="b.html#nowhere">n</a>'
    )
    (tmp_path / "b.html").write_text('<p id="there">y</p><a href="https://example.org/x">out</a>')
    assert faults(tmp_path) == [
        "a.html: gone.png is missing",
        "a.html: b.html#nowhere has no such place",
    ]


def test_the_pins_of_the_site_are_hashed():
    lock = (ROOT / "docs" / "site" / "requirements.lock").read_text()
    for line in (ROOT / "docs" / "site" / "requirements.in").read_text().splitlines():
        assert line.startswith("#") or f"{line} " in lock
    assert lock.count("--hash=sha256:") > 40 and "://" not in lock

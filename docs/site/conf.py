"""The static site: README, notebooks with their committed outputs, and the guides.

`make site` builds it into _build/site.

Sphinx with MyST-NB, and not the mystmd command: it comes whole from the package registry, while
mystmd fetches a theme when it runs.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDES = (
    "docs/*.md",
    "docs/real/*.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "petphantom/*.md",
    "petsuv/*.md",
    "data_manifest/*.md",
    "benchmarks/*.md",
    "weights/*.md",
)

# `make site` writes them into _build
LIVE_PAGES = [ROOT / "_build" / name for name in ("explorer.html", "phantoms.html")]
FRONT = """```{raw} html
<p><a href="explorer.html"><strong>Walk the latent space in your browser</strong></a>:
the generator that was trained on real exams,
or <a href="phantoms.html">the one that was trained on phantoms</a>. Nothing to install.</p>
```

"""

project = "RadioGAN reproduced"
author = "the RadioGAN reproduced project"
extensions = ["myst_nb", "sphinx-mathjax-offline"]
root_doc = "README"
include_patterns = ["README.md", "notebooks/*.ipynb", *GUIDES]
exclude_patterns = [".venv", ".git", "_build", "runs", "data"]
nb_execution_mode = "off"  # the outputs in git are the ones of a clean run
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath", "html_image"]
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type", "misc.highlighting_failure"]
html_theme = "sphinx_book_theme"
html_title = "RadioGAN reproduced"
html_theme_options = {"show_toc_level": 2, "use_download_button": False, "home_page_in_toc": True}
html_static_path = ["static"]
html_css_files = ["course.css"]
html_copy_source = False


def _contents(app, docname, source):
    """README has no table of contents of its own: on GitHub the folders are one."""
    if docname == root_doc:
        if all(page.exists() for page in LIVE_PAGES):
            source[0] = FRONT + source[0]
        books = sorted(p.stem for p in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
        guides = [
            p.relative_to(ROOT).with_suffix("").as_posix()
            for g in GUIDES
            for p in sorted(ROOT.glob(g))
        ]
        for title, entries in (
            ("Notebooks", [f"notebooks/{b}" for b in books]),
            ("Guides", guides),
        ):
            source[0] += (
                "\n\n```{toctree}\n:hidden:\n:caption: "
                + title
                + "\n\n"
                + "\n".join(entries)
                + "\n```\n"
            )


def _index(app, exception):
    """A site is entered by index.html."""
    if exception is None and app.builder.name == "html":
        for page in LIVE_PAGES:
            if page.exists():
                shutil.copy(page, app.outdir)
        (Path(app.outdir) / "index.html").write_text(
            '<!doctype html><meta charset="utf-8"><title>RadioGAN reproduced</title>'
            '<meta http-equiv="refresh" content="0; url=README.html"><a '
            'href="README.html">RadioGAN reproduced</a>\n',
            encoding="utf-8",
        )


def setup(app):
    app.connect("source-read", _contents)
    app.connect("build-finished", _index)

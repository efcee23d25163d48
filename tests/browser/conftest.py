"""A browser, a JupyterLab and a small run for the tests in this folder.

Everything skips with a reason where it cannot be had.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# A browser of its own folder and name comes first; RADIOGAN_BROWSER names another
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell", "chrome")

SETTINGS = {"doublings": 4, "train_exams": [8]}  # the shipped weights' canvas, few exams
MAKE = f"""
from radiogan_lib import config, data, paths
cfg = config.load("smoke", **{SETTINGS})
data.prepare(paths.cohort_path(cfg), paths.dataset_dir(cfg), cfg)
"""


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium driven by Playwright."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install -e .[test])"
    )
    found = os.environ.get("RADIOGAN_BROWSER") or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )
    if not found:
        pytest.skip(
            "no Chromium found; install one (Debian: apt-get install chromium) or set "
            "RADIOGAN_BROWSER"
        )
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=found, args=FLAGS)
        yield b
        b.close()


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A home with a small dataset, made as the notebooks make it, no training yet, and notebook 07
    set to it."""
    folder = tmp_path_factory.mktemp("home")
    env = os.environ | {
        "RADIOGAN_HOME": str(folder),
        "RADIOGAN_HEADLESS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "2",
    }
    done = subprocess.run(
        [sys.executable, "-c", MAKE],
        env=env,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    books = folder / "notebooks"
    books.mkdir()
    text = (REPO / "notebooks" / "07_latent_explorer.ipynb").read_text(encoding="utf-8")
    changed = text
    for old, new in (
        ('profile: str = \\"teach\\"', 'profile: str = \\"smoke\\"'),
        ("settings: dict = {}", f"settings: dict = {SETTINGS}"),
    ):
        assert old in changed, f"notebook 07 no longer has the parameter {old} that this test sets"
        changed = changed.replace(old, new, 1)
    (books / "07_latent_explorer.ipynb").write_text(changed, encoding="utf-8")
    return folder


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def serve(command, url, env, log, seconds=90):
    """Start a server in its own process group; return it once `url` answers."""
    with open(log, "w") as out:
        server = subprocess.Popen(
            command, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    for _ in range(seconds * 4):
        if server.poll() is not None:
            raise RuntimeError(f"the server stopped: {Path(log).read_text()[-2000:]}")
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return server
        except urllib.error.HTTPError:
            return server
        except OSError:
            time.sleep(0.25)
    stop(server)
    raise RuntimeError(
        f"the server did not answer within {seconds} s: {Path(log).read_text()[-2000:]}"
    )


def stop(server) -> None:
    """End the server and the kernels that it started: they are one process group."""
    os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(5)


@pytest.fixture(scope="session")
def server_env(home, tmp_path_factory):
    """The environment of a server: its own Jupyter settings, no news toast, our home."""
    settings = tmp_path_factory.mktemp("lab-settings")
    (settings / "@jupyterlab" / "apputils-extension").mkdir(parents=True)
    (
        settings / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    ).write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    return os.environ | {
        "RADIOGAN_HOME": str(home),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTER_CONFIG_DIR": str(settings / "config"),
        "JUPYTERLAB_WORKSPACES_DIR": str(settings / "workspaces"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


@pytest.fixture(scope="session")
def lab_url(home, server_env, tmp_path_factory):
    """A JupyterLab on loopback that serves the home's notebooks."""
    pytest.importorskip("jupyterlab")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--IdentityProvider.token=",
        "--LabApp.expose_app_in_browser=True",
        f"--ServerApp.root_dir={home}",
        "--allow-root",
    ]
    server = serve(
        command,
        f"http://127.0.0.1:{port}/lab",
        server_env,
        tmp_path_factory.mktemp("log") / "lab.txt",
    )
    yield f"http://127.0.0.1:{port}"
    stop(server)


@pytest.fixture(scope="session")
def voila_url(home, server_env, tmp_path_factory):
    """Voilà on loopback with notebook 07."""
    pytest.importorskip("voila", reason="voila is not installed (pip install -e .[voila])")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "voila",
        str(home / "notebooks" / "07_latent_explorer.ipynb"),
        "--no-browser",
        f"--port={port}",
        "--Voila.ip=127.0.0.1",
    ]
    server = serve(
        command,
        f"http://127.0.0.1:{port}/static/",
        server_env,
        tmp_path_factory.mktemp("log") / "voila.txt",
    )
    yield f"http://127.0.0.1:{port}"
    stop(server)


@pytest.fixture(scope="session")
def kept():
    """Where screenshots and measurements stay: runs/browser."""
    folder = REPO / "runs" / "browser"
    folder.mkdir(parents=True, exist_ok=True)
    return folder

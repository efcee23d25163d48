"""Work for other processes: a module that imports next to nothing, so that a fresh interpreter has
it at once."""

import os
from pathlib import Path


def square(x):
    return x * x


def dies(item):
    """Ends its process: always where the item says so, or only once (a file remembers)."""
    number, fate = item
    if fate and (fate == "always" or not Path(fate).exists()):
        if fate != "always":
            Path(fate).touch()
        os._exit(9)
    return number

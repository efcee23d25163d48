"""The notebooks' questions, with a checker that answers in hints: `lab.exercise("mean-suv", 2)`.

Questions, answers and hints stand in notebooks/exercises.yaml. An answer that is a function is
called: the checks at the end look at what it does, and show the picture that it makes.
"""

import functools
import html
import math
import numbers

import numpy as np
import yaml

from radiogan_lib import paths
from radiogan_lib.lab.figures import grey, uri
from radiogan_lib.lab.notebook import pick

PLACE = "Put your answer in place of the three dots and run this cell again."
# kind of answer: (types that it may have, what to say to others)
KINDS = {
    "number": (numbers.Real, "a number"),
    "whole number": (numbers.Integral, "a whole number"),
    "tuple": ((tuple, list), "a pair or triple in brackets, like (1, 2)"),
    "word": (str, "one word in quotes"),
    "function": (object, "a function"),
}


class Answer:
    """What the checker says: `.right`, `.text`, and the grey picture (h, w) that an answer made."""

    def __init__(self, right: bool, text: str, picture: np.ndarray | None = None):
        self.right, self.text, self.picture = right, text, picture

    def __repr__(self) -> str:
        return ("[right] " if self.right else "[not yet] ") + self.text

    def _repr_html_(self) -> str:
        said = f"<p><b>{'Right.' if self.right else 'Not yet.'}</b> {html.escape(self.text)}</p>"
        if self.picture is None:
            return said
        picture = np.clip(np.nan_to_num(self.picture), 0, 255).astype(np.uint8)
        source = uri(picture.repeat(2, 0).repeat(2, 1))
        return f'{said}<img alt="what your function makes" src="{source}">'


@functools.cache
def exercises() -> dict[str, dict]:
    """All exercises by name, as notebooks/exercises.yaml has them."""
    path = paths.REPO / "notebooks" / "exercises.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _same(answer, wanted, tolerance: float) -> bool:
    """Numbers within a relative tolerance, words without case and outer spaces, tuples by item."""
    if isinstance(wanted, (int, float)) and isinstance(answer, numbers.Real):
        return math.isclose(answer, wanted, rel_tol=tolerance, abs_tol=1e-9)
    if isinstance(wanted, list):
        return isinstance(answer, (tuple, list)) and list(answer) == wanted
    return str(answer).strip().lower() == wanted


def _hint(answer, known: dict) -> str | None:
    """None for a right answer of the right kind, else what to say to it."""
    if known["kind"] == "number" and not math.isfinite(answer):
        return "that is not a finite number."
    tolerance = 0 if known["kind"] == "whole number" else known.get("tolerance", 0.01)
    if any(_same(answer, right, tolerance) for right in (known["answer"], *known.get("also", ()))):
        return None
    for wrong in known.get("wrong", ()):
        if _same(answer, wrong["answer"], tolerance):
            return wrong["hint"]
    if "otherwise" in known or known["kind"] != "number":
        return known.get("otherwise", "that is not it.")
    return "too small." if answer < known["answer"] else "too large."


def exercise(name: str, answer=None) -> Answer:
    """Check an answer, or a function that you wrote: it is right, with the reason, or gets a hint.

    Raises:
        RadioganError: there is no exercise of that name.
    """
    known = pick(exercises(), name, "exercise")
    if answer is None or answer is ...:
        return Answer(False, PLACE)
    kind, words = KINDS[known["kind"]]
    wanted = callable(answer) if known["kind"] == "function" else isinstance(answer, kind)
    if isinstance(answer, (bool, np.bool_)) or not wanted:
        return Answer(False, f"the answer should be {words}. {known['hint']}")
    if known["kind"] == "function":
        said, picture = _tried(CHECKS[name], answer)
    else:
        said, picture = _hint(answer, known), None
    if said and said != PLACE:
        said += f" Hint: {known['hint']}"
    return Answer(not said, said or known["why"], picture)


# Checks of functions. Each calls the reader's function `f`, raises a hint where it does not do what
# was asked, and returns the picture that it made, or None.


class _Hint(Exception):
    """What to say to a function, and the picture that it made."""

    def __init__(self, text: str, picture: np.ndarray | None = None):
        self.text, self.picture = text, picture


def _tried(check, function) -> tuple[str, np.ndarray | None]:
    """What to say, empty if all is right, and the picture."""

    def call(*args):
        found = function(*args)
        if found is ... or found is None:
            raise _Hint(PLACE)
        return found

    try:
        with np.errstate(all="ignore"):
            return "", check(call)
    except _Hint as hint:
        return hint.text, hint.picture
    except Exception as e:  # noqa: BLE001 - whatever the reader's code does, the reply is a sentence
        return f"your function stopped with {type(e).__name__}: {str(e)[:200]}.", None


@functools.cache
def _volume() -> np.ndarray:
    """A small phantom: SUV, (x, y, z), voxels of 8 mm."""
    import petphantom

    return np.asarray(petphantom.make("lung", 20001, 8.0).dataobj, np.float32)


def _mip() -> np.ndarray:
    return _volume().max(axis=1).T[::-1, ::-1]


def _shape(found, wanted: tuple) -> None:
    if (got := np.shape(found)) != wanted:
        raise _Hint(f"the result has the shape {got}, not {wanted}.")


def _window(f):
    given = np.array([-1.0, 0.0, 3.5, 7.0, 20.0])
    found = np.asarray(f(given), float)
    picture = np.asarray(f(_mip()), float)
    _shape(found, given.shape)
    _shape(picture, _mip().shape)
    if np.allclose(found, [255, 255, 127.5, 0, 0], atol=1):
        return picture
    if found[1] < found[3]:
        raise _Hint("SUV 0 comes out darker than SUV 7.", picture)
    outside = found.min() < 0 or found.max() > 255
    raise _Hint("values leave 0 to 255." if outside else "SUV 3.5 should be half-way.", picture)


def _from_the_side(f):
    volume = _volume()
    found = np.asarray(f(volume), float)
    wanted = volume.max(axis=0).T[::-1]  # (z, y), head up
    _shape(found, wanted.shape)
    picture, either = grey(found), (wanted, wanted[:, ::-1])
    if any(np.allclose(found, view) for view in either):
        return picture
    upside_down = any(np.allclose(found[::-1], view) for view in either)
    raise _Hint("the head should be up." if upside_down else "that is another picture.", picture)


def _transposed_convolution(f):
    x, kernel = _mip()[::2, ::2], np.array([[0.2, 0.5, 0.2], [0.5, 1.0, 0.5], [0.2, 0.5, 0.1]])
    rows, columns = x.shape
    wanted = np.zeros((2 * rows + 1, 2 * columns + 1))
    for r, c in np.ndindex(rows, columns):
        wanted[2 * r : 2 * r + 3, 2 * c : 2 * c + 3] += x[r, c] * kernel
    found = np.asarray(f(x.copy(), kernel.copy()), float)
    _shape(found, (2 * rows, 2 * columns))
    picture = grey(found, (0, 12))
    if not np.allclose(found, wanted[:-1, :-1], atol=1e-4):
        raise _Hint("where copies of the kernel overlap, they must sum.", picture)
    return picture


def _discriminator_loss(f):
    real, fake = np.array([2.0, -1.0, 0.5]), np.array([-3.0, 0.3, 1.0])
    wanted = (np.logaddexp(0, -real).mean() + np.logaddexp(0, fake).mean()) / 2
    found = float(f(real, fake))
    if math.isclose(found, 2 * wanted, rel_tol=1e-4):
        raise _Hint("take the mean of the two, not their sum.")
    if not math.isclose(found, wanted, rel_tol=1e-4):
        raise _Hint(f"for logits {real} and {fake} it gives {found:.3f}, not {wanted:.3f}.")
    if not math.isclose(float(f(np.array([-1000.0]), np.array([1000.0]))), 1000):
        raise _Hint("a logit of 1000 overflows.")


def _speckle(f):
    smooth = np.stack([_mip()] * 3)
    noise = np.random.default_rng(0).normal(0, 1, smooth.shape)
    found = np.asarray(f(smooth + np.array([0, 0.3, 1.0])[:, None, None] * noise), float)
    _shape(found, (3,))
    if not (found[0] < found[1] < found[2] and found[2] > 1.5 * found[0]):
        raise _Hint("more noise must give a larger number.")


def _most_suspicious(f):
    rng = np.random.default_rng(3)
    generated, training = rng.random((40, 10, 6)), rng.random((25, 10, 6))
    generated[17] = training[4] + 0.01
    found = f(generated, training)
    if found == 4:
        raise _Hint("that is the training exam's index; the generated image's is asked for.")
    if found != 17:
        raise _Hint(f"image 17 is nearly a copy; yours says {found}.")


def _stretched_lerp(f):
    a, b = np.random.default_rng(5).standard_normal((2, 100)) * [[1.0], [1.2]]
    for t in (0.0, 0.3, 0.5, 1.0):
        straight = (1 - t) * a + t * b
        length = (1 - t) * np.linalg.norm(a) + t * np.linalg.norm(b)
        found = np.asarray(f(a, b, t), float)
        _shape(found, a.shape)
        if not math.isclose(np.linalg.norm(found), length, rel_tol=1e-3):
            raise _Hint(f"at t = {t} its length is {np.linalg.norm(found):.1f}, not {length:.1f}.")
        if not np.allclose(found / length, straight / np.linalg.norm(straight), atol=1e-3):
            raise _Hint(f"at t = {t} it does not point along the straight line.")


def _truncate(f):
    z = np.random.default_rng(6).standard_normal((4, 100))
    if not np.allclose(f(z.copy(), 0.5), 0.5 * z):
        raise _Hint("an amount of 0.5 should halve z.")
    length = np.linalg.norm(f(z.copy(), 3.0), axis=1)
    if length.max() > 12.01:
        raise _Hint(f"with an amount of 3 a z is {length.max():.0f} long.")
    wanted = 12 * z / np.linalg.norm(z, axis=1, keepdims=True)
    if not np.allclose(f(z.copy(), 3.0), wanted, atol=1e-4):
        raise _Hint("keep the direction of each z.")


CHECKS = {
    "window": _window,
    "from-the-side": _from_the_side,
    "transposed-convolution": _transposed_convolution,
    "discriminator-loss": _discriminator_loss,
    "speckle": _speckle,
    "most-suspicious": _most_suspicious,
    "stretched-lerp": _stretched_lerp,
    "truncate": _truncate,
}

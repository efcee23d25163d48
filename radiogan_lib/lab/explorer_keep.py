"""Frames that the explorer keeps: what is needed to draw one again, written with it and read back. Part of `lab.explorer`."""

from __future__ import annotations

from radiogan_lib import paths
from radiogan_lib.lab import saved
from radiogan_lib.lab.latent import ExplorerError


class Keeping:
    """Save and restore; the rest of the explorer has the controls and the frames."""

    @property
    def recipe(self) -> dict:
        """Everything needed to draw the present frame again with the same weights."""
        out = {
            "weights": self.space.weights_hash,
            "class_a": self.class_names[self.start[0]],
            "seed_a": self.start[1],
            "class_b": self.class_names[self.end[0]],
            "seed_b": self.end[1],
            "walk": self.kind.value,
            "steps": self.steps,
            "truncation": float(self.truncation.value),
            "step": int(self.step.value),
            "mode": self.mode.value,
            "window": list(self.window),
        }
        if self.mode.value == "edit":
            out |= {"from_step": self._origin_step, "direction": int(self.direction.value)}
        return out

    def save(self, suffix: str = "png"):
        """Write the present frame as `png` (as shown) or `nii.gz` (SUV), with its recipe inside; returns the path."""
        spacing = None
        if self.train is not None:
            spacing = [mm / n for mm, n in zip(self.train.field_of_view_mm, self.frames.shape[1:])]
        path = saved.write(
            self.folder, self.frames[self.step.value], self.recipe, suffix, spacing, self.window
        )
        self.saved_files.options = saved.files(self.folder)
        self.saved_files.value = path.name
        self._say(f"Saved {paths.shown(path)}. {self.describe(self.step.value)}", seen=True)
        return path

    def restore(self, name) -> None:
        """Set all controls from a saved frame (its file name, or a path).

        Raises:
            ExplorerError: no recipe in the file, or a class that this generator does not know.
        """
        recipe = saved.read(self.folder, name)
        for key in ("class_a", "class_b"):
            if recipe[key] not in self.class_names:
                raise ExplorerError(
                    f"{name} was made with the class {recipe[key]!r}, which this generator does not know."
                )

        def set_all():
            self.mode.value = "walk"
            self.class_a.value, self.class_b.value = (
                self.class_names.index(recipe[k]) for k in ("class_a", "class_b")
            )
            self.seed_a.value, self.seed_b.value = recipe["seed_a"], recipe["seed_b"]
            self.kind.value, self.truncation.value = recipe["walk"], recipe["truncation"]
            self.steps = int(recipe["steps"])
            self.low.value, self.high.value = recipe["window"]

        self._quietly(set_all)
        self._base_steps(self.steps, min(recipe.get("from_step", recipe["step"]), self.steps - 1))
        self._rewalk()
        if recipe["mode"] == "edit":
            self.mode.value = "edit"
            self.direction.value = recipe["direction"]
            self.step.value = recipe["step"]
        if recipe["weights"] != self.space.weights_hash:
            self._say(
                "Careful: this frame was made with other weights, so the picture is another. "
                + self.describe(self.step.value),
                seen=True,
            )

"""`python -m petsuv FOLDER`: the facts of an exam and its SUV range."""

import argparse
import sys
import warnings

import nibabel as nib
import numpy as np

import petsuv


def facts(path: str) -> list[str]:
    """What was read, by which rule, and which values came out; nothing identifies anybody."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the notes are printed below
        image = petsuv.read(path)
    values = np.asarray(image.dataobj)
    size = " x ".join(map(str, image.shape))
    voxel = " x ".join(f"{v:.4g}" for v in nib.affines.voxel_sizes(image.affine))
    lines = [f"volume     {size} voxels of {voxel} mm, RAS+, float32, SUVbw in g/ml"]
    if "suv" in image.extra:
        factor = image.extra["suv"]
        lines.append(f"rule       {factor.rule}, factor {factor.value:.9e}")
        lines += [f"           {step}" for step in factor.explanation]
    p50, p99, p999 = np.percentile(values[values > 0.05], [50, 99, 99.9])
    lines.append(
        f"SUV        {values.min():.4g} to {values.max():.4g}; above 0.05: "
        f"median {p50:.3g}, 99 % below {p99:.3g}, 99.9 % below {p999:.3g}"
    )
    return lines + [f"note       {note}" for note in image.extra.get("notes", [])]


def main(arguments: list[str] | None = None) -> int:
    """0 if every path was read, 1 if one was refused."""
    parser = argparse.ArgumentParser(prog="python -m petsuv", description=__doc__)
    parser.add_argument("paths", nargs="+", help="a DICOM folder, a NIfTI file, a study folder")
    given = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a path may hold characters that the terminal lacks
            stream.reconfigure(errors="replace")
    refused = 0
    for path in given.paths:
        try:
            print("\n".join([path, *facts(path)]))
        except petsuv.ExamError as error:
            refused = 1
            print(f"{path}\nrefused    {error}", file=sys.stderr)
    return refused


if __name__ == "__main__":
    sys.exit(main())

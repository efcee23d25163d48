"""`python -m petphantom lung/30017 --out exam.nii.gz` writes one exam and prints its lesions."""

import argparse

import petphantom


def main(argv: list[str] | None = None) -> None:
    """Write one exam as NIfTI, or the embedded cohort's manifest."""
    parser = argparse.ArgumentParser(prog="python -m petphantom", description=__doc__)
    parser.add_argument("exam", nargs="?", metavar="CLASS/SEED", help="such as lung/30017")
    parser.add_argument("--out", metavar="FILE", help="write it as .nii or .nii.gz")
    parser.add_argument(
        "--spacing-mm", type=float, default=0.0, help="isotropic voxels; 0 = the paper's grid"
    )
    parser.add_argument(
        "--manifest", metavar="CSV", help="write the embedded cohort with its checksums"
    )
    parser.add_argument(
        "--final", action="store_true", help="for --manifest: the exams for the final judgement"
    )
    parser.add_argument("--workers", type=int, help="processes for --manifest; default one a core")
    args = parser.parse_args(argv)
    if args.manifest:
        from petphantom.cohort import write_manifest

        print("wrote", write_manifest(args.manifest, args.workers, args.final))
        return
    if not args.exam:
        parser.error("name an exam, such as lung/30017, or give --manifest")
    try:
        name, seed = petphantom.parse("phantom:" + args.exam.removeprefix("phantom:"))
        if args.out:
            print("wrote", petphantom.write(args.out, name, seed, args.spacing_mm))
    except petphantom.PhantomError as error:
        parser.error(str(error))
    for lesion in petphantom.lesions(name, seed):
        x, y, z = lesion["centre_mm"]
        print(
            f"{lesion['kind']:7} {lesion['site']:24} SUV {lesion['suv']:5.1f}"
            f"  {lesion['diameter_mm']:4.0f} mm  at ({x:.0f}, {y:.0f}, {z:.0f}) mm"
        )


if __name__ == "__main__":
    main()

"""RadioGAN reproduced: a conditional DCGAN on FDG-PET projections, and the tests that judge it.

Importing this package loads no TensorFlow; `radiogan_lib.gan` does. Start with
notebooks/00_start_here.ipynb.
"""

__version__ = "0.1.0"

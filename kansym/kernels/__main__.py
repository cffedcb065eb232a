"""`python -m kansym.kernels` compiles the C kernels."""

import sys

from kansym.kernels.build import build

try:
    for path in build():
        print(path)
except RuntimeError as error:
    sys.exit(f"kansym works without its C kernels, only slower. {error}")

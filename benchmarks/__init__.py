"""Lets `python -m benchmarks.NAME` find the modules beside NAME, as `python benchmarks/NAME.py`
does by itself. The modules import each other by their plain names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

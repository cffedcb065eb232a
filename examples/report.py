"""A report: one HTML page about a law that was found, to read, print and send.

Run from anywhere: python examples/report.py [PATH]. The page goes to report.html in a temporary
folder, or to PATH; a picture of it goes to figures/ where Chromium is installed.
"""

import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from kansym import KANRegressor

FIGURES = Path(__file__).resolve().parent.parent / "figures"


def main(path: Path | None = None, figures: Path = FIGURES, max_time: float = 20.0) -> Path:
    """The file of the report."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"m": rng.uniform(1, 5, 500), "v": rng.uniform(1, 4, 500)})
    X["t"] = rng.uniform(0.5, 3, 500)
    y = (X["m"] * X["v"] ** 2 / (2 * X["t"]) + rng.normal(0, 0.2, 500)).rename("P")
    units = {"m": "kg", "v": "m/s", "t": "s", "P": "W"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = KANRegressor(max_time=max_time, units=units, progress=False).fit(X, y)
    print(f"{est.formula_}\n{est.verdict_}: {est.reason_}")
    path = path or Path(tempfile.mkdtemp()) / "report.html"
    report = est.report(path, title="The power it takes to set a mass in motion")
    print(f"{report}, {report.stat().st_size / 1000:.0f} kB")
    take_picture(report, figures / "gallery_report.png")
    return report


def take_picture(report: Path, picture: Path) -> None:
    """What Chromium shows of a page, where there is one."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("no picture: Chromium is not installed")
        return
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={profile}"]
        size = ["--window-size=1100,1750", "--force-device-scale-factor=1"]
        shot = f"--screenshot={picture}"
        subprocess.run(
            [chromium, *options, *size, shot, report.as_uri()], check=True, capture_output=True
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)

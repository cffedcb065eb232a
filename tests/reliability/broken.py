"""See every row fail: python tests/reliability/broken.py [ROW ...]

For each break below, what a row guards is broken in a copy of the repository, where tests that pass
otherwise must fail. Prints a line of Markdown for each, as in docs/reliability.md; exits 1 when
a break goes unnoticed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUTCOMES = ("passed", "failed")
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "demo-out", "figures", "__pycache__")


@dataclass(frozen=True)
class Break:
    row: str  # R1
    what: str  # is broken
    tests: str  # an expression for pytest -k
    file: str  # in kansym/
    old: str  # found there once
    new: str


BREAKS = (
    Break(
        "R1",
        "`predict` takes the number of columns anew, as `fit` does",
        "all_checks and Regressor and not settings",
        "estimator/inputs.py",
        "reset=is_fit",
        "reset=True",
    ),
    Break(
        "R2",
        "only NaN is looked for in numbers, not infinity",
        "inf",
        "arrays.py",
        "bad = ~values.isfinite()",
        "bad = values.isnan()",
    ),
    Break(
        "R3",
        "targets of another shape are reshaped to the rows of X",
        "other_shapes",
        "arrays.py",
        "    _check_rows(len(values), n_rows, argument)\n",
        "    values = values.reshape(n_rows, -1)\n",
    ),
    Break(
        "R4",
        "columns keep their units, whatever their range",
        "a_network_of_scaled_data and both",
        "scaling.py",
        "keep = fits & (not always)",
        "keep = torch.ones_like(fits)",
    ),
    Break(
        "R5",
        "a column that does not vary is divided by its range",
        "a_network and constant",
        "scaling.py",
        "varies = half > noise.clamp(min=finfo.tiny)",
        "varies = half >= 0",
    ),
    Break(
        "R6",
        "a tensor is not copied",
        "changed_afterwards",
        "arrays.py",
        "data.detach().to(dtype, copy=True)",
        "data.detach().to(dtype)",
    ),
    Break(
        "R7",
        "Levenberg-Marquardt looks at the value of its model alone, not at slope and curvature",
        "normal_equations_of_nan",
        "training/lm.py",
        "if not model.is_finite:",
        "if not math.isfinite(model.value):",
    ),
    Break(
        "R8",
        "batches are drawn from the global random state",
        "batches",
        "training/loop.py",
        "self.generator = torch.Generator().manual_seed(options.seed)",
        "self.generator = torch.default_generator",
    ),
    Break(
        "R9",
        "a fit that goes on forgets its steps without a gain",
        "about_to_converge",
        "training/lm.py",
        'self.mu, self.growth, self._stalls = state["mu"], state["growth"], state["stalls"]',
        'self.mu, self.growth = state["mu"], state["growth"]',
    ),
    Break(
        "R9",
        "steps within one that was taken over keep their numbers",
        "within_steps",
        "discovery/journal.py",
        "            self.begun = record.following\n",
        "",
    ),
    Break(
        "R10",
        "what could not be written is left beside its place",
        "no_space_left",
        "files.py",
        "            temporary.unlink(missing_ok=True)",
        "            pass",
    ),
    Break(
        "R10",
        "the lock of a folder is made, but not asked for",
        "in_use",
        "files.py",
        "        lock.acquire(blocking=False)",
        "        lock.is_locked",
    ),
    Break(
        "R11",
        "the seal of a search's file is read and not compared",
        "damaged_file and search",
        "discovery/checkpoint.py",
        'state.pop("seal", None) != _seal(state)',
        'state.pop("seal", None) is None',
    ),
    Break(
        "R12",
        "formulas in a sealed file are not looked at before the search",
        "formula or as_it_is",
        "discovery/checkpoint.py",
        "                entries_of(step)\n",
        "                pass\n",
    ),
    Break(
        "R12",
        "arrays of a network may have any shape",
        "malicious_file and shape",
        "checkpoint.py",
        "    _check_shapes(specs, _expected_shapes(width, arity, layers), dtype)\n",
        "",
    ),
    Break(
        "R13",
        "letters that look like others are read as those",
        "look-alike",
        "estimator/forms.py",
        'if "\\0" in self.text or unicodedata.normalize("NFKC", self.text) != self.text:',
        'if "\\0" in self.text:',
    ),
    Break(
        "R14",
        "a dollar sign is not escaped in LaTeX",
        "latex and (dollar or maths)",
        "symbolic/names.py",
        r'"$": r"\$", ',
        "",
    ),
    Break(
        "R15",
        "exports write eight digits",
        "inside and affine",
        "symbolic/exports/code.py",
        "        return repr(value)\n",
        '        return f"{value:.8g}"\n',
    ),
    Break(
        "R16",
        "an index may count from the end",
        "test_edges",
        "errors.py",
        "not 0 <= number < count",
        "not -count <= number < count",
    ),
    Break(
        "R17",
        "what is left may be 20 % of y's spread and still be called rounding",
        "test_formulas",
        "discovery/verdict.py",
        "EXACT = 1e-9 ",
        "EXACT = 0.2 ",
    ),
    Break(
        "R18",
        "pyplot knows every picture, and keeps it",
        "thirty",
        "views/axes.py",
        "    figure = Picture(**options)\n",
        "    from matplotlib import pyplot\n\n"
        "    figure = pyplot.figure(FigureClass=Picture, **options)\n",
    ),
)


def main(rows):
    unnoticed = 0
    print("| row | what was broken | cases | failed |\n|---|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repository"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        for broken in BREAKS:
            if not rows or broken.row in rows:
                cases, failed = counts(copy, broken)
                unnoticed += not failed
                print(f"| {broken.row} | {broken.what} | {cases} | {failed} |", flush=True)
    return bool(unnoticed)


def counts(copy, broken):
    """How many cases ran, and how many of them failed."""
    path = copy / "kansym" / broken.file
    sound = path.read_text(encoding="utf-8")
    if sound.count(broken.old) != 1:
        raise SystemExit(f"{broken.row}: {broken.file} must hold once: {broken.old}")
    path.write_text(sound.replace(broken.old, broken.new), encoding="utf-8")
    try:
        last = last_line(copy, broken)
    finally:
        path.write_text(sound, encoding="utf-8")
    passed, failed = (int((re.findall(rf"(\d+) {o}", last) or [0])[0]) for o in OUTCOMES)
    return passed + failed, failed


def last_line(copy, broken):
    """What pytest says at the end: "3 failed, 2 passed"."""
    (file,) = (copy / "tests" / "reliability").glob(f"test_r{int(broken.row[1:]):02d}_*.py")
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", str(file), "-k", broken.tests]
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

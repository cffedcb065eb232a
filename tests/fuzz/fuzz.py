"""Fuzz one target, guided by coverage: python tests/fuzz/fuzz.py TARGET FOLDER --seconds 600

FOLDER keeps what was found: inputs that reached new code in corpus/, and what failed as crash-*.
Needs atheris (pip install kansym[fuzz]). A failure worth keeping goes to tests/fuzz/corpus/TARGET/.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import atheris

INSTRUMENTED = ["kansym", "zipfile", "json", "csv", "pandas.io"]
HERE = Path(__file__).parent

with atheris.instrument_imports(include=INSTRUMENTED):
    import targets


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=targets.TARGETS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=int, default=600)
    args = parser.parse_args()
    found = args.folder / "corpus"
    found.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(targets.seeds(args.target)):
        (found / f"seed-{i}").write_bytes(seed)
    words = "\n".join(f'"{word}"' for word in map(_quoted, targets.WORDS[args.target]))
    (args.folder / "words").write_text(words)
    # A single piece of memory above 200 MB is a fault.
    options = [
        f"-max_total_time={args.seconds}", "-max_len=8192", "-timeout=10", "-rss_limit_mb=4096",
        "-malloc_limit_mb=200", f"-artifact_prefix={args.folder}/",
        f"-dict={args.folder}/words", "-print_final_stats=1",
    ]  # fmt: skip
    kept = HERE / "corpus" / args.target
    atheris.Setup([sys.argv[0], *options, str(found), str(kept)], _one_input)
    atheris.Fuzz()


def _quoted(word):
    return word.replace('"', '\\"')


def _one_input(data):
    try:
        targets.check(sys.argv[1], data)
    except BaseException:  # atheris itself does not always come to write it
        name = f"crash-{hashlib.sha256(data).hexdigest()[:12]}"
        (Path(sys.argv[2]) / name).write_bytes(data)
        raise


if __name__ == "__main__":
    main()

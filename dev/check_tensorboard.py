#!/usr/bin/env python3
"""Reads the event files mira writes with TensorBoard's own reader.

Usage: dev/check_tensorboard.py

Makes its own virtual environment under target/ (pinned TensorBoard; a download the first time), has the example `events` write two files as
a run and its resumption would, and checks tags, steps and values. Exit code 1 if one differs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "tensorboard-venv"
PINNED = ["tensorboard==2.20.0", "setuptools==80.9.0"]


def in_venv():
    """Makes the environment if it is not there or not finished, and runs this script inside it."""
    python = VENV / "bin" / "python"
    done = VENV / "installed.txt"
    if not (done.exists() and done.read_text() == "\n".join(PINNED)):
        print("installing", *PINNED, "into", VENV.relative_to(ROOT), file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINNED], check=True)
        done.write_text("\n".join(PINNED))
    os.execv(python, [str(python), __file__, *sys.argv[1:]])


def main():
    if Path(sys.prefix) != VENV:
        in_venv()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tempfile.TemporaryDirectory() as folder:
        command = ["cargo", "run", "--quiet", "-p", "mira-train", "--example", "events", "--", folder]
        subprocess.run(command, cwd=ROOT, check=True)
        events = EventAccumulator(folder, size_guidance={"scalars": 0})
        events.Reload()
        found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    expected = {
        # Steps 0-99; the run was resumed at 80 and made 80-119 again, with other values.
        "train/loss": [(s, 5.0 - s / 64) for s in range(80)] + [(s, 7.0 - s / 64) for s in range(80, 120)],
        "train/lr": [(s, 0.5) for s in range(120)],
        "eval/knn_top1/trained": [(120, 0.75)],
    }
    if found != expected:
        for tag in sorted(found.keys() | expected.keys()):
            if found.get(tag) != expected.get(tag):
                print(f"{tag}: found {found.get(tag)}\nexpected {expected.get(tag)}", file=sys.stderr)
        sys.exit(1)
    print("TensorBoard reads", sum(map(len, found.values())), "scalars of", len(found), "tags as they were written")


if __name__ == "__main__":
    main()

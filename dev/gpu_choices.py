#!/usr/bin/env python3
"""Times mira's CUDA backend with less of the device than it takes by itself, to see what its choices are worth: no PyTorch needed.

Usage: gpu_choices.py --worker FILE [--seconds 40] [--repeats 10] [--json FILE] [--shapes BxK,...]

FILE is the built `gpu_worker` (benches/gpu_worker.rs). A launch takes as many blocks as it has rows for, one a multiprocessor, and each keeps as many rows in shared memory as find room. More
blocks have fewer rows each, and more of them wait for each other between passes. So each shape is timed with all multiprocessors and with three quarters, a half and a quarter of them, and with all
of them but a half and a fourth of the shared memory, from which rows are computed anew in each pass. `of all` above 1 is slower than what is chosen; a line that is faster by more than 3 % is marked, for
then the choice should change (mira-cuda/src/plan/layout.rs). Times are medians of runs back to back. Exit code 1 if there was no answer.
"""

import argparse
import array
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from gpu_compare import NoAnswer, Worker, shapes

SHAPES = [(512, 3000), (4096, 3000), (256, 300), (2048, 1000), (1024, 8192)]
METHODS = ["mira-certified", "sinkhorn-sweeps 30"]
ALL = 2**32 - 1
# Shares of the multiprocessors, and of 227 KiB of shared memory.
SHARES = [(1, 1), (3 / 4, 1), (1 / 2, 1), (1 / 4, 1), (1, 1 / 2), (1, 1 / 4)]
SHARED_BYTES = 227 << 10


def write_logits(file, batch, num_prototypes):
    """Rows are windows of three times as many uniform numbers, which takes no time."""
    values = array.array("f", (random.uniform(-0.3, 0.3) for _ in range(3 * num_prototypes)))
    with open(file, "wb") as out:
        for _ in range(batch):
            start = random.randrange(2 * num_prototypes)
            out.write(values[start : start + num_prototypes].tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--patience", type=float, default=60)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--shapes", type=shapes, default=SHAPES)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    end = time.monotonic() + options.seconds
    worker, rows, failed, left_out = Worker(options.worker, options.patience, end), [], 0, 0
    try:
        device = worker.ask("device")
    except NoAnswer as error:
        sys.exit(f"error: {error}")
    print(f"{device['name']}, {device['multiprocessors']} multiprocessors")
    print(f"{'shape':>11} {'method':<20}{'multiprocessors':>16}{'shared KiB':>12}{'ms':>10}{'of all':>8}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "logits"
        for batch, num_prototypes in options.shapes:
            write_logits(file, batch, num_prototypes)
            for method in METHODS:
                of_all = None
                for multiprocessors, shared in SHARES:
                    if time.monotonic() > end:
                        left_out += 1
                        continue
                    part = max(1, round(multiprocessors * device["multiprocessors"]))
                    num_bytes = ALL if shared == 1 else int(shared * SHARED_BYTES)
                    try:
                        worker.ask(f"load {batch} {num_prototypes} f32 {file}")
                        worker.ask(f"confine {part} {num_bytes}")
                        answer = worker.ask(f"time {options.repeats} {method}")
                    except NoAnswer as error:
                        if time.monotonic() > end:
                            left_out += 1
                            continue
                        failed += 1
                        print(f"{batch}x{num_prototypes} {method}: failed, {error}", flush=True)
                        continue
                    taken = answer["milliseconds"]
                    if (multiprocessors, shared) == (1, 1):
                        of_all = taken
                    row = dict(batch=batch, num_prototypes=num_prototypes, method=method, multiprocessors=part, shared_bytes=min(num_bytes, SHARED_BYTES), **answer)
                    rows.append(row)
                    print(
                        f"{f'{batch}x{num_prototypes}':>11} {method:<20}{part:>16}{row['shared_bytes'] / 1024:>12.0f}{taken:>10.4f}" + (f"{taken / of_all:>8.2f}" + (" FASTER" if taken < 0.97 * of_all else "") if of_all else f"{'-':>8}"),
                        flush=True,
                    )
                    if options.json:
                        new = options.json.with_name(options.json.name + ".new")
                        new.write_text(json.dumps(dict(device=device, rows=rows), indent=1) + "\n")
                        new.replace(options.json)
    worker.stop()
    print(f"{len(rows)} rows, {failed} failed, {left_out} left out")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

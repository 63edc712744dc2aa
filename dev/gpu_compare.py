#!/usr/bin/env python3
"""Times mira's CUDA backend beside PyTorch on the same device and inputs, eager and compiled, against the time of one copy.

Usage: gpu_compare.py --worker FILE [--seconds 240] [--repeats 20] [--json FILE]

FILE is the built `gpu_worker` (benches/gpu_worker.rs). Without PyTorch the columns of PyTorch stay empty. `copy` reads and writes the
logits once on the device: no assignment can be faster. Stops starting new rows after --seconds.
Exit code 1 if an assignment differs from PyTorch's by more than 1e-5 in total variation.
"""

import argparse
import array
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHAPES = [(512, 3000), (4096, 3000), (4096, 65536)]
EPSILON = 0.05


def mira(torch, logits, sweeps=30, temperature=0.225, beta=2 / 3):
    """Eq. 7, as published, in f32."""
    k = torch.softmax(logits.float() / (temperature * (1 - beta)), dim=1)
    u = k.mean(dim=0).pow(1 - beta)
    for _ in range(sweeps):
        v = u.pow(-beta / (1 - beta))
        u = (k / (k @ v).unsqueeze(1)).mean(dim=0).pow(1 - beta)
    w = k * u.pow(-beta / (1 - beta))
    return w / w.sum(dim=1, keepdim=True)


def sinkhorn(torch, logits, sweeps=3):
    """The loop of SwAV, on one process."""
    q = torch.exp(logits.float() / EPSILON).t()
    num_prototypes, batch = q.shape
    q = q / q.sum()
    for _ in range(sweeps):
        q = q / q.sum(dim=1, keepdim=True) / num_prototypes
        q = q / q.sum(dim=0, keepdim=True) / batch
    return (q * batch).t()


def softmax(torch, logits):
    return torch.softmax(logits.float() / 0.225, dim=1)


CASES = [
    ("MIRA, certified 1e-5", mira, "mira-certified"),
    ("MIRA, 30 sweeps", mira, "mira-sweeps 30"),
    ("Sinkhorn, 3 sweeps", sinkhorn, "sinkhorn-sweeps 3"),
    ("softmax", softmax, "softmax"),
]


class Worker:
    """The Rust side, asked over a pipe."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"error: the worker ended on: {request}")
        return json.loads(answer)


def milliseconds(torch, run, repeats):
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def make_logits(torch, batch, num_prototypes, dtype, file):
    """Cosines of unit vectors around 100 long-tailed cluster centres with random unit prototypes."""
    if torch is None:
        values = array.array("f", (random.uniform(-0.3, 0.3) for _ in range(num_prototypes)))
        with open(file, "wb") as out:
            for _ in range(batch):
                random.shuffle(values)
                data = values.tobytes()
                if dtype == "bf16":
                    data = b"".join(data[i + 2 : i + 4] for i in range(0, len(data), 4))
                out.write(data)
        return None
    torch.manual_seed(0)
    centres = torch.randn(100, 256, device="cuda")
    label = torch.multinomial(1 / torch.arange(1.0, 101, device="cuda"), batch, replacement=True)
    features = torch.nn.functional.normalize(centres[label] + torch.randn(batch, 256, device="cuda"), dim=1)
    prototypes = torch.nn.functional.normalize(torch.randn(num_prototypes, 256, device="cuda"), dim=1)
    logits = (features @ prototypes.t()).contiguous()
    if dtype == "bf16":
        logits = logits.bfloat16()
        Path(file).write_bytes(logits.view(torch.int16).cpu().numpy().tobytes())
    else:
        Path(file).write_bytes(logits.cpu().numpy().tobytes())
    return logits


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        import torch

        if not torch.cuda.is_available():
            torch = None
    except ImportError:
        torch = None
    started = time.monotonic()
    worker = Worker(options.worker)
    device = worker.ask("device")
    print(f"{device['name']}, {device['multiprocessors']} multiprocessors; " + (f"PyTorch {torch.__version__}" if torch else "no PyTorch with CUDA"))
    head = f"{'shape':>11} {'logits':<6} {'method':<21}{'mira ms':>9}{'copies':>8}{'eager':>9}{'ratio':>7}{'compiled':>10}{'ratio':>7}{'passes':>8}{'bound':>9}{'max TV':>9}"
    print(head + "\n" + "-" * len(head), flush=True)
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "array"
        for batch, num_prototypes in SHAPES:
            for dtype in ("f32", "bf16"):
                if time.monotonic() - started > options.seconds:
                    print(f"{batch}x{num_prototypes} {dtype}: left out, out of time")
                    continue
                if torch is None and batch * num_prototypes > 1 << 25:
                    print(f"{batch}x{num_prototypes} {dtype}: left out, PyTorch makes the large inputs")
                    continue
                logits = make_logits(torch, batch, num_prototypes, dtype, file)
                worker.ask(f"load {batch} {num_prototypes} {dtype} {file}")
                floor = worker.ask(f"copy {options.repeats}")["milliseconds"]
                for name, reference, request in CASES:
                    ours = worker.ask(f"time {options.repeats} {request}")
                    row = dict(batch=batch, num_prototypes=num_prototypes, logits=dtype, method=name, copy_milliseconds=floor, **ours)
                    eager = compiled = distance = None
                    if torch is not None:
                        with torch.inference_mode():
                            eager = milliseconds(torch, lambda: reference(torch, logits), options.repeats)
                            worker.ask(f"save {file}")
                            saved = torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.float32)
                            theirs = reference(torch, logits)
                            saved = saved.to("cuda").reshape(batch, num_prototypes)
                            distance = float((saved - theirs).abs().sum(dim=1).max() / 2)
                            del saved, theirs
                            wrong += not distance <= 1e-5
                            try:
                                fast = torch.compile(lambda x, f=reference: f(torch, x))
                                compiled = milliseconds(torch, lambda: fast(logits), options.repeats)
                            except Exception as error:  # compilers need a C compiler, which a host may lack
                                print(f"torch.compile failed: {type(error).__name__}: {str(error).splitlines()[0][:120]}", file=sys.stderr)
                    mine = ours["milliseconds"]
                    cell = lambda value, form: "-" if value is None else format(value, form)
                    ratio = lambda value: "-" if value is None else f"{value / mine:.1f}x"
                    print(
                        f"{f'{batch}x{num_prototypes}':>11} {dtype:<6} {name:<21}{mine:>9.4f}{f'{mine / floor:.1f}x':>8}{cell(eager, '.3f'):>9}{ratio(eager):>7}"
                        f"{cell(compiled, '.3f'):>10}{ratio(compiled):>7}{ours['passes']:>8}{ours['log_ratio_bound']:>9.1e}{cell(distance, '.1e'):>9}",
                        flush=True,
                    )
                    rows.append(dict(row, eager_milliseconds=eager, compiled_milliseconds=compiled, max_tv=distance))
                    if options.json:
                        options.json.write_text(json.dumps(dict(device=device, torch=getattr(torch, "__version__", None), rows=rows), indent=1) + "\n")
    if wrong:
        sys.exit(f"error: {wrong} assignments differ from PyTorch's by more than 1e-5 in total variation")


if __name__ == "__main__":
    main()

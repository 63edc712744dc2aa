#!/usr/bin/env python3
"""Times mira's CUDA backend beside PyTorch on the same device and inputs, eager and compiled, against the time of one copy.

Usage: gpu_compare.py --worker FILE [--seconds 240] [--repeats 20] [--json FILE] [--no-compile | --only-compile | --timeline DIR] [--shapes BxK,...]

FILE is the built `gpu_worker` (benches/gpu_worker.rs). Without PyTorch the columns of PyTorch stay empty; where PyTorch fails, those of that row. `copy`
reads and writes the logits once on the device: no assignment can be faster. (Of bf16 logits it writes 2 bytes an element, an assignment 4.) What fits in L2
stays there between runs, for copy, mira and PyTorch alike, as what a network has just computed does: at 512x3000 `copies` are not those of DRAM. So each case
of inputs that fit is timed again, as `cold`, going round as many of them as are three times L2. Times are medians of --repeats samples, each of as many runs back to back as take 2 ms,
after 0.3 s of them; quartiles are in the JSON. `alone` is one on an idle stream, the host's launch included; `after` one of mira's right after kernels of other shapes and a write of four times
L2, as in training, or worse. `graph` is eager PyTorch's launches replayed from a CUDA graph: what the device takes when it does not wait for Python. torch.compile comes last, when all else is
there, with and without such a graph; with --only-compile it is added to the rows that an earlier run has left in the JSON. In the end the targets are held against what was measured.
With --timeline a table a case says what blocks did in each pass
instead, in cycles, half of the blocks as long or less: `weights`, `sums` and `scalars` are waited for, `rows`, `images`, `decision` and `telling` are work. DIR is
one that `dev/check_kernels --diagnose` made; telling takes some 4 % of a run at 512x3000. Nothing is begun after --seconds; what there is is written after
each case. A worker that ends, or says nothing for --patience seconds, costs a case and is started anew.
Exit code 1 if an assignment differs from PyTorch's by more than 1e-5 in total variation, or from run to run in any bit, or a case had no bound, a
certified one a bound above 1e-5, or no answer.
"""

import argparse
import itertools
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_pytorch import TEMPERATURE, cross_entropy, going_round, graphed, make_logits, mira, sinkhorn, softmax, timed
from gpu_targets import verdicts

SHAPES = [(512, 3000), (4096, 3000), (4096, 65536)]
CASES = [
    ("MIRA, certified 1e-5", mira, "mira-certified"),
    ("MIRA, 30 sweeps", mira, "mira-sweeps 30"),
    ("Sinkhorn, 3 sweeps", sinkhorn, "sinkhorn-sweeps 3"),
    ("softmax", softmax, "softmax"),
]


class NoAnswer(Exception):
    pass


class Worker:
    """The Rust side, asked over a pipe; started when it is first asked, and again after it failed."""

    def __init__(self, path, patience, end):
        self.path, self.patience, self.end, self.process = path, patience, end, None

    def ask(self, request):
        if self.process is None:
            try:
                self.process = subprocess.Popen([self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            except OSError as error:
                sys.exit(f"error: {self.path} does not start ({error.strerror}); it is what `cargo bench --no-run --bench gpu_worker` builds")
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # there is no answer then
        # One answer a request, so nothing is left in a buffer between them.
        patience = max(2.0, min(self.patience, self.end - time.monotonic()))
        if not select.select([self.process.stdout], [], [], patience)[0]:
            self.stop()
            raise NoAnswer(f"no answer for {patience:.0f} s to: {request}")
        answer = self.process.stdout.readline()
        if not answer:
            self.stop()
            raise NoAnswer(f"the worker ended on: {request}")
        return json.loads(answer)

    def stop(self):
        if self.process is not None:
            process, self.process = self.process, None
            process.kill()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                pass  # the driver does not let it go


# Seconds that must be left for torch.compile to be begun.
COMPILE = 10


def folder_for(num_bytes):
    """Memory if there is room, for the largest arrays take a gigabyte; else None, the usual place."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 1.2 * num_bytes else None


def first_line(error):
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"


def cell(value, form):
    return "-" if value is None else format(value, form)


def ratio(value, mine):
    return "-" if value is None or not mine else f"{value / mine:.1f}x"


class Comparison:
    def __init__(self, torch, options):
        self.torch, self.options = torch, options
        self.end = options.started + options.seconds
        self.worker = Worker(options.worker, options.patience, self.end)
        self.device, self.rows, self.failed = None, [], []

    def is_over(self, what, needs=0.0):
        over = time.monotonic() + needs > self.end
        if over:
            print(f"{what}: left out, out of time", flush=True)
        return over

    def problems(self):
        """Shapes, types and data, but those left out."""
        for batch, num_prototypes in self.options.shapes:
            for dtype, data in [("f32", "random"), ("bf16", "random"), ("f32", "trained")]:
                what = f"{batch}x{num_prototypes} {dtype} {data}"
                if self.torch is None and (data == "trained" or batch * num_prototypes > 1 << 25):
                    print(f"{what}: left out, PyTorch makes such inputs", flush=True)
                elif not self.is_over(what):
                    yield batch, num_prototypes, dtype, data

    def inputs(self, problem, file):
        """The logits on PyTorch's device, if it can make them, and whether there are any in the file."""
        what = "{}x{} {} {}".format(*problem)
        try:
            return make_logits(self.torch, *problem, file), True
        except Exception as error:  # out of memory, say, or a device that is another's alone
            self.fail(f"{what}, inputs by PyTorch", first_line(error))
        batch, num_prototypes, _, data = problem
        if data == "trained" or batch * num_prototypes > 1 << 25:
            return None, False
        return make_logits(None, *problem, file), True

    def write(self):
        if self.options.json:
            host = self.options.host.read_text().splitlines() if self.options.host else None
            found = dict(date=time.strftime("%Y-%m-%d", time.gmtime()), host=host, device=self.device, torch=getattr(self.torch, "__version__", None), rows=self.rows)
            new = self.options.json.with_name(self.options.json.name + ".new")
            new.write_text(json.dumps(found, indent=1) + "\n")
            new.replace(self.options.json)

    def fail(self, what, error):
        self.failed.append(what)
        print(f"{what}: failed, {error}", flush=True)

    def assignments(self, file):
        self.device = self.worker.ask("device")
        torch, repeats = self.torch, self.options.repeats
        print(f"{self.device['name']}, {self.device['multiprocessors']} multiprocessors; " + (f"PyTorch {torch.__version__}" if torch else "no PyTorch with CUDA"))
        head = f"{'shape':>11} {'logits':<6} {'data':<8} {'method':<21}{'mira ms':>9}{'alone':>9}{'after':>9}{'copies':>8}{'eager':>9}{'ratio':>7}{'graph':>9}{'ratio':>7}{'cold':>9}{'copies':>8}{'eager':>9}{'ratio':>7}{'passes':>8}{'a pass':>9}{'bound':>9}{'max TV':>9}"
        print(head + "\n" + "-" * len(head), flush=True)
        for batch, num_prototypes, dtype, data in self.problems():
            (logits, is_there), floor = self.inputs((batch, num_prototypes, dtype, data), file), None
            if not is_there:
                continue
            kept = Path(str(file) + "-logits")
            file.replace(kept)
            for name, reference, request in CASES:
                if data == "trained" and reference is not mira:
                    continue  # takes as long whatever the data
                what = f"{batch}x{num_prototypes} {dtype} {data} {name}"
                if self.is_over(what):
                    continue
                try:
                    if floor is None or self.worker.process is None:
                        self.worker.ask(f"load {batch} {num_prototypes} {dtype} {kept}")
                        floor = self.worker.ask(f"copy {repeats}")["milliseconds"]
                        moved = batch * num_prototypes * (8 if dtype == "f32" else 4)
                        print(f"{f'{batch}x{num_prototypes}':>11} {dtype:<6} {data:<8} {'a copy':<21}{floor:>9.4f} ms, {moved / floor * 1e-9:.2f} TB/s", flush=True)
                    ours = self.worker.ask(f"time {repeats} {request}")
                    if logits is not None:
                        self.worker.ask(f"save {file}")
                except NoAnswer as error:
                    self.fail(what, error)
                    continue
                eager = quartiles = alone = graph = distance = None
                if logits is not None:
                    try:
                        with torch.inference_mode():
                            saved = torch.from_file(str(file), size=batch * num_prototypes, dtype=torch.float32)
                            saved = saved.to("cuda").reshape(batch, num_prototypes)
                            distance = float((saved - reference(torch, logits)).abs().sum(dim=1).max() / 2)
                            del saved
                            eager, quartiles, alone = timed(torch, lambda: reference(torch, logits), repeats)
                    except Exception as error:  # out of memory, say: what mira took is known all the same
                        self.fail(f"{what}, eager", first_line(error))
                    try:
                        with torch.inference_mode():
                            graph, _, _ = timed(torch, graphed(torch, lambda: reference(torch, logits)), repeats)
                    except Exception as error:
                        self.fail(f"{what}, eager as a graph", first_line(error))
                    if distance is not None and not distance <= 1e-5:
                        self.failed.append(what)
                mine, bound = ours["milliseconds"], ours["log_ratio_bound"]
                if bound is None:  # infinite, or no number
                    self.failed.append(f"{what}: no bound")
                elif "certified" in request and not bound <= 1e-5:
                    self.failed.append(f"{what}: bound {bound:.1e}")
                after = self.after(what, request)
                cold, floor_cold, eager_cold = self.cold(what, (batch, num_prototypes), request, reference, logits)
                row = dict(batch=batch, num_prototypes=num_prototypes, logits=dtype, data=data, method=name, copy_milliseconds=floor, **ours)
                finite = distance if distance is None or math.isfinite(distance) else str(distance)
                row.update(cold_milliseconds=cold, copy_cold_milliseconds=floor_cold, eager_cold_milliseconds=eager_cold, after_milliseconds=after)
                row.update(eager_quartiles=quartiles, graphed_milliseconds=graph)
                self.rows.append(dict(row, eager_milliseconds=eager, eager_latency_milliseconds=alone, compiled_milliseconds=None, max_tv=finite))
                self.write()
                print(
                    f"{f'{batch}x{num_prototypes}':>11} {dtype:<6} {data:<8} {name:<21}{mine:>9.4f}{ours['latency_milliseconds']:>9.4f}{cell(after, '.4f'):>9}{f'{mine / floor:.1f}x':>8}"
                    f"{cell(eager, '.3f'):>9}{ratio(eager, mine):>7}{cell(graph, '.3f'):>9}{ratio(graph, mine):>7}{cell(cold, '.4f'):>9}{ratio(cold, floor_cold):>8}{cell(eager_cold, '.3f'):>9}{ratio(eager_cold, cold):>7}{ours['passes']:>8}{mine / max(ours['passes'], 1):>9.4f}{cell(bound, '.1e'):>9}{cell(distance, '.1e'):>9}",
                    flush=True,
                )
            self.loss((batch, num_prototypes, dtype, data), file, floor, logits)
            kept.unlink()
            file.unlink(missing_ok=True)
        # It holds memory that PyTorch may need.
        self.worker.stop()

    def loss(self, problem, file, floor, logits):
        """The cross-entropy against the last labels, which training needs next, with its gradient."""
        batch, num_prototypes, dtype, data = problem
        what = f"{batch}x{num_prototypes} {dtype} {data} cross-entropy"
        if floor is None or self.worker.process is None or self.is_over(what, 2):
            return
        try:
            ours = self.worker.ask(f"loss {self.options.repeats} {TEMPERATURE}")
        except NoAnswer as error:
            return self.fail(what, error)
        mine, eager, quartiles, alone = ours["milliseconds"], None, None, None
        if logits is not None and file.exists():
            try:
                labels = self.torch.from_file(str(file), size=batch * num_prototypes, dtype=self.torch.float32)
                labels = labels.to("cuda").reshape(batch, num_prototypes)
                theirs = float(cross_entropy(self.torch, logits, labels)[0].detach())
                if not abs(theirs - ours["loss"]) <= 1e-4 * abs(theirs):
                    self.fail(what, f"{ours['loss']} is not PyTorch's {theirs}")
                eager, quartiles, alone = timed(self.torch, lambda: cross_entropy(self.torch, logits, labels), self.options.repeats)
            except Exception as error:
                self.fail(f"{what}, eager", first_line(error))
        row = dict(batch=batch, num_prototypes=num_prototypes, logits=dtype, data=data, method="cross-entropy", copy_milliseconds=floor, **ours)
        self.rows.append(dict(row, eager_milliseconds=eager, eager_quartiles=quartiles, eager_latency_milliseconds=alone))
        self.write()
        print(
            f"{f'{batch}x{num_prototypes}':>11} {dtype:<6} {data:<8} {'loss and gradient':<21}{mine:>9.4f}{ours['latency_milliseconds']:>9.4f}{'-':>9}"
            f"{f'{mine / floor:.1f}x':>8}{cell(eager, '.3f'):>9}{ratio(eager, mine):>7}",
            flush=True,
        )

    def after(self, what, request):
        """Milliseconds of mira right after other work."""
        if self.worker.process is None or self.is_over(f"{what}, after", 2):
            return None
        try:
            return self.worker.ask(f"after {self.options.repeats} {request}")["milliseconds"]
        except NoAnswer as error:
            return self.fail(f"{what}, after", error)

    def cold(self, what, shape, request, reference, logits):
        """Milliseconds of mira, of a copy and of eager PyTorch where inputs and outputs do not lie in L2; None where they never do."""
        num_bytes = 8 * shape[0] * shape[1]
        turns = math.ceil(3 * self.device["l2_bytes"] / num_bytes) + 1
        if turns <= 2 or self.worker.process is None or self.is_over(f"{what}, cold", 2):
            return None, None, None
        try:
            self.worker.ask(f"rotate {turns}")
            floor = self.worker.ask(f"copy {self.options.repeats}")["milliseconds"]
            cold = self.worker.ask(f"time {self.options.repeats} {request}")["milliseconds"]
            self.worker.ask("rotate 1")
            found = self.worker.ask(f"repeat 5 {request}")
            if found["different"] or not found["finite"]:
                self.fail(f"{what}, again", f"{found['different']} elements have other bits, finite: {found['finite']}")
        except NoAnswer as error:
            self.fail(f"{what}, cold", error)
            return None, None, None
        eager = None
        if logits is not None:
            try:
                with self.torch.inference_mode():
                    inputs = [logits.clone() for _ in range(turns)]
                    eager, _, _ = timed(self.torch, going_round(lambda x: reference(self.torch, x), inputs), self.options.repeats)
            except Exception as error:
                self.fail(f"{what}, cold, eager", first_line(error))
        return cold, floor, eager

    def timelines(self, file, kernels):
        for batch, num_prototypes, dtype, data in self.problems():
            if not self.inputs((batch, num_prototypes, dtype, data), file)[1]:
                continue
            for name, reference, request in CASES:
                what = f"{batch}x{num_prototypes} {dtype} {data} {name}"
                if data == "trained" and reference is not mira or self.is_over(what):
                    continue
                try:
                    if self.worker.process is None or reference is CASES[0][1]:
                        self.worker.ask(f"diagnose {kernels}")
                        self.worker.ask(f"load {batch} {num_prototypes} {dtype} {file}")
                    told = self.worker.ask(f"timeline {self.options.repeats} {request}")
                except NoAnswer as error:
                    self.fail(what, error)
                    continue
                self.rows.append(dict(batch=batch, num_prototypes=num_prototypes, logits=dtype, data=data, method=name, cycles=told["cycles"], passes=told["passes"]))
                print(f"{what}\n{told['table']}", flush=True)
                self.write()

    def compiled(self):
        """Each reference once for a shape and type, whatever the methods that it stands for."""
        torch = self.torch
        if torch is None:
            print("torch.compile: left out, no PyTorch with CUDA")
            return
        if not any(map(shutil.which, [os.environ.get("CC", "cc"), "gcc", "clang"])):
            print("torch.compile: left out, there is no C compiler, which it needs; set CC")
            return
        # PyTorch takes as long whatever the data. MIRA at 4096x3000 comes first, of which there are targets.
        by_worth = sorted(self.options.shapes, key=lambda shape: shape != (4096, 3000))
        for reference in dict.fromkeys(reference for _, reference, _ in CASES):
            for (batch, num_prototypes), dtype in itertools.product(by_worth, ["f32", "bf16"]):
                what = f"{batch}x{num_prototypes} {dtype} {reference.__name__}, compiled"
                if self.is_over(what, COMPILE):
                    continue
                try:
                    logits = make_logits(torch, batch, num_prototypes, dtype, "random")
                    with torch.inference_mode():
                        # Otherwise shapes after the first are compiled for any, and after eight nothing is.
                        torch.compiler.reset()
                        fast = torch.compile(lambda x, f=reference: f(torch, x), dynamic=False)
                        start = time.monotonic()
                        fast(logits)
                        torch.cuda.synchronize()
                        seconds = time.monotonic() - start
                        # What it computes is what eager PyTorch does.
                        distance = float((fast(logits) - reference(torch, logits)).abs().sum(dim=1).max() / 2)
                        if not distance <= 1e-5:
                            self.fail(what, f"{distance:.1e} from eager PyTorch in total variation")
                        compiled, quartiles, alone = timed(torch, lambda: fast(logits), self.options.repeats)
                except Exception as error:
                    self.fail(what, first_line(error))
                    continue
                graph = None
                try:
                    with torch.inference_mode():
                        graph, _, _ = timed(torch, graphed(torch, lambda: fast(logits)), self.options.repeats)
                except Exception as error:
                    self.fail(f"{what}, as a graph", first_line(error))
                times = dict(compiled_milliseconds=compiled, compiled_quartiles=quartiles, compiled_latency_milliseconds=alone, compiled_graphed_milliseconds=graph)
                beside = []
                names = [name for name, of, _ in CASES if of is reference]
                for row in self.rows:
                    if (row["batch"], row["num_prototypes"], row["logits"]) == (batch, num_prototypes, dtype) and row["method"] in names:
                        row.update(times)
                        beside.append(f"{ratio(compiled, row.get('milliseconds'))} of {row['method']}, {row['data']}")
                if not beside:
                    row = dict(batch=batch, num_prototypes=num_prototypes, logits=dtype, data=data, method=reference.__name__)
                    self.rows.append(dict(row, **times))
                print(f"{what}: {compiled:.3f} ms, {cell(graph, '.3f')} as a graph, {'; '.join(beside) or 'no row beside it'}; {seconds:.0f} s to compile", flush=True)
                self.write()


def shapes(text):
    return [tuple(int(n) for n in shape.split("x")) for shape in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker", required=True)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--patience", type=float, default=60)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--host", type=Path, help="a file that goes into the JSON")
    parser.add_argument("--shapes", type=shapes, default=SHAPES)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--no-compile", action="store_true")
    which.add_argument("--only-compile", action="store_true")
    which.add_argument("--timeline", type=Path, metavar="DIR")
    options = parser.parse_args()
    options.started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that its arrays go with it
    try:
        import torch

        if not torch.cuda.is_available():
            torch = None
    except Exception:  # also one whose libraries do not load
        torch = None
    comparison = Comparison(torch, options)
    largest = max(batch * num_prototypes for batch, num_prototypes in options.shapes)
    with tempfile.TemporaryDirectory(dir=folder_for(8 * largest)) as folder:
        file = Path(folder) / "array"
        if options.timeline:
            comparison.timelines(file, options.timeline)
        elif options.only_compile:
            if options.json and options.json.exists():
                found = json.loads(options.json.read_text())
                comparison.device, comparison.rows = found["device"], found["rows"]
        else:
            try:
                comparison.assignments(file)
            except NoAnswer as error:
                sys.exit(f"error: {error}")
        if not options.no_compile and not options.timeline:
            comparison.compiled()
    comparison.worker.stop()
    if not options.timeline:
        print("", *verdicts(comparison.rows), "", sep="\n")
    print(f"{len(comparison.rows)} rows, {len(comparison.failed)} failed", flush=True)
    if comparison.failed and options.timeline:
        sys.exit(f"error: without an answer: {'; '.join(comparison.failed)}")
    if comparison.failed:
        sys.exit(f"error: without an answer, or more than 1e-5 from PyTorch's in total variation: {'; '.join(comparison.failed)}")


if __name__ == "__main__":
    main()

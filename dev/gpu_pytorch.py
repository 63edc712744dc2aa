"""What dev/gpu_compare.py holds mira against: the published loops in PyTorch, its inputs, and how they are timed."""

import array
import ctypes
import itertools
import random
import statistics
import time
from pathlib import Path

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


TEMPERATURE = 0.1


def cross_entropy(torch, logits, labels):
    """Mean cross-entropy against soft labels, and its gradient by the logits, as training computes them."""
    logits = logits.detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(logits.float() / TEMPERATURE, labels)
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss, gradient


# Seconds: untimed runs before timed ones, and what is timed at least.
WARM_UP = 0.3
SAMPLE = 0.002


def going_round(run, inputs):
    """A run on the next of some inputs each time."""
    turns = itertools.cycle(inputs)
    return lambda: run(next(turns))


def timed(torch, run, repeats):
    """Milliseconds of a run among others, back to back, their quartiles, and of one alone, as the worker has them; medians."""
    start = time.monotonic()
    while time.monotonic() - start < WARM_UP:
        run()
        torch.cuda.synchronize()
    runs = 1
    while True:
        start = time.monotonic()
        for _ in range(runs):
            run()
        torch.cuda.synchronize()
        if time.monotonic() - start >= 1.1 * SAMPLE:
            break
        runs *= 2

    def measure(runs):
        times = []
        for _ in range(repeats):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(runs):
                run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / runs)
        return sorted(times)

    among = measure(runs)
    return statistics.median(among), [among[len(among) // 4], among[3 * len(among) // 4]], statistics.median(measure(1))


def graphed(torch, run):
    """The launches of a run, replayed from a CUDA graph."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


# Prototypes: "random" is a run's beginning, where weights settle after a few sweeps and those that change nothing are left out; "trained" ones lie
# around the clusters of the features, and nearly all of thirty sweeps are made.


def make_logits(torch, batch, num_prototypes, dtype, data, file=None):
    """Cosines of unit vectors around 100 long-tailed cluster centres with unit prototypes; also in the file, if there is one."""
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
    prototypes = torch.randn(num_prototypes, 256, device="cuda")
    if data == "trained":
        prototypes = 0.2 * prototypes + centres[torch.arange(num_prototypes, device="cuda") % len(centres)]
    prototypes = torch.nn.functional.normalize(prototypes, dim=1)
    logits = (features @ prototypes.t()).contiguous()
    if dtype == "bf16":
        logits = logits.bfloat16()
    if file is None:
        return logits
    host = logits.cpu()
    Path(file).write_bytes(ctypes.string_at(host.data_ptr(), host.numel() * host.element_size()))
    return logits

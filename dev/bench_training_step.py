#!/usr/bin/env python3
"""Times one SGD training step of torchvision's ResNet-18 on the CPU, for the engine to be compared with.

Usage: dev/bench_training_step.py [--arch resnet18-cifar|resnet18] [--batch 128] [--size 32] [--threads 2] [--channels-last]
                                  [--steps 5] [--warmup 1] [--json]

Needs torch==2.15.0 torchvision==0.29.2 (see dev/reference_resnet.py). A step, in float32: clear the gradients, forward in train mode, loss = sum
of the pooled representation times a fixed random matrix, backward to all parameters, SGD with momentum 0.9. resnet18-cifar has a 3×3 stride-1
stem without max-pool. The input needs no gradient. Peak memory is the process's, so give each layout a process of its own; rss_before is what
Python and PyTorch take before there is a model. The median of the steps is the number to compare; machines are noisy, so run pairs.
"""

import argparse
import json
import resource
import statistics
import sys
import time

import torch
import torchvision
from torch import nn


def peak_mib():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / (1 << 10)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=["resnet18-cifar", "resnet18"], default="resnet18-cifar")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.steps < 1:
        parser.error("--steps must be at least 1")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    before = peak_mib()

    model = torchvision.models.resnet18(weights=None)
    if args.arch == "resnet18-cifar":
        model.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
    model.fc = nn.Identity()
    x = torch.randn(args.batch, 3, args.size, args.size)
    cotangent = torch.randn(args.batch, 512) / args.batch
    if args.channels_last:
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    seconds = []
    for step in range(args.warmup + args.steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        (model(x) * cotangent).sum().backward()
        optimizer.step()
        if step >= args.warmup:
            seconds.append(time.perf_counter() - start)

    median = statistics.median(seconds)
    result = {
        "framework": f"torch {torch.__version__}",
        "arch": args.arch,
        "batch": args.batch,
        "size": args.size,
        "threads": args.threads,
        "layout": "channels-last" if args.channels_last else "contiguous",
        "seconds": [round(s, 4) for s in seconds],
        "images_per_second": round(args.batch / median, 2),
        "peak_rss_mib": round(peak_mib(), 1),
        "rss_before_mib": round(before, 1),
    }
    if args.json:
        print(json.dumps(result))
    else:
        print(f"{result['arch']} {result['layout']}: {result['images_per_second']} img/s (median of {args.steps} steps of {args.batch}), "
              f"peak {result['peak_rss_mib']} MiB ({result['rss_before_mib']} before the model)")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes what torchvision's ResNets compute, forward and backward, for the engine to be compared with.

Usage:
  dev/reference_resnet.py OUT.safetensors --arch resnet50 [--batch 4] [--size 64] [--seed 0] [--stem imagenet|cifar]
                          [--zero-init-residual]
  dev/reference_resnet.py --tiny      the two committed files, mira-train/tests/golden/resnet_tiny_{basic,bottleneck}.safetensors

Needs torch==2.15.0 torchvision==0.29.2 numpy==2.4.6 safetensors==0.8.0:
  python3 -m venv target/torch-venv && target/torch-venv/bin/pip install torch==2.15.0 torchvision==0.29.2 numpy==2.4.6 safetensors==0.8.0

The network has no fc: its output is the average-pooled representation. Weights, input and cotangent are random by the seed; the affine
parameters of BatchNorm are random too, so that --zero-init-residual (which scales the last BatchNorm of a block, not zeroes it: by 0.1)
hides no branch. The steps, in order, in float64 and again in float32 from the same numbers:
  1. forward in train mode (batch statistics; running statistics start at 0 and 1 and move with momentum 0.1);
  2. backward of sum(output * cotangent);
  3. forward in eval mode with the running statistics after step 1.

Tensors (torch layouts: NCHW, OIHW), all from the float64 run, stored as float32 if not said otherwise:
  input, cotangent                          given
  parameter.NAME                            given, under torchvision's names
  running.NAME                              running_mean and running_var after step 1
  output.train, output.eval                 steps 1 and 3
  gradient.input, gradient.NAME             step 2
  error.KEY                                 scalar: ||float32 - float64|| / ||float64|| of the tensor KEY, torch's own rounding error, as a scale

--tiny stores parameters and input as float16 (exactly: they are rounded before the run), and of a gradient with more than 1000 values only
every 16th row of the first axis: stored row r is output channel 16 r (of gradient.input, image 0). norm.NAME is the Euclidean norm of the
whole gradient.
Metadata: `config`, a JSON object of arch, block, blocks, width, stem, zero_init_residual, batch, size, seed, torch, torchvision.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy
import torch
import torchvision
from safetensors.numpy import save_file
from torch import nn
from torchvision.models import resnet
from torchvision.models.resnet import BasicBlock, Bottleneck

PINNED = {"torch": "2.15.0", "torchvision": "0.29.2", "numpy": "2.4.6"}
GOLDEN = Path(__file__).resolve().parent.parent / "mira-train" / "tests" / "golden"
ARCHITECTURES = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
}
SLICED_ABOVE, SLICE = 1000, 16


class Narrow(resnet.ResNet):
    """torchvision's ResNet with another width of the first stage."""

    def __init__(self, block, blocks, width):
        self.narrow = width
        super().__init__(block, blocks)
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        if planes == 64:  # the first stage
            self.inplanes = self.narrow
        # Bottlenecks derive their inner width from the planes, so a narrower plane count is all there is to it.
        return super()._make_layer(block, planes * self.narrow // 64, blocks, stride, dilate)


def build(block, blocks, width, stem, zero_init_residual, generator, half):
    model = Narrow(block, blocks, width)
    if stem == "cifar":
        model.conv1 = nn.Conv2d(3, width, 3, stride=1, padding=1, bias=False)
        model.maxpool = nn.Identity()
    model.fc = nn.Identity()
    model.double()
    last = {
        f"{name}.{'bn3' if block is Bottleneck else 'bn2'}.weight"
        for name, module in model.named_modules()
        if isinstance(module, block)
    }
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.dim() == 4:  # He et al. by fan-out, as torchvision
                fan_out = parameter.shape[0] * parameter.shape[2] * parameter.shape[3]
                noise *= (2.0 / fan_out) ** 0.5
            elif name.endswith("weight"):
                noise = 1.0 + 0.2 * noise
                if zero_init_residual and name in last:
                    noise *= 0.1
            else:
                noise *= 0.2
            parameter.copy_(noise.to(torch.float16 if half else torch.float32))
    return model


def run(model, x, cotangent, dtype):
    """One step from fresh running statistics; the results as float64."""
    model = model.to(dtype)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    model.zero_grad(set_to_none=True)
    x = x.detach().clone().to(dtype).requires_grad_()
    model.train()
    output = model(x)
    (output * cotangent.to(dtype)).sum().backward()
    results = {"output.train": output, "gradient.input": x.grad}
    results |= {f"gradient.{name}": parameter.grad for name, parameter in model.named_parameters()}
    results |= {f"running.{name}": buffer for name, buffer in model.named_buffers() if "num_batches" not in name}
    model.eval()
    with torch.no_grad():
        results["output.eval"] = model(x)
    return {key: value.detach().double().clone() for key, value in results.items()}


def reference(path, block, blocks, width, args, tiny=False):
    generator = torch.Generator().manual_seed(args.seed)
    model = build(block, blocks, width, args.stem, args.zero_init_residual, generator, half=tiny)
    x = torch.randn((args.batch, 3, args.size, args.size), generator=generator).to(torch.float16 if tiny else torch.float32)
    features = width * 8 * block.expansion
    cotangent = torch.randn((args.batch, features), generator=generator)
    given = {f"parameter.{name}": value.detach().clone() for name, value in model.named_parameters()}

    exact = run(model, x.double(), cotangent, torch.float64)
    rounded = run(model, x, cotangent, torch.float32)

    kind = numpy.float16 if tiny else numpy.float32
    tensors = {name: value.numpy().astype(kind) for name, value in given.items()}
    tensors |= {"input": x.numpy().astype(kind), "cotangent": cotangent.numpy()}
    for key, value in exact.items():
        norm = value.norm().item()
        tensors[f"error.{key}"] = numpy.float32((rounded[key] - value).norm().item() / norm)
        name = key.removeprefix("gradient.")
        if tiny and name != key:
            tensors[f"norm.{name}"] = numpy.float32(norm)
            if value.numel() > SLICED_ABOVE:
                value = value[::SLICE]
        tensors[key] = value.numpy().astype(numpy.float32)
    metadata = {
        "script": "dev/reference_resnet.py",
        "arch": args.arch,
        "block": block.__name__,
        "blocks": blocks,
        "width": width,
        "stem": args.stem,
        "zero_init_residual": args.zero_init_residual,
        "batch": args.batch,
        "size": args.size,
        "seed": args.seed,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {key: numpy.ascontiguousarray(value).reshape(numpy.shape(value)) for key, value in tensors.items()}
    save_file(contiguous, path, {"config": json.dumps(metadata)})  # one entry: safetensors puts several in any order
    errors = {key: tensors[f"error.{key}"] for key in exact}
    worst = max(errors, key=errors.get)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size:,} bytes; float32 against float64: outputs "
          f"{errors['output.train']:.1e} (train) {errors['output.eval']:.1e} (eval), worst {errors[worst]:.1e} ({worst})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--arch", choices=list(ARCHITECTURES))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stem", choices=["imagenet", "cifar"], default="imagenet")
    parser.add_argument("--zero-init-residual", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    installed = {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": numpy.__version__}
    for name, version in PINNED.items():
        if installed[name].split("+")[0] != version:
            print(f"warning: expected {name} {version}, got {installed[name]}; the last digits may differ", file=sys.stderr)
    if args.tiny:
        args.arch, args.stem, args.size, args.zero_init_residual = "tiny", "cifar", 16, False
        reference(GOLDEN / "resnet_tiny_basic.safetensors", BasicBlock, [2, 2, 1, 1], 8, args, tiny=True)
        args.stem, args.size = "imagenet", 32
        reference(GOLDEN / "resnet_tiny_bottleneck.safetensors", Bottleneck, [1, 1, 1, 1], 8, args, tiny=True)
    elif args.out and args.arch:
        reference(args.out, *ARCHITECTURES[args.arch], 64, args)
    else:
        parser.error("give OUT.safetensors and --arch, or --tiny")


if __name__ == "__main__":
    main()

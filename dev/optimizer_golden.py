#!/usr/bin/env python3
"""Writes mira-train/tests/golden/optimizers.json: what PyTorch's optimisers do to three tensors over twelve steps.

    pip install torch==2.15.0 && dev/optimizer_golden.py

SGD and AdamW are torch.optim's; LARS is not in PyTorch and is written here as in the SwAV, BYOL and Barlow Twins codes.
Tensors: a matrix, a vector (no decay, no trust ratio; frozen for three steps), and a matrix of zeros (no trust ratio while
its norm is 0). Learning rate and weight decay change every step.
"""

import json
import pathlib

import torch

SHAPES = [(3, 5), (7,), (2, 2)]
STEPS = 12
FROZEN = {"segment": 1, "steps": [2, 3, 4]}


class Lars(torch.optim.Optimizer):
    def __init__(self, groups, lr, momentum, trust_coefficient):
        super().__init__(groups, {"lr": lr, "momentum": momentum, "eta": trust_coefficient})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = p.grad
                if p.ndim > 1:
                    g = g.add(p, alpha=group["weight_decay"])
                    p_norm, g_norm = torch.norm(p), torch.norm(g)
                    one = torch.ones_like(p_norm)
                    ratio = torch.where(g_norm > 0, group["eta"] * p_norm / g_norm, one)
                    g = g.mul(torch.where(p_norm > 0, ratio, one))
                state = self.state[p]
                if "mu" not in state:
                    state["mu"] = torch.zeros_like(p)
                state["mu"].mul_(group["momentum"]).add_(g)
                p.add_(state["mu"], alpha=-group["lr"])


MAKERS = {
    "sgd": (lambda groups: torch.optim.SGD(groups, lr=1.0, momentum=0.9), {"kind": "sgd", "momentum": 0.9}),
    "nesterov": (
        lambda groups: torch.optim.SGD(groups, lr=1.0, momentum=0.8, nesterov=True),
        {"kind": "sgd", "momentum": 0.8, "nesterov": True},
    ),
    "lars": (
        lambda groups: Lars(groups, lr=1.0, momentum=0.9, trust_coefficient=0.02),
        {"kind": "lars", "momentum": 0.9, "trust_coefficient": 0.02},
    ),
    "adamw": (
        lambda groups: torch.optim.AdamW(groups, lr=1.0, betas=(0.85, 0.98), eps=1e-6),
        {"kind": "adamw", "betas": [0.85, 0.98], "epsilon": 1e-6},
    ),
}


def flat(tensors):
    return torch.cat([t.detach().reshape(-1) for t in tensors]).tolist()


def main():
    generator = torch.Generator().manual_seed(3)
    start = [torch.randn(s, generator=generator) for s in SHAPES[:2]] + [torch.zeros(SHAPES[2])]
    gradients = [[torch.randn(s, generator=generator) for s in SHAPES] for _ in range(STEPS)]
    lrs = [0.1 * (1 + step) / STEPS for step in range(STEPS)]
    decays = [0.05 - 0.003 * step for step in range(STEPS)]
    runs = []
    for name, (make, settings) in MAKERS.items():
        parameters = [torch.nn.Parameter(t.clone()) for t in start]
        decayed = [p for p in parameters if p.ndim > 1]
        rest = [p for p in parameters if p.ndim <= 1]
        optimizer = make([{"params": decayed, "weight_decay": 0.0}, {"params": rest, "weight_decay": 0.0}])
        after = []
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = lrs[step]
            optimizer.param_groups[0]["weight_decay"] = decays[step]
            for i, (p, g) in enumerate(zip(parameters, gradients[step])):
                frozen = i == FROZEN["segment"] and step in FROZEN["steps"]
                p.grad = None if frozen else g.clone()
            optimizer.step()
            after.append(flat(parameters))
        runs.append({"name": name, "settings": settings, "parameters_after": after})
    golden = {
        "torch": torch.__version__.split("+")[0],
        "shapes": SHAPES,
        "frozen": FROZEN,
        "lr": lrs,
        "weight_decay": decays,
        "start": flat(start),
        "gradients": [flat(step) for step in gradients],
        "runs": runs,
    }
    path = pathlib.Path(__file__).parent.parent / "mira-train/tests/golden/optimizers.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()

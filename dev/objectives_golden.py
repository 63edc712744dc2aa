#!/usr/bin/env python3
"""Writes mira-train/tests/golden/objectives/baselines.json: losses of the baselines and their gradients, in PyTorch float64.

Usage: dev/objectives_golden.py [OUT.json]        Needs torch==2.15.0 (see dev/reference_resnet.py).

Each case has `inputs` (by name, row-major lists of rows; exact in float32), `loss`, and `gradients` by those inputs that have one. The
definitions are written out from the papers' formulas, sample by sample where that is short; the headers of mira-train/src/objective say
which paper and which equation. Shapes: N = 8 samples, D = 6 dimensions, K = 5 classes, H = 7 hidden.
"""

import json
import math
import sys
from pathlib import Path

import torch

PINNED = "2.15.0"
N, D, K, H = 8, 6, 5, 7
OUT = Path(__file__).resolve().parent.parent / "mira-train" / "tests" / "golden" / "objectives" / "baselines.json"


def draw(*shape):
    return torch.randn(*shape).double()  # drawn in float32, so exact in it


def unit(rows):
    return rows / rows.square().sum(dim=1, keepdim=True).sqrt()


def simclr(z, tau=0.1):
    u = torch.cat([unit(z["view0"]), unit(z["view1"])])
    total = 0.0
    for i in range(2 * N):
        partner = (i + N) % (2 * N)
        negatives = sum(torch.exp(u[i] @ u[k] / tau) for k in range(2 * N) if k != i)
        total = total - torch.log(torch.exp(u[i] @ u[partner] / tau) / negatives)
    return total / (2 * N)


def barlow_twins(z, weight=0.0051):
    columns = [(v - v.mean(0)) / (v.var(0, unbiased=False) + 1e-5).sqrt() for v in (z["view0"], z["view1"])]
    total = 0.0
    for i in range(D):
        for j in range(D):
            c = (columns[0][:, i] * columns[1][:, j]).sum() / N
            total = total + ((1 - c) ** 2 if i == j else weight * c**2)
    return total


def vicreg(z):
    total = 25 * torch.nn.functional.mse_loss(z["view0"], z["view1"])
    for v in (z["view0"], z["view1"]):
        std = torch.sqrt(v.var(0) + 1e-4)
        total = total + 25 * torch.relu(1 - std).mean() / 2
        cov = torch.cov(v.T)
        total = total + sum(cov[i, j] ** 2 for i in range(D) for j in range(D) if i != j) / D
    return total


def views(z):
    return [z[name] for name in sorted(z) if name.startswith("view")]


def entropy(p):
    return -(p * p.log()).sum(-1)


def twist(z):
    """Four views, the first two global."""
    norm = [(v - v.mean(0)) / (v.var(0, unbiased=False) + 1e-5).sqrt() for v in views(z)]
    p = [torch.softmax(v, 1) for v in norm]

    def kl(a, b):
        return (a * (a / b).log()).sum(1).mean()

    pairs = [(a, b) for a in range(4) for b in range(a + 1, 4) if a < 2]
    consistency = sum(0.5 * (kl(p[a], p[b]) + kl(p[b], p[a])) for a, b in pairs) / len(pairs)
    sharpness = sum(entropy(q).mean() for q in p) / 4
    diversity = sum(entropy(q.mean(0)) for q in p) / 4
    return consistency + sharpness - diversity


def self_classifier(z, tau_row=0.1, tau_col=0.05):
    """Logits of three views."""

    def loss(one, two):
        p_y_x = torch.softmax(one / tau_row, 1)
        p_x_y = torch.softmax(two / tau_col, 0)
        total = 0.0
        for i in range(N):
            for y in range(K):
                target = p_x_y[i, y] / p_x_y[i].sum()
                total = total + target * torch.log(N / K * p_y_x[i, y] / p_y_x[:, y].sum())
        return -total / N

    v = views(z)
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b and min(a, b) < 2]
    return sum(loss(v[a], v[b]) for a, b in pairs) / len(pairs)


def byol(z):
    """Four views, the predictor, two targets."""
    total = 0.0
    predictions = []
    for v in views(z):
        hidden = v @ z["predictor.0.weight"]
        hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
        hidden = torch.relu(hidden * z["predictor.1.weight"] + z["predictor.1.bias"])
        predictions.append(hidden @ z["predictor.3.weight"] + z["predictor.3.bias"])
    for t in range(2):
        others = [q for v, q in enumerate(predictions) if v != t]
        distances = [(unit(q) - unit(z[f"target{t}"])).square().sum(1).mean() for q in others]
        total = total + sum(distances) / len(distances)
    return total


def linear_byol(z):
    total = 0.0
    predictions = [v @ z["predictor.0.weight"] for v in views(z)]
    for t in range(2):
        others = [q for v, q in enumerate(predictions) if v != t]
        total = total + sum((unit(q) - unit(z[f"target{t}"])).square().sum(1).mean() for q in others) / len(others)
    return total


def dino(z, tau_t=0.04, tau_s=0.1):
    """Unit-length views and targets; the teacher's own prototypes; a centre."""
    logits = [v @ unit(z["prototypes.weight"]).T for v in views(z)]
    total, pairs = 0.0, 0
    for t in range(2):
        teacher = z[f"target{t}"] @ unit(z["teacher.prototypes.weight"]).T
        p = torch.softmax((teacher - z["center"]) / tau_t, 1).detach()
        for v, s in enumerate(logits):
            if v != t:
                total = total - (p * torch.log_softmax(s / tau_s, 1)).sum(1).mean()
                pairs += 1
    return total / pairs


def swav(z, epsilon=0.05, tau=0.1):
    """Unit-length views; three sweeps that scale prototypes first."""
    logits = [v @ unit(z["prototypes.weight"]).T for v in views(z)]
    total = 0.0
    for t in range(2):
        with torch.no_grad():
            q = torch.exp(logits[t] / epsilon).T
            for _ in range(3):
                q = q / q.sum(1, keepdim=True) / K
                q = q / q.sum(0, keepdim=True) / N
            q = (q * N).T
        others = [s for v, s in enumerate(logits) if v != t]
        total = total + sum(-(q * torch.log_softmax(s / tau, 1)).sum(1).mean() for s in others) / len(others)
    return total / 2


def deepcluster(z, tau=0.1):
    """Logits of three views; sample 5 has no label."""
    total, count = 0.0, 0
    for v in views(z):
        for i, label in enumerate(z["labels"].long().tolist()):
            if label >= 0:
                total = total - torch.log_softmax(v[i] / tau, 0)[label]
                count += 1
    return total / count


def case(function, constants=(), **inputs):
    leaves = {k: v.detach().clone().requires_grad_(k not in constants) for k, v in inputs.items()}
    loss = function(leaves)
    loss.backward()
    gradients = {k: v.grad.tolist() for k, v in leaves.items() if v.grad is not None}
    assert math.isfinite(loss.item())
    return {"inputs": {k: v.tolist() for k, v in inputs.items()}, "loss": loss.item(), "gradients": gradients}


def main():
    if len(sys.argv) > 2 or any(arg.startswith("-") for arg in sys.argv[1:]):
        sys.exit(__doc__)
    if not torch.__version__.startswith(PINNED):
        sys.exit(f"torch {torch.__version__}, expected {PINNED}")
    torch.manual_seed(0)

    def embeddings(count, columns=D):
        return {f"view{i}": draw(N, columns) for i in range(count)}

    def unit_length(tensors):  # rounded to float32, so that both sides begin with the same numbers
        return {k: unit(v).float().double() for k, v in tensors.items()}

    targets = {f"target{t}": draw(N, D) for t in range(2)}
    predictor = {
        "predictor.0.weight": draw(D, H),
        "predictor.1.weight": 1 + draw(H) / 2,
        "predictor.1.bias": draw(H) / 2,
        "predictor.3.weight": draw(H, D),
        "predictor.3.bias": draw(D),
    }
    predictor = {k: v.float().double() for k, v in predictor.items()}
    prototypes = {"prototypes.weight": draw(K, D)}
    teacher = {"teacher.prototypes.weight": draw(K, D), "center": (draw(K) / 5).float().double()}
    fixed = ("target0", "target1", "teacher.prototypes.weight", "center", "labels")
    labels = {"labels": torch.tensor([0.0, 3.0, 1.0, 4.0, 4.0, -1.0, 2.0, 0.0]).double()}
    cases = {
        "simclr": case(simclr, **embeddings(2)),
        "barlow-twins": case(barlow_twins, **embeddings(2)),
        "vicreg": case(vicreg, **{k: 0.8 * v for k, v in embeddings(2).items()}),
        "twist": case(twist, **embeddings(4)),
        "self-classifier": case(self_classifier, **{k: 0.3 * v for k, v in embeddings(3, K).items()}),
        "byol": case(byol, fixed, **embeddings(4), **targets, **predictor),
        "linear-byol": case(linear_byol, fixed, **embeddings(4), **targets, **{"predictor.0.weight": draw(D, D)}),
        "dino": case(dino, fixed, **unit_length(embeddings(4)), **unit_length(targets), **prototypes, **teacher),
        "swav": case(swav, fixed, **unit_length(embeddings(4)), **prototypes),
        "deepcluster-v2": case(deepcluster, fixed, **embeddings(3, K), **labels),
    }
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    source = f"dev/objectives_golden.py, torch {torch.__version__}, float64"
    out.write_text(json.dumps({"source": source, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()

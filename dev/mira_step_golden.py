#!/usr/bin/env python3
"""Writes mira-train/tests/golden/mira_step.json: the loss of one MIRA step and its gradients, in PyTorch float64.

Usage: dev/mira_step_golden.py [OUT.json]        Needs torch==2.15.0 (see dev/reference_resnet.py).

Shapes: B = 6 samples, D = 5 dimensions, K = 7 prototypes, 2 global views, 2 local views. All inputs are exact in float32.
  logits of a view = normalise(embeddings) @ normalise(prototypes).T, both by rows with the L2 norm: cosines.
  targets: for each of the teacher's two global views on its own, MIRA with temperature tau_t and beta, 30 sweeps:
      k = softmax(S / (tau_t (1 - beta))),  u0 = mean_i(k)^(1 - beta),
      30 times u <- [mean_i(k_ij / sum_l u_l^(-beta/(1-beta)) k_il)]^(1 - beta),
      w_ij = k_ij u_j^(-beta/(1-beta)) / sum_l ...
  They have no gradient; the teacher's prototypes are the student's.
  loss_t = mean over views v != t and rows i of -sum_j w^t_ij log softmax(S^v / tau_s)_ij,  t = 0, 1;  v runs over global 0, global 1,
  local 0, local 1 of the student.
  reduction "mean": (loss_0 + loss_1) / 2 (the released code); "sum": loss_0 + loss_1 (the paper's Eq. 8).
Gradients are of the loss with respect to the student's embeddings and the prototypes before normalisation, and to the student's logits.
All matrices are row-major lists of rows: [view][sample][dimension], [prototype][dimension], [view][sample][prototype].
"""

import json
import sys
from pathlib import Path

import torch

PINNED = "2.15.0"
BATCH, DIM, PROTOTYPES, GLOBAL, LOCAL = 6, 5, 7, 2, 2
TAU_T, BETA, SWEEPS, TAU_S = 0.225, 0.7, 30, 0.1
OUT = Path(__file__).resolve().parent.parent / "mira-train" / "tests" / "golden" / "mira_step.json"


def normalise(rows):
    return rows / rows.square().sum(dim=1, keepdim=True).sqrt()


def targets(logits):
    kernel = torch.softmax(logits / (TAU_T * (1 - BETA)), dim=1)
    power = -BETA / (1 - BETA)
    u = kernel.mean(dim=0) ** (1 - BETA)
    for _ in range(SWEEPS):
        u = (kernel / (kernel @ u**power).unsqueeze(1)).mean(dim=0) ** (1 - BETA)
    w = kernel * u**power
    return w / w.sum(dim=1, keepdim=True)


def losses(student, prototypes, assigned):
    """One loss for each target, and the logits of each view."""
    logits = [normalise(view) @ normalise(prototypes).T for view in student]
    for view in logits:
        view.retain_grad()
    log_p = [torch.log_softmax(view / TAU_S, dim=1) for view in logits]
    entropies = [
        torch.stack([-(w * log_p[v]).sum(dim=1).mean() for v in range(len(log_p)) if v != t]).mean()
        for t, w in enumerate(assigned)
    ]
    return entropies, logits


def main():
    if len(sys.argv) > 2 or any(arg.startswith("-") for arg in sys.argv[1:]):
        raise SystemExit(__doc__)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    if torch.__version__.split("+")[0] != PINNED:
        print(f"warning: expected torch {PINNED}, got {torch.__version__}; the last digits may differ", file=sys.stderr)
    generator = torch.Generator().manual_seed(20220)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float32).double()

    # Teacher and student see the same samples: related embeddings of different lengths.
    samples, prototypes = random(BATCH, DIM), random(PROTOTYPES, DIM)
    teacher = [(samples + 0.3 * random(BATCH, DIM)).float().double() for _ in range(GLOBAL)]
    student = [(1.7 * samples + 0.6 * random(BATCH, DIM)).float().double() for _ in range(GLOBAL + LOCAL)]
    assigned = [targets(normalise(view) @ normalise(prototypes).T) for view in teacher]

    reductions = {}
    for name, scale in [("mean", 0.5), ("sum", 1.0)]:
        views = [view.clone().requires_grad_() for view in student]
        heads = prototypes.clone().requires_grad_()
        entropies, logits = losses(views, heads, assigned)
        loss = scale * sum(entropies)
        loss.backward()
        reductions[name] = {
            "loss": loss.item(),
            "gradient_student": [view.grad.tolist() for view in views],
            "gradient_prototypes": heads.grad.tolist(),
            "gradient_logits": [view.grad.tolist() for view in logits],
        }
    golden = {
        "source": f"dev/mira_step_golden.py, torch {torch.__version__}, float64",
        "batch": BATCH,
        "dim": DIM,
        "num_prototypes": PROTOTYPES,
        "num_global": GLOBAL,
        "num_local": LOCAL,
        "tau_t": TAU_T,
        "beta": BETA,
        "sweeps": SWEEPS,
        "tau_s": TAU_S,
        "teacher": [view.tolist() for view in teacher],
        "student": [view.tolist() for view in student],
        "prototypes": prototypes.tolist(),
        "targets": [w.tolist() for w in assigned],
        "loss_of_target": [entropy.item() for entropy in entropies],
        "reductions": reductions,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(golden) + "\n")
    print(f"{out.name}: losses {golden['loss_of_target']}, mean {reductions['mean']['loss']}, sum {reductions['sum']['loss']}")


if __name__ == "__main__":
    main()

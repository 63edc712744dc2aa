#!/usr/bin/env python3
"""Writes examples/logits.npy: cosine similarities of 256 clustered unit vectors with 64 prototypes, float32.

Python's standard library only; the seed is fixed and the result's SHA-256 is checked before it is written.
Usage: python3 dev/make_example_logits.py
"""

import hashlib
import math
import pathlib
import random
import struct

BATCH, PROTOTYPES, DIMENSION, CLUSTERS = 256, 64, 32, 10
NOISE = 0.6  # of a sample about its cluster's centre, relative to the centre's norm
SHA256 = "c42521c953fe852cb8a08f86e9300e386c740415e230df8700bd7ed603b22a4c"


def normalised(vector):
    norm = math.sqrt(math.fsum(x * x for x in vector))
    return [x / norm for x in vector]


def main():
    rng = random.Random(20220)

    def direction():
        return normalised([rng.gauss(0.0, 1.0) for _ in range(DIMENSION)])

    def near(center):
        return normalised([c + NOISE * d for c, d in zip(center, direction())])

    centers = [direction() for _ in range(CLUSTERS)]
    # A long tail: cluster c has weight 1/(c + 1). Every other prototype sits at a cluster, the rest anywhere.
    weights = [1.0 / (c + 1) for c in range(CLUSTERS)]
    samples = [near(c) for c in rng.choices(centers, weights, k=BATCH)]
    prototypes = [near(centers[j // 2 % CLUSTERS]) if j % 2 == 0 else direction() for j in range(PROTOTYPES)]
    logits = [math.fsum(a * b for a, b in zip(x, p)) for x in samples for p in prototypes]

    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({BATCH}, {PROTOTYPES}), }}".ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("ascii")
    assert len(data) % 64 == 0
    data += struct.pack(f"<{len(logits)}f", *logits)

    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"expected SHA-256 {SHA256}, got {digest}: this Python's arithmetic differs")
    path = pathlib.Path(__file__).resolve().parent.parent / "examples" / "logits.npy"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    print(f"{path.name}: {BATCH} × {PROTOTYPES} float32, SHA-256 {digest}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes mira-candle/examples/fashion-mnist-{features,labels}.npy: 2,000 images as 64 principal components (f16), and their classes (u8).

The images are the first 200 of each class in mira-train/assets, pixels divided by 255. Components are taken of these images' centred
pixels and ordered by variance; each has the sign that makes its largest loading positive. Another linear algebra library may
change a feature's last bit. Needs numpy.
Usage: python3 dev/make_example_features.py
"""

import gzip
import pathlib

import numpy as np

PER_CLASS, CLASSES, COMPONENTS = 200, 10, 64


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    assets, examples = root / "mira-train" / "assets", root / "mira-candle" / "examples"
    # IDX files of u8: a header of 16 bytes before images, of 8 before labels.
    images = np.frombuffer(gzip.open(assets / "fashion-mnist-train-images.gz").read(), np.uint8, offset=16)
    labels = np.frombuffer(gzip.open(assets / "fashion-mnist-train-labels.gz").read(), np.uint8, offset=8)
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == c)[:PER_CLASS] for c in range(CLASSES)]))
    pixels = images.reshape(len(labels), -1)[chosen] / 255.0
    pixels -= pixels.mean(axis=0)
    variances, loadings = np.linalg.eigh(pixels.T @ pixels / len(pixels))
    loadings = loadings[:, ::-1][:, :COMPONENTS]
    largest = np.abs(loadings).argmax(axis=0)
    loadings *= np.sign(loadings[largest, np.arange(COMPONENTS)])
    features = (pixels @ loadings).astype("<f2")
    np.save(examples / "fashion-mnist-features.npy", features)
    np.save(examples / "fashion-mnist-labels.npy", labels[chosen])
    kept = variances[::-1][:COMPONENTS].sum() / variances.sum()
    print(f"{features.shape[0]} × {features.shape[1]} features, {100 * kept:.1f}% of the variance")


if __name__ == "__main__":
    main()

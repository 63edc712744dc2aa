#!/usr/bin/env python3
"""Writes mira-train/assets/fashion-mnist-*.gz: the first 600 training and 100 test images of each Fashion-MNIST class.

Reads the four IDX files of the Debian package dataset-fashion-mnist; images keep the order and the 28 × 28 pixels they have there.
The SHA-256 of what is written is checked before anything is. Needs numpy.
Usage: apt-get install dataset-fashion-mnist && python3 dev/make_embedded_dataset.py [FOLDER]
"""

import gzip
import hashlib
import io
import pathlib
import struct
import sys

import numpy as np

FOLDER = "/usr/share/datasets/fashion-mnist"
PER_CLASS = {"train": 600, "t10k": 100}
CLASSES = 10
SHA256 = {  # of the uncompressed files
    "train-images": "cf313073c7eb485392848071d5c433571d7166043e971e3345b095cc30518084",
    "train-labels": "097b93fbcf9bd5bc648b1a457ddc55c9e4ab49afb33f9ecae8ce068399a75e3a",
    "t10k-images": "7cee33c3c6414b1b86c25e665a6c4f41584269de3b7cc9768b1d351922845eef",
    "t10k-labels": "3128d790775889812b73c4f13923559c8b9e281d112c6ea7862acf60a206a909",
}


def read_idx(path, rank):
    data = gzip.open(path).read()
    zero, kind, got_rank = struct.unpack_from(">HBB", data)
    assert (zero, kind, got_rank) == (0, 8, rank), f"{path} is not an IDX file of u8 with {rank} dimensions"
    shape = struct.unpack_from(f">{rank}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def compressed(data):
    out = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=out, mtime=0) as f:
        f.write(data)
    return out.getvalue()


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER)
    assets = pathlib.Path(__file__).resolve().parent.parent / "mira-train" / "assets"
    files = {}
    for part, per_class in PER_CLASS.items():
        images = read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3)
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1)
        chosen = np.sort(np.concatenate([np.flatnonzero(labels == c)[:per_class] for c in range(CLASSES)]))
        assert len(chosen) == CLASSES * per_class
        files[f"{part}-images"] = idx(images[chosen])
        files[f"{part}-labels"] = idx(labels[chosen])
    for name, data in files.items():
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 != SHA256[name]:
            sys.exit(f"{name}: SHA-256 {sha256}, expected {SHA256[name]}; use the files of Fashion-MNIST as released")
    assets.mkdir(exist_ok=True)
    for name, data in files.items():
        (assets / f"fashion-mnist-{name}.gz").write_bytes(compressed(data))


if __name__ == "__main__":
    main()

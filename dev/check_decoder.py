#!/usr/bin/env python3
"""Compares the pixels that mira-train decodes with Pillow's (libjpeg-turbo), to the bit, over every image of a folder.

Usage: dev/check_decoder IMAGES     (a folder of class folders, or a .tar of one)

Needs pillow==13.0.0. Reads the lines of the example `decoded` on its standard input. JPEG files of the usual kind (sequential, grey or YCbCr, 4:4:4,
4:2:2, 4:4:0 or 4:2:0) must have the same bits, other kinds are decoded by other code and are only counted.
"""

import collections
import sys
import zlib

from PIL import Image

USUAL = {((1, 1),), ((1, 1),) * 3, ((2, 1), (1, 1), (1, 1)), ((1, 2), (1, 1), (1, 1)), ((2, 2), (1, 1), (1, 1))}


def kind(image):
    if image.format != "JPEG":
        return image.format
    if image.info.get("progressive"):
        return "JPEG, progressive"
    sampling = tuple((h, v) for _, h, v, _ in image.layer)
    if image.mode not in ("RGB", "L") or (image.mode == "RGB" and sampling not in USUAL):
        return f"JPEG, {image.mode}, sampling {sampling}"
    return "usual"


def main():
    counts, different = collections.Counter(), []
    for line in sys.stdin:
        crc, path = line.rstrip("\n").split(" ", 1)
        with Image.open(path) as image:
            of_kind = kind(image)
            same = crc == f"{zlib.crc32(image.convert('RGB').tobytes()):08x}"
        counts[of_kind, same] += 1
        if of_kind == "usual" and not same:
            different.append(path)
    for (of_kind, same), count in sorted(counts.items()):
        print(f"{count:8} {of_kind}: {'the same bits' if same else 'other bits'}")
    if different:
        sys.exit("differ: " + " ".join(different[:10]))
    if not counts["usual", True]:
        sys.exit("no JPEG file of the usual kind")


if __name__ == "__main__":
    main()

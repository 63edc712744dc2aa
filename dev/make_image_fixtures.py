#!/usr/bin/env python3
"""Writes mira-train/tests/golden/decode.json: small files of every kind the decoders meet, and the RGB that Pillow reads from them.

Needs pillow==13.0.0 numpy==2.4.6, and cjpeg and jpegtran (libjpeg-turbo-progs). `refused` are files that only libjpeg-turbo reads, with words of what is said of them. `tolerance` is in levels of 8 bits: lossless kinds are exact, and so are usual JPEG files; other JPEG and WebP decoders may round
the inverse transform and the chroma upsampling differently, here on a smooth picture.
Usage: python dev/make_image_fixtures.py
"""

import io
import json
import pathlib
import re
import subprocess

import numpy as np
from PIL import Image

PATH = pathlib.Path(__file__).resolve().parent.parent / "mira-train" / "tests" / "golden" / "decode.json"


def marked(file, jfif, adobe, names):
    """A JPEG file with other markers of its colours, and other names of its channels in the frame and all scans."""
    segments, rest = [], file[2:]
    while True:
        marker, length = rest[1], int.from_bytes(rest[2:4], "big")
        segment, rest = bytearray(rest[4 : 2 + length]), rest[2 + length :]
        if marker in (0xC0, 0xC2):
            old = list(segment[6::3])
            segment[6::3] = names
        if marker == 0xDA:
            for i in range(segment[0]):
                segment[1 + 2 * i] = names[old.index(segment[1 + 2 * i])]
            # Up to the tables or the start of another scan.
            following = re.search(rb"\xff[\xc4\xda]", rest)
            end = following.start() if following else len(rest)
            segments.append((marker, segment, rest[:end]))
            rest = rest[end:]
            if not rest:
                break
        elif marker not in (0xE0, 0xEE):
            segments.append((marker, segment, b""))
    if adobe is not None:
        segments.insert(0, (0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]), b""))
    if jfif:
        segments.insert(0, (0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0", b""))
    return b"\xff\xd8" + b"".join(
        bytes([0xFF, marker]) + (len(segment) + 2).to_bytes(2, "big") + bytes(segment) + scan for marker, segment, scan in segments
    )


def main():
    y, x = np.mgrid[0:13, 0:18]
    rgb = np.stack([60 + 8 * x, 200 - 9 * y, 90 + 3 * x + 4 * y], axis=-1).astype(np.uint8)
    image = Image.fromarray(rgb)
    deep = Image.fromarray((x * 3000 + y * 37).astype(np.uint16))
    alpha = image.copy()
    alpha.putalpha(Image.fromarray((x * 14).astype(np.uint8)))
    cases = []

    def case(name, image, tolerance, expected=None, turned=False, markers=None, **options):
        file = io.BytesIO()
        image.save(file, **options)
        if markers:
            file = io.BytesIO(marked(file.getvalue(), *markers))
            image = Image.open(file)
        if turned:
            turn = ["jpegtran", "-rotate", "90", "-copy", "none"]
            file = io.BytesIO(subprocess.run(turn, input=file.getvalue(), stdout=subprocess.PIPE, check=True).stdout)
            image = Image.open(file)
        if expected is None:
            expected = np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))
        cases.append(
            {
                "name": name,
                "file": file.getvalue().hex(),
                "width": image.width,
                "height": image.height,
                "tolerance": tolerance,
                "expected": np.ascontiguousarray(expected).tobytes().hex(),
            }
        )

    # Noise and edges, sizes that end within blocks and units, all samplings that our decoder takes; the smallest are of another kind.
    random = np.random.default_rng(0)
    textured = np.clip(random.normal(128, 70, (23, 37, 3)) + 60 * (np.arange(37) % 9 > 4)[None, :, None], 0, 255).astype(np.uint8)
    for sampling, name in enumerate(["4:4:4", "4:2:2", "4:2:0"]):
        for height, width, quality in [(19, 37, 90), (16, 32, 60), (1, 5, 80), (21, 17, 8)]:
            part = Image.fromarray(textured[:height, :width])
            case(f"JPEG {name}, {width} x {height}, quality {quality}", part, 0, format="JPEG", quality=quality, subsampling=sampling)
    # Pillow does not write 4:4:0; turned, 4:2:2 is that.
    for height, width, quality in [(19, 37, 90), (16, 32, 60), (5, 1, 80), (21, 17, 8)]:
        part = Image.fromarray(textured[:height, :width])
        case(f"JPEG 4:4:0, {height} x {width}, quality {quality}", part, 0, turned=True, format="JPEG", quality=quality, subsampling=1)
    part = Image.fromarray(textured[:23, :37])
    case("JPEG 4:2:0, optimised codes", part, 0, format="JPEG", quality=92, subsampling=2, optimize=True)
    case("JPEG 4:2:0, restart markers", part, 0, format="JPEG", quality=92, subsampling=2, restart_marker_blocks=2)
    case("JPEG, grey, textured", part.convert("L"), 0, format="JPEG", quality=92)
    case("JPEG 4:2:0, 3 x 5", image.crop((0, 0, 3, 5)), 6, format="JPEG", quality=95, subsampling=2)
    case("JPEG 4:4:4", image, 0, format="JPEG", quality=95, subsampling=0)
    case("JPEG 4:2:0, progressive", image, 4, format="JPEG", quality=95, subsampling=2, progressive=True)
    case("JPEG, restart markers", image, 0, format="JPEG", quality=90, restart_marker_blocks=1)
    case("JPEG, grey", image.convert("L"), 0, format="JPEG", quality=95)
    case("JPEG, CMYK", image.convert("CMYK"), 4, format="JPEG", quality=95)
    case("PNG, RGB", image, 0, format="PNG")
    case("PNG, RGBA", alpha, 0, expected=rgb, format="PNG")
    case("PNG, grey", image.convert("L"), 0, format="PNG")
    case("PNG, grey and alpha", alpha.convert("LA"), 0, format="PNG")
    case("PNG, palette", image.quantize(16), 0, format="PNG")
    case("PNG, 1 bit", image.convert("1"), 0, format="PNG")
    case("PNG, 16 bits", deep, 0, expected=np.repeat(np.asarray(deep)[..., None] >> 8, 3, -1).astype(np.uint8), format="PNG")
    case("WebP, lossless", image, 0, format="WEBP", lossless=True)
    case("WebP, lossless with alpha", alpha, 0, expected=rgb, format="WEBP", lossless=True, exact=True)
    case("WebP, lossy", image, 4, format="WEBP", quality=90)

    # Which markers of colours count where they contradict each other.
    colours = {"format": "JPEG", "quality": 95, "subsampling": 0}
    case("JPEG 4:4:4, JFIF and Adobe's RGB", image, 0, markers=(True, 0, b"\1\2\3"), **colours)
    case("JPEG 4:4:4, JFIF and channels R, G, B", image, 0, markers=(True, None, b"RGB"), **colours)
    case("JPEG 4:4:4, Adobe's YCbCr and channels R, G, B", image, 0, markers=(False, 1, b"RGB"), **colours)
    case("JPEG 4:4:4, Adobe's YCCK", image, 0, markers=(False, 2, b"\1\2\3"), **colours)
    case("JPEG 4:4:4, channels 0, 1, 2", image, 0, markers=(False, None, b"\0\1\2"), **colours)
    case("JPEG of RGB by Adobe's marker", image, 4, markers=(False, 0, b"\1\2\3"), **colours)
    case("JPEG of RGB by its channels", image, 4, markers=(False, None, b"RGB"), **colours)

    refused = []

    def refuse(name, words, file):
        refused.append({"name": name, "file": file.hex(), "words": words})

    def cjpeg(image, *options):
        file = io.BytesIO()
        image.save(file, format="PPM")
        return subprocess.run(["cjpeg", *options], input=file.getvalue(), stdout=subprocess.PIPE, check=True).stdout

    file = io.BytesIO()
    image.save(file, progressive=True, **colours)
    refuse("progressive, JFIF and Adobe's RGB", "markers contradict", marked(file.getvalue(), True, 0, b"\1\2\3"))
    refuse("progressive, Adobe's YCbCr and channels R, G, B", "markers contradict", marked(file.getvalue(), False, 1, b"RGB"))
    for sampling in ["1x1,2x1,2x1", "1x2,2x2,1x1"]:
        refuse(f"sampling {sampling}", "fewer columns", cjpeg(image, "-sample", sampling))
    # The decoder for such files panics.
    tiny = image.crop((0, 0, 1, 1))
    refuse("progressive, 1 x 1, sampling 1x1,2x2,2x2", "panicked", cjpeg(tiny, "-progressive", "-sample", "1x1,2x2,2x2"))
    PATH.write_text(json.dumps({"cases": cases, "refused": refused}, indent=0) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes mira-train/tests/golden/augment.json: what torchvision on Pillow images makes of small pictures, operation by operation.

Needs torch==2.15.0 torchvision==0.29.2 pillow==13.0.0 numpy==2.4.6. The tests of mira-train read the file; `tolerance` is in
levels of 8 bits. Every operation but the blur is integer arithmetic or truncation and is matched exactly; the blur is a sum of
32-bit floats whose order differs, so a value at a rounding boundary may move by one.
Usage: python dev/check_augmentations.py [--check]   (--check: compare with the file instead of writing it)
"""

import json
import pathlib
import sys

import numpy as np
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import InterpolationMode as Mode

PATH = pathlib.Path(__file__).resolve().parent.parent / "mira-train" / "tests" / "golden" / "augment.json"
MODES = {"bicubic": Mode.BICUBIC, "bilinear": Mode.BILINEAR}


def picture(rng, width, height):
    """Smooth colours, a hard edge, noise, and patches of black, white and pure colours: every branch of the colour code."""
    y, x = np.mgrid[0:height, 0:width]
    phases = rng.uniform(0, 2 * np.pi, 3)
    image = np.stack([127 + 120 * np.sin(x / 5 + y / 7 + p) for p in phases], axis=-1)
    image[y * 2 > height + x] = image[y * 2 > height + x][:, ::-1] / 2
    image += rng.normal(0, 12, image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    patches = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (9, 9, 9), (254, 255, 255)]
    for i, colour in enumerate(patches):
        image[1 + i // 4 * 2, 1 + i % 4 * 2] = colour
    return Image.fromarray(image)


def resized_crop(image, box, size, mode):
    """torchvision's resized_crop, always width first: Pillow 13 takes the height first where it shrinks more, Pillow 12 never does."""
    left, top, width, height = box
    out = F.resized_crop(image, top, left, height, width, [height, size], mode)
    return F.resize(out, [size, size], mode)


def blur(image, sigma):
    across, down = (min(int(np.ceil(4 * np.float32(sigma))), n - 1) for n in image.size)
    return F.gaussian_blur(image, [2 * across + 1, 2 * down + 1], [sigma, sigma])


def main():
    rng = np.random.default_rng(2022)
    images = [picture(rng, 23, 19), picture(rng, 61, 47)]
    cases = []

    def case(op, image, result, tolerance=0, **parameters):
        cases.append(
            {"op": op, "image": image, **parameters, "tolerance": tolerance, "expected": np.asarray(result).tobytes().hex()}
        )

    for mode in MODES:
        for image, box, size in [
            (1, (0, 0, 61, 47), 16),
            (1, (13, 9, 40, 31), 24),
            (1, (55, 2, 6, 45), 20),
            (0, (3, 4, 11, 9), 25),
            (0, (22, 18, 1, 1), 4),
            (0, (2, 1, 16, 16), 16),
            (0, (0, 0, 16, 19), 16),
        ]:
            out = resized_crop(images[image], box, size, MODES[mode])
            case("crop", image, out, box=box, size=size, interpolation=mode)
    for op, function, factors in [
        ("brightness", F.adjust_brightness, [0.0, 0.6, 1.0, 1.4]),
        ("contrast", F.adjust_contrast, [0.0, 0.61, 1.39]),
        ("saturation", F.adjust_saturation, [0.0, 0.8, 1.2, 3.0]),
        ("hue", F.adjust_hue, [-0.5, -0.1, -0.003, 0.0, 0.07, 0.1, 0.5]),
    ]:
        for factor in factors:
            factor = float(np.float32(factor))
            case(op, 0, function(images[0], factor), factor=factor)
    case("grayscale", 0, F.rgb_to_grayscale(images[0], 3))
    for threshold in [128, 100]:
        case("solarize", 0, F.solarize(images[0], threshold), threshold=threshold)
    for sigma in [0.1, 0.5, 1.3, 2.0, 9.0]:
        sigma = float(np.float32(sigma))
        case("blur", 0, blur(images[0], sigma), tolerance=1, factor=sigma)

    # A whole view, in the order of the recipe; the jitter in an order of its own.
    out = resized_crop(images[1], (7, 5, 40, 33), 24, Mode.BICUBIC)
    out = F.adjust_hue(out, -0.08)
    out = F.adjust_contrast(out, 1.25)
    out = F.adjust_brightness(out, 0.75)
    out = F.adjust_saturation(out, 1.125)
    out = F.solarize(blur(out, 0.75), 128)
    case("view", 1, F.hflip(out), tolerance=1, box=(7, 5, 40, 33), size=24)
    out = F.rgb_to_grayscale(resized_crop(images[1], (7, 5, 40, 33), 24, Mode.BICUBIC), 3)
    case("grey view", 1, F.hflip(F.solarize(out, 128)), box=(7, 5, 40, 33), size=24)

    text = json.dumps(
        {
            "images": [{"width": i.width, "height": i.height, "pixels": np.asarray(i).tobytes().hex()} for i in images],
            "cases": cases,
        },
        indent=0,
    )
    if "--check" in sys.argv[1:]:
        assert PATH.read_text() == text + "\n", f"{PATH} differs from what this torchvision makes"
        print(f"{len(cases)} cases as in {PATH}")
    else:
        PATH.parent.mkdir(exist_ok=True)
        PATH.write_text(text + "\n")


if __name__ == "__main__":
    main()

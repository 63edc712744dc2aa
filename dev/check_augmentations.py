#!/usr/bin/env python3
"""Writes mira-train/tests/golden/augment.json: what torchvision's transforms of floats make of small pictures, operation by operation.

Needs torch==2.15.0 torchvision==0.29.2 numpy==2.4.6. The tests of mira-train read the file. Pictures are 8-bit, results are 64 times as
many levels, in 16 bits, so that tests see how far a view is from what it is rounded from. Everything is computed in 64-bit floats.
Usage: python dev/check_augmentations.py [--check]   (--check: compare with the file instead of writing it)
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torchvision.transforms.functional as F
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
    return image


def resized_crop(image, box, size, mode):
    """With what bicubic kernels overshoot clipped, as torchvision does with 8-bit images."""
    left, top, width, height = box
    return F.resized_crop(image, top, left, height, width, [size, size], mode, antialias=True).clamp(0, 1)


def blur(image, sigma):
    down, across = (min(int(np.ceil(4 * np.float32(sigma))), n - 1) for n in image.shape[1:])
    return F.gaussian_blur(image, [2 * across + 1, 2 * down + 1], [sigma, sigma])


def main():
    rng = np.random.default_rng(2022)
    pictures = [picture(rng, 23, 19), picture(rng, 61, 47)]
    images = [torch.from_numpy(p).permute(2, 0, 1).double() / 255 for p in pictures]
    cases = []

    def case(op, image, result, **parameters):
        values = np.rint(result.permute(1, 2, 0).numpy() * (255 * 64)).astype("<i2")
        cases.append({"op": op, "image": image, **parameters, "expected": values.tobytes().hex()})

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
        case("solarize", 0, F.solarize(images[0], threshold / 255), threshold=threshold)
    for sigma in [0.1, 0.5, 1.3, 2.0, 9.0]:
        sigma = float(np.float32(sigma))
        case("blur", 0, blur(images[0], sigma), factor=sigma)

    # A whole view, in the order of the recipe; the jitter in an order of its own.
    out = resized_crop(images[1], (7, 5, 40, 33), 24, Mode.BICUBIC)
    out = F.adjust_hue(out, -0.08)
    out = F.adjust_contrast(out, 1.25)
    out = F.adjust_brightness(out, 0.75)
    out = F.adjust_saturation(out, 1.125)
    case("view", 1, F.hflip(blur(out, 0.75)), box=(7, 5, 40, 33), size=24)
    out = F.rgb_to_grayscale(resized_crop(images[1], (7, 5, 40, 33), 24, Mode.BICUBIC), 3)
    case("grey view", 1, F.hflip(F.solarize(out, 128 / 255)), box=(7, 5, 40, 33), size=24)

    text = json.dumps(
        {
            "images": [{"width": p.shape[1], "height": p.shape[0], "pixels": p.tobytes().hex()} for p in pictures],
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

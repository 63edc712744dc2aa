#!/usr/bin/env python3
"""Times torchvision's multi-crop augmentation on Pillow images, one thread, for `mira-train data bench` to be compared with.

Usage: dev/bench_data.py FOLDER [--seconds 10]     (FOLDER: class folders of images)

Needs torch==2.15.0 torchvision==0.29.2 pillow==13.0.0. The views are those of the recipe imagenet-r50-400ep-multicrop, written as the published
codes write them (torchvision.transforms v1; the blur is Pillow's, as there), up to 8-bit images: neither side normalises. Time is the thread's
processor time. Prints one line of JSON with the same keys.
"""

import argparse
import json
import pathlib
import random
import time

import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision import transforms
from torchvision.transforms import InterpolationMode

GLOBAL, LOCAL = (0.14, 1.0), (0.05, 0.14)
VIEWS = [(224, GLOBAL, 1.0, 0.0), (224, GLOBAL, 0.1, 0.2)] + 6 * [(96, LOCAL, 0.5, 0.0)]
STAGES = ["read, decode", "crop, resize", "colour", "blur", "rest"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    paths = sorted(p for p in args.folder.rglob("*") if p.suffix.lower() in {".jpeg", ".jpg", ".png", ".webp"})
    if not paths:
        parser.error(f"no images under {args.folder}")
    random.shuffle(paths)
    crops = [transforms.RandomResizedCrop(size, scale=scale, interpolation=InterpolationMode.BICUBIC) for size, scale, _, _ in VIEWS]
    jitter = transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8)
    grey = transforms.RandomGrayscale(p=0.2)
    flip = transforms.RandomHorizontalFlip()
    times, measured = dict.fromkeys(STAGES, 0.0), 0

    def one(path):
        last = time.thread_time()

        def lap(stage):
            nonlocal last
            now = time.thread_time()
            times[stage] += now - last
            last = now

        with Image.open(path) as file:
            image = file.convert("RGB")
        lap("read, decode")
        for crop, (_, _, blur, solarize) in zip(crops, VIEWS):
            view = crop(image)
            lap("crop, resize")
            view = grey(jitter(view))
            lap("colour")
            if random.random() < blur:
                view = view.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))
            lap("blur")
            if random.random() < solarize:
                view = ImageOps.solarize(view, 128)
            flip(view)
            lap("rest")

    one(paths[0])
    times = dict.fromkeys(STAGES, 0.0)
    started = time.monotonic()
    while time.monotonic() - started < args.seconds:
        one(paths[measured % len(paths)])
        measured += 1
    milliseconds = {stage: 1e3 * seconds / measured for stage, seconds in times.items()}
    rate = measured / sum(times.values())
    print(json.dumps({"measured": measured, "milliseconds_per_image": milliseconds, "images_per_second_of_a_thread": rate}))


if __name__ == "__main__":
    main()

"""Whether a model learns as well from clips encoded for training: a small one, on made clips.

Something moves over a landscape that a camera pans over, all with grain. What differs by class is
where it moves to and how fine its texture is: no single frame tells the first, and no colour
either. A few 3D convolutions are trained from nothing, for a few epochs.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.scenes import texture, write_clip
from k600.train import ClipTransform, collate, normalize
from k600.video.encoding import Encoding
from k600.video.reencode import reencode_clip

__all__ = ["measure"]

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
FINENESS = (4, 16)
"""Pixels of the coarsest part of the moving thing's texture."""
CLASSES = len(DIRECTIONS) * len(FINENESS)
WIDTH, HEIGHT, FRAMES = 212, 160, 75
SHORT_SIDE, CROP = 128, 112

STORED = {
    "originals": None,
    '`encode="training"`': Encoding(short_side=SHORT_SIDE, encode="training"),
    "the same, `frame_step=4`": Encoding(short_side=SHORT_SIDE, encode="training", frame_step=4),
}


def make_moving(seed: int, label: int) -> bytes:
    """Return a clip of a class: three seconds of 25 frames each."""
    chance = np.random.default_rng(seed)
    down, right = DIRECTIONS[label % len(DIRECTIONS)]
    room, side = 60, 56
    scene = 128 + 40 * texture(chance, HEIGHT + room, WIDTH + room, grid=32)
    noise = 10 * texture(chance, HEIGHT + room, WIDTH + room, grid=4)
    thing = 128 + 40 * texture(chance, side, side, grid=FINENESS[label // len(DIRECTIONS)])
    y, x = chance.uniform(0.3, 0.7, 2) * (HEIGHT - side, WIDTH - side)
    speed, phases = chance.uniform(0.3, 0.8), chance.uniform(0, 6, 2)
    pan = chance.uniform(-0.6, 0.6, 2)

    def picture(index: int) -> Any:
        sway = room / 2 + 6 * np.sin(index / 9 + phases) + pan * (index - FRAMES / 2)
        top, left = sway.astype(int)
        shown = scene[top : top + HEIGHT, left : left + WIDTH].copy()
        moved = speed * (index - FRAMES / 2) + 3 * np.sin(index / 7 + phases[0])
        at_y = int(np.clip(y + down * moved, 0, HEIGHT - side))
        at_x = int(np.clip(x + right * moved, 0, WIDTH - side))
        shown[at_y : at_y + side, at_x : at_x + side] = thing
        top, left = chance.integers(0, room, 2)
        return shown + noise[top : top + HEIGHT, left : left + WIDTH]

    return write_clip(picture(index) for index in range(FRAMES))


def measure(folder: Path, *, is_quick: bool) -> dict[str, list[float]]:
    """Return the share of test clips that is classified rightly, by what is stored and by seed."""
    train, test, epochs, seeds = (1, 1, 1, 1) if is_quick else (16, 12, 14, 3)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in STORED}
    for number in range(CLASSES * (train + test)):
        original = make_moving(number, number % CLASSES)
        for name, encoding in STORED.items():
            data = original if encoding is None else _encoded(original, encoding, folder)
            video = {"path": None, "bytes": data}
            rows[name].append(
                {"video": video, "label": number % CLASSES, "youtube_id": f"{number}"}
            )
    # By turns, so that whatever else runs here meets all alike.
    found: dict[str, list[float]] = {name: [] for name in STORED}
    for seed in range(seeds):
        for name, encoding in STORED.items():
            stride = 4 if encoding is None else 4 // encoding.frame_step
            ours, others = rows[name][: CLASSES * train], rows[name][CLASSES * train :]
            found[name].append(_accuracy(ours, others, stride=stride, seed=seed, epochs=epochs))
    return found


def _encoded(original: bytes, encoding: Encoding, folder: Path) -> bytes:
    path = folder / "encoded.mp4"
    reencode_clip(io.BytesIO(original), path, encoding)
    return path.read_bytes()


def _accuracy(
    train: list[dict[str, Any]], test: list[dict[str, Any]], *, stride: int, seed: int, epochs: int
) -> float:
    torch.manual_seed(seed)
    size = {"num_frames": 16, "stride": stride, "short_side": SHORT_SIDE, "crop": CROP}
    transform = ClipTransform(**size, crop_mode="random", output="uint8", seed=seed)
    model = _model()
    steps = epochs * -(-len(train) // 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    order = random.Random(seed)
    for epoch in range(epochs):
        transform.set_epoch(epoch)
        for batch in _batches(order.sample(train, len(train)), transform):
            loss = torch.nn.functional.cross_entropy(model(batch["pixel_values"]), batch["labels"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    centred = ClipTransform(**size, sampling="center", output="uint8")
    with torch.inference_mode():
        right = sum(
            int((model(batch["pixel_values"]).argmax(1) == batch["labels"]).sum())
            for batch in _batches(test, centred)
        )
    return right / len(test)


def _batches(rows: Sequence[dict[str, Any]], transform: ClipTransform) -> Any:
    for start in range(0, len(rows), 16):
        batch = normalize(collate([transform(row) for row in rows[start : start + 16]]))
        yield batch | {"pixel_values": batch["pixel_values"].transpose(1, 2)}


def _model() -> torch.nn.Module:
    nn = torch.nn

    def block(before: int, after: int, kernel: Any, stride: Any) -> list[torch.nn.Module]:
        padding = tuple(side // 2 for side in kernel)
        convolution = nn.Conv3d(before, after, kernel, stride, padding, bias=False)
        return [convolution, nn.BatchNorm3d(after), nn.ReLU()]

    return nn.Sequential(
        *block(3, 16, (3, 5, 5), (2, 4, 4)),
        *block(16, 32, (3, 3, 3), (2, 2, 2)),
        *block(32, 64, (3, 3, 3), (2, 2, 2)),
        *block(64, 64, (3, 3, 3), (2, 2, 2)),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(64, CLASSES),
    )

"""Training: clips out of rows, batches, labels, weights, views.

Where torch or torchcodec do not work, what needs them is skipped; the arithmetic runs everywhere.
"""

from __future__ import annotations

import itertools
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kinetics600
from k600.dataset.labels import NAMES
from k600.errors import MissingDependencyError, OptionError, UnknownClassError
from k600.miniature import CLASSES, Miniature, make_clip, make_miniature
from k600.train import (
    ClipTransform,
    CorruptClipError,
    align_labels,
    averaged_logits,
    class_weights,
    collate,
    views,
)
from k600.train.pixels import crop_places, scaled_size
from k600.train.sampling import place_of, places
from tests.conftest import Load

try:
    import torch
    import torchcodec.decoders
except (ImportError, RuntimeError, OSError) as error:
    reason = f"torch and torchcodec do not work here: {str(error).partition(chr(10))[0]}"
else:
    reason = ""
decoding = pytest.mark.skipif(bool(reason), reason=reason)

SMALL = {"num_frames": 8, "stride": 3, "short_side": 64, "crop": 56}
RANDOM = {**SMALL, "flip": True, "crop_mode": "random"}


def row(video: Any, number: int = 0, label: int | None = 7) -> dict[str, Any]:
    times = {"time_start": 10 * number, "time_end": 10 * number + 10}
    clip = {"path": f"train/zumba.tar.gz/clip_{number}.mp4", "bytes": video}
    return {"video": clip, "label": label, "youtube_id": "abcdefghijk", "split": "train", **times}


def sums(samples: Any) -> list[tuple[int, float]]:
    return [(s["labels"], float(s["pixel_values"].double().sum())) for s in samples]


# What clips and crops there are


@given(st.sampled_from(["center", "uniform", "random"]), st.integers(1, 9), st.integers(0, 400))
def test_places_are_fractions_in_order_and_stay_in_the_room(
    sampling: str, count: int, room: int
) -> None:
    found = places(sampling, count, random.Random(3))
    assert len(found) == count
    assert found == sorted(found)
    assert all(0 <= place_of(fraction, room) <= room for fraction in found)


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(8, 300), st.integers(8, 300))
def test_a_scaled_frame_has_its_short_side_and_its_shape(
    height: int, width: int, short_side: int, crop: int
) -> None:
    size = scaled_size(height, width, short_side=short_side, at_least=crop)
    assert min(size) == max(short_side, crop)
    assert (size[0] <= size[1]) == (height <= width) or size[0] == size[1]
    ratio = Fraction(max(height, width), min(height, width))
    assert abs(max(size) - min(size) * ratio) <= Fraction(1, 2)


def test_three_crops_go_along_the_longer_side() -> None:
    chance = random.Random(0)
    assert crop_places("three", 340, 256, 224, chance) == [(0, 16), (58, 16), (116, 16)]
    assert crop_places("center", 256, 340, 224, chance) == [(16, 58)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": "middle"}, "sampling: 'middle' .* 'random', 'center', 'uniform'"),
        ({"crop_mode": "five"}, "crop_mode: 'five'"),
        ({"on_corrupt": "ignore"}, "on_corrupt: 'ignore' .* 'raise', 'skip', 'previous'"),
        ({"num_frames": 0}, "num_frames: 0 "),
        ({"num_frames": None}, "num_frames: None "),
        ({"stride": True}, "stride: True "),
        ({"fps": 0}, "fps: 0 "),
        ({"fps": 8, "stride": 2}, "fps: 8 with stride=2"),
        ({"crop": 300}, "crop: 300 .* short_side=256"),
        ({"sampling": "center", "clips_per_video": 2}, "clips_per_video: 2 "),
        ({"std": (1, 1, 0)}, "std"),
    ],
)
@decoding
def test_options_that_are_not_allowed_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ClipTransform(**options)


def test_without_torch_a_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match="pip install torch torchcodec"):
        ClipTransform()
    with pytest.raises(MissingDependencyError, match="pip install torch torchcodec"):
        collate([])


@decoding
def test_without_torchcodec_clips_are_decoded_and_none_is_blamed_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("torchcodec", "torchcodec.decoders"):
        monkeypatch.setitem(sys.modules, name, None)
    assert ClipTransform(**SMALL)(row(make_clip(1)))["labels"] == 7
    transform = ClipTransform(**SMALL, on_corrupt="skip", device="cuda")
    with pytest.raises(MissingDependencyError, match=r"\(torchcodec.decoders: "):
        transform(row(make_clip(1)))
    assert transform.corrupt_clips == 0


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, k600.train; heavy = {'torch', 'torchcodec', 'transformers', 'datasets', 'av'}"
        "; assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Clips


@decoding
def test_a_row_becomes_pixel_values_and_a_label() -> None:
    sample = ClipTransform(**SMALL)(row(make_clip(1)))
    assert set(sample) == {"pixel_values", "labels"}
    assert sample["pixel_values"].shape == (8, 3, 56, 56)
    assert sample["pixel_values"].dtype == torch.float32
    assert sample["pixel_values"].is_contiguous()
    assert sample["labels"] == 7
    assert ClipTransform(**SMALL)(row(make_clip(1), label=None))["labels"] == -100


@decoding
def test_its_defaults_are_those_of_videomae() -> None:
    clip = make_clip(1, fps=25, seconds=4)
    assert ClipTransform()(row(clip))["pixel_values"].shape == (16, 3, 224, 224)
    frames = torchcodec.decoders.VideoDecoder(clip).get_frames_at(range(20, 81, 4)).data
    expected = torch.nn.functional.interpolate(
        frames, size=(256, 341), mode="bilinear", antialias=True
    )[..., 16:240, 59:283]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (expected / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    found = ClipTransform(sampling="center")(row(clip))["pixel_values"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@decoding
def test_frames_are_those_that_stride_and_fps_say() -> None:
    clip = make_clip(1)  # 50 frames, 5 a second
    frames = torchcodec.decoders.VideoDecoder(clip).get_frames_at(range(50)).data.float()
    plain = {"mean": (0, 0, 0), "std": (1 / 255,) * 3, "short_side": None, "crop": 96}
    for options, expected in [
        ({"stride": 3, "sampling": "center"}, range(14, 38, 3)),
        ({"fps": 1, "sampling": "center"}, range(7, 43, 5)),
        ({"fps": 5, "sampling": "uniform", "clips_per_video": 2}, [*range(8), *range(42, 50)]),
        ({"stride": 1, "sampling": "uniform", "clips_per_video": 2}, [*range(8), *range(42, 50)]),
    ]:
        found = ClipTransform(num_frames=8, **options, **plain)(row(clip))["pixel_values"]
        chosen = frames[list(expected)][..., 16:112]
        torch.testing.assert_close(found.flatten(0, -4), chosen, rtol=0, atol=1e-3)


@decoding
@pytest.mark.parametrize("sampling", ["random", "center", "uniform"])
@pytest.mark.parametrize("times", [{"stride": 4}, {"fps": 2.5}])
@pytest.mark.parametrize("clips", [None, 1, 3])
def test_of_a_short_clip_the_last_frame_is_repeated(
    sampling: str, times: dict[str, Any], clips: int | None
) -> None:
    if sampling == "center" and clips == 3:
        clips = 1
    options = {**SMALL, "stride": None, **times, "sampling": sampling, "clips_per_video": clips}
    for frames in (1, 2, 6):
        video = make_clip(2, seconds=1, fps=frames)
        found = ClipTransform(**options)(row(video))["pixel_values"]
        assert found.shape == ((8, 3, 56, 56) if clips is None else (clips, 8, 3, 56, 56))
        assert torch.equal(found[..., -1, :, :, :], found[..., -2, :, :, :])


@decoding
@given(st.integers(1, 60), st.sampled_from([1, 7, 25]), st.floats(0.3, 60), st.integers(1, 4))
def test_every_length_and_every_rate_give_a_whole_clip(
    frames: int, rate: int, fps: float, clips: int
) -> None:
    video = make_clip(frames % 5, seconds=1, fps=frames, width=32, height=32)
    small = {"num_frames": 4, "short_side": 16, "crop": 16, "clips_per_video": clips}
    for sampling, times in itertools.product(
        ("random", "uniform"), ({"fps": fps}, {"stride": rate})
    ):
        found = ClipTransform(sampling=sampling, **times, **small)(row(video))
        assert found["pixel_values"].shape == (clips, 4, 3, 16, 16)


@decoding
def test_small_and_upright_videos_are_scaled_up_to_the_crop() -> None:
    upright = make_clip(3, width=32, height=64)
    for short_side in (None, 64):
        options = {**SMALL, "short_side": short_side}
        assert ClipTransform(**options)(row(upright))["pixel_values"].shape[-2:] == (56, 56)


@decoding
def test_a_video_may_be_a_path_bytes_or_a_decoder(tmp_path: Path) -> None:
    data = make_clip(4)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    transform = ClipTransform(**RANDOM)
    videos = [
        {"path": None, "bytes": data},
        {"path": str(path), "bytes": None},
        data,
        str(path),
        torchcodec.decoders.VideoDecoder(data),
    ]
    found = sums(transform({**row(None), "video": video}) for video in videos)
    assert len(set(found)) == 1


@decoding
def test_what_is_random_needs_a_name_for_the_row() -> None:
    bare = {"video": {"path": None, "bytes": make_clip(1)}}
    with pytest.raises(OptionError, match="youtube_id"):
        ClipTransform(**SMALL)(bare)
    assert ClipTransform(**SMALL, sampling="center")(bare)["labels"] == -100
    with pytest.raises(OptionError, match="a column video, found label"):
        ClipTransform()({"label": [1]})


# The same everywhere


@decoding
def test_seed_epoch_and_row_fix_a_clip_and_nothing_else_does() -> None:
    rows = [row(make_clip(n), n) for n in range(4)]
    transform = ClipTransform(**RANDOM)
    first = sums(map(transform, rows))
    torch.manual_seed(5)
    random.seed(5)
    state = torch.get_rng_state()
    assert sums(map(transform, reversed(rows))) == first[::-1]
    assert torch.equal(torch.get_rng_state(), state)
    transform.set_epoch(1)
    assert sums(map(transform, rows)) != first
    transform.set_epoch(0)
    assert sums(map(transform, rows)) == first
    assert sums(map(ClipTransform(**RANDOM, seed=1), rows)) != first


@decoding
def test_a_batch_is_its_rows() -> None:
    rows = [row(make_clip(n), n, label=n or None) for n in range(3)]
    transform = ClipTransform(**RANDOM)
    batch = transform({name: [r[name] for r in rows] for name in rows[0]})
    assert batch["labels"] == [-100, 1, 2]
    found = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    assert sums(found) == sums(map(transform, rows))


def test_columns_that_a_trainer_has_dropped_are_an_error_that_says_so() -> None:
    pytest.importorskip("torch", exc_type=ImportError)
    rows = [row(make_clip(n), n) for n in range(2)]
    left = {"label": [r["label"] for r in rows]}
    with pytest.raises(OptionError, match=r"rows: .*video, found label.*remove_unused_columns=F"):
        ClipTransform(**SMALL)(left)
    with pytest.raises(OptionError, match=r"batch: .*pixel_values, found .*remove_unused_columns"):
        collate(rows)  # rows that no transform has seen


@decoding
def test_it_can_be_pickled_and_copies_know_the_epoch() -> None:
    transform = ClipTransform(**RANDOM)
    transform.set_epoch(3)
    copy = pickle.loads(pickle.dumps(transform))
    assert copy == transform
    assert sums([copy(row(make_clip(1)))]) == sums([transform(row(make_clip(1)))])


def sources(load: Load, transform: ClipTransform, **options: Any) -> dict[str, Any]:
    mapped = load("train", **options)["train"].with_transform(transform)
    # A mirror of its own that nothing was loaded from, so that bytes come.
    stream = load("train", streaming=True, data_dir="nothing-here", **options)["train"]
    return {
        "with_transform": mapped,
        "map": stream.map(transform, remove_columns=stream.column_names),
        "map batched": stream.map(
            transform, batched=True, batch_size=4, remove_columns=stream.column_names
        ),
    }


@decoding
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # one CPU
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_any_number_of_workers_gives_the_same_clips(
    start: str, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    transform = ClipTransform(**RANDOM)
    found = {}
    for name, ds in sources(load, transform, classes=CLASSES[:2]).items():
        for workers in (0, 1, 2) if start == "fork" else (0, 2):
            loader = torch.utils.data.DataLoader(
                ds,
                batch_size=3,
                num_workers=workers,
                collate_fn=collate,
                multiprocessing_context=start if workers else None,
            )
            batches = list(loader)
            assert all(b["pixel_values"].shape[1:] == (8, 3, 56, 56) for b in batches)
            assert all(b["labels"].dtype == torch.int64 for b in batches)
            clips = [
                (int(label), float(pixels.double().sum()))
                for b in batches
                for pixels, label in zip(b["pixel_values"], b["labels"], strict=True)
            ]
            found[name, workers] = sorted(clips)
    assert len(found["map", 0]) == 10
    assert len(set(map(tuple, found.values()))) == 1


@decoding
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_that_run_already_see_the_epoch(start: str, load: Load) -> None:
    transform = ClipTransform(**RANDOM)
    ds = load("train", classes=CLASSES[:1])["train"].with_transform(transform)
    loader = torch.utils.data.DataLoader(
        ds,
        batch_size=5,
        num_workers=1,
        collate_fn=collate,
        multiprocessing_context=start,
        persistent_workers=True,
    )
    epochs = []
    for epoch in (0, 1, 0):
        transform.set_epoch(epoch)
        epochs.append(sum(float(b["pixel_values"].double().sum()) for b in loader))
    assert epochs[0] == epochs[2] != epochs[1]


@decoding
def test_rows_that_come_decoded_are_read_as_they_are(load: Load) -> None:
    transform = ClipTransform(**RANDOM)
    plain = load("train", classes=CLASSES[:1])["train"].with_transform(transform)
    decoded = load("train", classes=CLASSES[:1], decode=True)["train"].with_transform(transform)
    assert sums(plain) == sums(decoded)


# Clips that cannot be decoded


def corrupt(kind: str) -> bytes | None:
    whole = make_clip(1)
    start = whole.index(b"mdat") + 4
    return {
        "no bytes": b"",
        "noise": bytes(range(256)) * 8,
        "cut off": whole[:-3000],
        "damaged inside": whole[:start] + b"\xff" * 2000 + whole[start + 2000 :],
        "a path to nothing": None,
    }[kind]


KINDS = ["no bytes", "noise", "cut off", "damaged inside", "a path to nothing"]


@decoding
@pytest.mark.parametrize("kind", KINDS)
def test_a_corrupt_clip_is_an_error_that_names_it(kind: str) -> None:
    with pytest.raises(CorruptClipError, match="train/abcdefghijk_0_10 cannot be decoded"):
        ClipTransform(**SMALL)(row(corrupt(kind)))


@decoding
@pytest.mark.parametrize("kind", KINDS)
def test_a_corrupt_clip_is_skipped_counted_and_named(
    kind: str, lines: pytest.LogCaptureFixture
) -> None:
    transform = ClipTransform(**SMALL, on_corrupt="skip")
    rows = [row(make_clip(1)), row(corrupt(kind), 1, label=8), row(make_clip(2), 2)]
    batch = collate([transform(r) for r in rows])
    assert batch["pixel_values"].shape == (2, 8, 3, 56, 56)
    assert batch["labels"].tolist() == [7, 7]
    assert transform.corrupt_clips == 1
    assert transform.corrupt_names == ("train/abcdefghijk_10_20",)
    assert "corrupt clip 1, skipped: train/abcdefghijk_10_20" in lines.text


@decoding
def test_the_previous_clip_stands_in_with_its_label() -> None:
    transform = ClipTransform(**SMALL, on_corrupt="previous")
    good = [row(make_clip(n), n, label=n) for n in range(3)]
    bad = row(b"no clip", 9, label=9)
    assert transform(bad)["pixel_values"] is None  # there is none yet, and a row has no next one
    found = [transform(r) for r in (good[0], bad, good[1], bad, bad)]
    assert [sample["labels"] for sample in found] == [0, 0, 1, 1, 1]
    assert torch.equal(found[4]["pixel_values"], found[2]["pixel_values"])
    assert transform.corrupt_clips == 4
    fresh = ClipTransform(**SMALL, on_corrupt="previous")
    rows = [bad, bad, good[2], bad]
    batch = fresh({name: [r[name] for r in rows] for name in bad})
    assert batch["labels"] == [2, 2, 2, 2]


@decoding
def test_a_batch_of_nothing_is_an_error() -> None:
    transform = ClipTransform(**SMALL, on_corrupt="skip")
    with pytest.raises(CorruptClipError, match="a batch of 2 clips"):
        collate([transform(row(b"x")), transform(row(b"y"))])


@decoding
@pytest.mark.parametrize("policy", ["skip", "previous"])
def test_nothing_but_corrupt_clips_is_something_else(policy: str) -> None:
    transform = ClipTransform(**SMALL, on_corrupt=policy)
    with pytest.raises(CorruptClipError, match="not one of the first 20 .*kinetics600 doctor"):
        for number in range(30):
            transform(row(b"no clip", number))
    patient = ClipTransform(**SMALL, on_corrupt=policy)
    patient(row(make_clip(1)))
    for number in range(130):
        patient(row(b"no clip", number))
    assert patient.corrupt_clips == 130


@decoding
def test_the_log_does_not_fill_with_corrupt_clips(lines: pytest.LogCaptureFixture) -> None:
    transform = ClipTransform(**SMALL, on_corrupt="skip")
    transform(row(make_clip(1)))
    for number in range(200):
        transform(row(b"no clip", number))
    assert lines.text.count("corrupt clip") == 12


@decoding
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # one CPU
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_what_workers_count_is_seen_here(start: str, load: Load, tmp_path: Path) -> None:
    transform = ClipTransform(**SMALL, on_corrupt="skip")
    ds = load("train", classes=CLASSES[:2])["train"]
    for index in (0, 9):
        Path(ds[index]["video"]["path"]).write_bytes(b"no clip")
    loader = torch.utils.data.DataLoader(
        ds.with_transform(transform),
        batch_size=5,
        num_workers=2,
        collate_fn=collate,
        multiprocessing_context=start,
    )
    assert [len(batch["labels"]) for batch in loader] == [4, 4]
    assert transform.corrupt_clips == 2
    assert transform.corrupt_names == ()


# Labels


def test_ids_of_a_checkpoint_are_found_under_any_spelling() -> None:
    names = [name.replace(" ", "_").replace("'", "").upper() for name in reversed(NAMES)]
    mapping = align_labels({str(number): name for number, name in enumerate(names)})
    assert mapping == {number: 599 - number for number in range(600)}
    assert align_labels({0: "zumba", 1: "abseil_700"}, classes=["ZUMBA"]) == {599: 0}


def test_a_checkpoint_that_lacks_classes_is_told_which() -> None:
    theirs = dict(enumerate(NAMES[2:])) | {700: "surfing the web", 701: "zumbaa"}
    with pytest.raises(UnknownClassError, match="lacks 2 classes: 'abseiling', .*2 names that"):
        align_labels(theirs)
    with pytest.raises(UnknownClassError, match="'zumba'; did you mean 'zumbaa'?"):
        align_labels({3: "zumbaa"}, classes=["zumba"])
    with pytest.raises(UnknownClassError, match="lacks 600 classes.* and 595 more"):
        align_labels({0: "LABEL_0"})
    with pytest.raises(OptionError, match="'zumba' has two ids, 0 and 1"):
        align_labels({0: "zumba", 1: "Zumba"}, classes=["zumba"])


@decoding
def test_aligned_ids_come_out_as_labels() -> None:
    transform = ClipTransform(**SMALL, label_ids=align_labels({4: "zumba"}, classes=["zumba"]))
    assert transform(row(make_clip(1), label=599))["labels"] == 4
    assert transform(row(make_clip(1), label=3))["labels"] == -100
    assert transform(row(make_clip(1), label=None))["labels"] == -100


@decoding
def test_rarer_classes_weigh_more_and_nothing_is_decoded(load: Load) -> None:
    def never(rows: Any) -> Any:
        raise AssertionError("a row was transformed")

    ds = load("test")["test"].with_transform(never)
    labels = [label for label in ds.with_format(None)["label"] if label is not None]
    assert len(labels) < len(ds)
    weights = class_weights(ds, smoothing=0)
    assert weights.shape == (600,)
    assert weights.dtype == torch.float32
    counts = torch.bincount(torch.tensor(labels), minlength=600)
    assert torch.equal(weights > 0, counts > 0)
    present = weights[counts > 0] * counts[counts > 0]
    torch.testing.assert_close(present, torch.full_like(present, present[0].item()))
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1)
    smooth = class_weights(ds.select([0, 1, 5]), smoothing=2.0)
    assert bool((smooth > 0).all())
    with pytest.raises(OptionError, match="smoothing: -1"):
        class_weights(ds, smoothing=-1)
    with pytest.raises(OptionError, match="no row with a label"):
        class_weights(ds.select([]))


# Views


@decoding
@pytest.mark.parametrize(("clips", "crops"), [(1, 1), (1, 3), (4, 1), (2, 3)])
def test_views_are_clips_by_crops(clips: int, crops: int) -> None:
    transform = views(clips, crops, **SMALL)
    assert transform.num_views == clips * crops
    samples = [transform(row(make_clip(n), n)) for n in range(2)]
    batch = collate(samples)
    assert batch["pixel_values"].shape == (2, clips * crops, 8, 3, 56, 56)
    first = batch["pixel_values"][0]
    assert len({float(view.double().sum()) for view in first}) == clips * crops
    single = [ClipTransform(**SMALL, sampling="uniform", clips_per_video=clips)(row(make_clip(0)))][
        0
    ]["pixel_values"]
    assert torch.equal(first[1::3] if crops == 3 else first, single)


@decoding
def test_logits_are_averaged_over_views() -> None:
    pixels = torch.randn(2, 3, 4, 3, 8, 8)

    class Output:
        def __init__(self, logits: Any) -> None:
            self.logits = logits

    def model(clips: Any) -> Any:
        assert clips.ndim == 5
        return Output(clips.mean((1, 3, 4)))

    expected = pixels.mean((1, 2, 4, 5))
    torch.testing.assert_close(averaged_logits(model, pixels), expected)
    for at_once in (1, 4):
        found = averaged_logits(lambda x: model(x).logits, pixels, views_at_once=at_once)
        torch.testing.assert_close(found, expected)
    with pytest.raises(OptionError, match=r"\(B, V, T, C, H, W\)"):
        averaged_logits(model, pixels[0])
    with pytest.raises(OptionError, match="views_at_once: 0"):
        averaged_logits(model, pixels, views_at_once=0)
    with pytest.raises(OptionError, match="num_crops: 2"):
        views(2, 2)
    with pytest.raises(OptionError, match="sampling"):
        views(2, 3, sampling="random")


# The store in other tools


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that load_dataset filled; two clips of the test split have no label."""
    folder = tmp_path_factory.mktemp("stored")
    host: Miniature = make_miniature(folder / "host")
    options = {"data_dir": str(folder / "clips"), "cache_dir": str(folder / "cache")}
    kinetics600.load_dataset(
        "all",
        mirror=str(host.root),
        test_labels=str(host.test_labels),
        on_missing="skip",
        **options,
    )
    assert (folder / "clips/.kinetics600").is_dir()
    return folder / "clips"


def test_the_store_is_a_videofolder(stored: Path, tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"video": datasets.Video(decode=False), "label": datasets.ClassLabel(names=list(NAMES))}
    )
    files = {"train": str(stored / "train/**"), "validation": str(stored / "validation/**")}
    ds = datasets.load_dataset(
        "videofolder", data_files=files, features=features, cache_dir=str(tmp_path)
    )
    for split in files:
        paths = [row["video"]["path"] for row in ds[split]]
        assert sorted(paths) == sorted(map(str, (stored / split).rglob("*.mp4")))
        for row in ds[split]:
            assert NAMES[row["label"]] == Path(row["video"]["path"]).parent.name
    whole = datasets.load_dataset("videofolder", data_dir=str(stored), cache_dir=str(tmp_path))
    assert {split: len(rows) for split, rows in whole.items()} == {
        "train": 30,
        "validation": 30,
        "test": 12,
    }


def in_page(tool: str, data_dir: Path, split: str = "train") -> Any:
    """Return what the page's snippet for a tool calls `train` or, if asked for, `test`."""
    import datasets

    page = (Path(kinetics600.__file__).parent / "docs/coming_from.md").read_text()
    section = page.partition("## In other tools")[2].partition("\n## ")[0]
    snippets = re.findall(r"```python\n(.*?)```", section, re.S)
    (snippet,) = (each for each in snippets if tool in each)
    names = {"kinetics600": kinetics600, "datasets": datasets, "data_dir": str(data_dir)}
    exec(compile(snippet, "coming_from.md", "exec"), names)
    return names[split]


def test_the_page_opens_the_store_as_a_videofolder(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    train = in_page("videofolder", stored)
    assert len(train) == 30
    for row in train:
        assert NAMES[row["label"]] == Path(row["video"]["path"]).parent.name


def test_the_pages_videofolder_leaves_out_test_clips_that_no_list_labels(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    test = in_page("videofolder", stored, "test")
    assert len(test) == 5
    assert sorted(row["video"]["path"] for row in test) == sorted(
        str(path) for path in stored.glob("test/*/*.mp4") if path.parent.name != "_unlabeled"
    )  # also those whose names begin with `__`
    for row in test:
        assert NAMES[row["label"]] == Path(row["video"]["path"]).parent.name


@pytest.mark.filterwarnings("ignore")  # what they warn of as they are imported
def test_readme_s_torchvision_leaves_out_test_clips_that_no_list_labels(stored: Path) -> None:
    try:
        import torchcodec.decoders  # noqa: F401
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision or torchcodec does not work here: {error}")
    test = in_page("torchvision", stored, "test")
    assert len(test.samples) == 5
    assert "_unlabeled" not in test.classes
    assert all(test.classes[label] == Path(path).parent.name for path, label in test.samples)


@decoding
@pytest.mark.filterwarnings("ignore")  # what they warn of as they are imported
def test_the_page_opens_the_store_in_torchvision(stored: Path) -> None:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not work here: {error}")
    train = in_page("torchvision", stored)
    clip, label = train[7]
    assert len(train) == 30
    assert clip[0].ndim == 3
    assert train.classes[label] == sorted(CLASSES)[label]


@pytest.mark.filterwarnings("ignore")  # what they warn of as they are imported
def test_the_store_is_torchvision_s_dataset_folder(stored: Path) -> None:
    try:
        from torchvision.datasets import DatasetFolder
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not work here: {error}")
    ds = DatasetFolder(str(stored / "train"), loader=str, extensions=(".mp4",))
    assert len(ds) == 30
    assert ds.classes == sorted(CLASSES)
    path, label = ds[7]
    assert ds.classes[label] == Path(path).parent.name


@pytest.mark.filterwarnings("ignore")  # what they warn of as they are imported
def test_the_store_is_fiftyone_s_directory_tree(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIFTYONE_DISABLE_SERVICES", "1")  # its importer needs no database
    try:
        from fiftyone.utils.data import VideoClassificationDirectoryTreeImporter
    except ImportError as error:
        pytest.skip(f"fiftyone does not work here: {error}")
    for split, count in (("train", 30), ("test", 12)):
        importer = VideoClassificationDirectoryTreeImporter(dataset_dir=str(stored / split))
        importer.setup()
        rows = list(importer)
        assert len(rows) == count
        for path, _, label, _ in rows:
            folder = os.path.basename(os.path.dirname(path))
            assert (label.label if label else "_unlabeled") == folder


@decoding
def test_a_clip_that_went_is_a_corrupt_one(load: Load, folders: dict[str, Any]) -> None:
    ds = load("train", classes=CLASSES[:1])["train"]
    shutil.rmtree(folders["data_dir"])
    transform = ClipTransform(**SMALL, on_corrupt="skip")
    assert ds.with_transform(transform)[0]["pixel_values"] is None
    with pytest.raises(CorruptClipError, match="No such file"):
        ds.with_transform(ClipTransform(**SMALL))[0]

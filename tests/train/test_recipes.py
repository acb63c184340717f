"""Recipes: uint8 and the GPU's share, augmentations, columns kept, audio, epochs of a `Trainer`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from k600.errors import OptionError
from k600.miniature import CLASSES, make_clip
from k600.train import (
    ClipTransform,
    averaged_logits,
    collate,
    epoch_callback,
    normalize,
    normalize_inputs,
)
from tests.conftest import Load
from tests.train.test_decoding import encoded

torch = pytest.importorskip("torch", exc_type=ImportError)

SMALL = {"num_frames": 4, "stride": 2, "short_side": 64, "crop": 56, "flip": True}


def row(number: int, video: bytes | None = None, **more: Any) -> dict[str, Any]:
    data = make_clip(number) if video is None else video
    return {
        "video": {"path": None, "bytes": data},
        "label": number,
        "youtube_id": f"{number}",
    } | more


# The hand-over of uint8


def test_uint8_normalised_later_is_what_float32_is_at_once() -> None:
    rows = [row(number) for number in range(3)]
    for more in ({}, {"clips_per_video": 2, "crop_mode": "three"}):
        early, late = (ClipTransform(**SMALL, **more, output=o) for o in ("float32", "uint8"))
        batch = collate([late(r) for r in rows])
        assert batch["pixel_values"].dtype == torch.uint8
        expected = collate([early(r) for r in rows])
        found = normalize(batch)
        assert torch.equal(found["pixel_values"], expected["pixel_values"])
        assert torch.equal(found["labels"], expected["labels"])
        assert batch["pixel_values"].dtype == torch.uint8  # the batch itself stays
        again = normalize(expected, "cpu")["pixel_values"]
        assert torch.equal(again, expected["pixel_values"])


def test_normalize_has_a_device_a_type_and_a_layout() -> None:
    batch = collate([ClipTransform(**SMALL, output="uint8")(row(1))]) | {"youtube_id": ["1"]}
    found = normalize(batch, "meta", dtype=torch.bfloat16, channels_last=True)
    assert found["pixel_values"].device.type == found["labels"].device.type == "meta"
    assert found["youtube_id"] == ["1"]
    pixels = normalize(batch, dtype=torch.bfloat16, channels_last=True)["pixel_values"]
    assert pixels.dtype == torch.bfloat16
    assert pixels.shape == (1, 4, 3, 56, 56)
    assert pixels[0].is_contiguous(memory_format=torch.channels_last)
    other = normalize(batch, mean=(0, 0, 0), std=(1 / 255,) * 3)["pixel_values"]
    assert torch.equal(other, batch["pixel_values"].float())


@pytest.mark.parametrize("key", ["pixel_values", "pixel_values_videos"])
def test_a_model_normalises_its_own_inputs(key: str) -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))

        def forward(self, labels: Any, **pixels: Any) -> Any:
            return pixels[key] * self.weight

    batch = collate([ClipTransform(**SMALL, output="uint8", key=key)(row(1))])
    model = Model()
    handle = normalize_inputs(model)
    expected = normalize(batch, dtype=torch.bfloat16)[key]
    assert torch.equal(model(**batch), expected)
    handle.remove()
    assert torch.equal(model(**batch), batch[key].bfloat16())


def test_pixels_that_are_passed_by_place_are_normalised_as_well() -> None:
    batch = collate([ClipTransform(**SMALL, output="uint8", clips_per_video=2)(row(1))])
    model = torch.nn.Flatten()
    normalize_inputs(model)
    expected = normalize(batch)["pixel_values"].flatten(2).mean(1)
    found = averaged_logits(model, batch["pixel_values"])
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(model(torch.ones(2, 3)), torch.ones(2, 3))


# Columns and audio


def test_columns_are_kept_through_batches_and_the_fps_of_stored_clips_are_one() -> None:
    transform = ClipTransform(**SMALL, keep=("youtube_id", "fps"), key="pixel_values_videos")
    rows = [row(1, fps=None), row(2, fps=6.25)]
    batch = collate([transform(r) for r in rows])
    assert list(batch) == ["pixel_values_videos", "labels", "youtube_id", "fps"]
    assert batch["youtube_id"] == ["1", "2"]
    assert batch["fps"] == [None, 6.25]
    together = transform({name: [r[name] for r in rows] for name in rows[0]})
    assert together["fps"] == [None, 6.25]
    plain = collate([ClipTransform(**SMALL)(row(number)) for number in (1, 2)])
    assert torch.equal(plain["pixel_values"], batch["pixel_values_videos"])
    with pytest.raises(OptionError, match="expected a column fps"):
        transform(row(1))


def test_audio_comes_with_the_clip_it_was_recorded_with() -> None:
    data = encoded(frames=40, tone_seconds=1.0)  # of 1.6 seconds, the last 0.6 without audio
    options = {**SMALL, "stride": 1, "sampling": "uniform", "audio_seconds": 0.1}
    sample = ClipTransform(**options, clips_per_video=2, audio_rate=8_000)(row(1, data))
    assert sample["audio"].shape == (2, 800)
    assert sample["audio"][0].abs().max() > 0.5
    assert not sample["audio"][1].any()
    silent = ClipTransform(**options)(row(2))
    loud = ClipTransform(**options)(row(3, data))
    assert collate([silent, loud])["audio"].shape == (2, 1_600)
    skipping = ClipTransform(**options, on_corrupt="skip")
    assert collate([loud, skipping(row(4, b"no clip"))])["audio"].shape == (1, 1_600)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "float16"}, "output: 'float16' .* 'float32', 'uint8'"),
        ({"key": "video"}, "key: 'video' .* 'pixel_values', 'pixel_values_videos'"),
        ({"keep": "youtube_id"}, "keep: 'youtube_id'"),
        ({"keep": ("labels",)}, "keep: .*labels"),
        ({"audio_seconds": 0}, "audio_seconds: 0 "),
        ({"audio_rate": 0}, "audio_rate: 0 "),
        ({"audio_seconds": "2"}, "audio_seconds: '2' "),
        ({"audio_seconds": float("inf")}, "audio_seconds: inf "),
        ({"fps": "8"}, "fps: '8' "),
        ({"fps": float("nan")}, "fps: nan "),
        ({"keep": 5}, "keep: 5 "),
        ({"keep": ("youtube_id", 1)}, "keep: .*1"),
        ({"mean": 0.5}, "mean, std: 0.5"),
        ({"std": ("a", "b", "c")}, "mean, std: .*'a'"),
        ({"flip": "no"}, "flip: 'no' .* True or False"),
        ({"seed": None}, "seed: None "),
        ({"augment": 5}, "augment: 5 "),
        ({"device": "gpu"}, "device: 'gpu' .* 'cpu', 'cuda'"),
        ({"label_ids": [1, 2]}, "label_ids: a list .* align_labels"),
    ],
)
def test_values_that_are_not_allowed_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ClipTransform(**options)


@pytest.mark.parametrize("epoch", [1.5, -1, "1"])
def test_an_epoch_is_a_whole_number(epoch: Any) -> None:
    with pytest.raises(OptionError, match=f"epoch: {epoch!r} is not allowed"):
        ClipTransform(**SMALL).set_epoch(epoch)


# Augmentations


def noise(clip: Any) -> Any:
    return (clip + torch.randint(0, 40, clip.shape)).clamp(0, 255).to(torch.uint8)


def test_an_augmentation_draws_from_the_row_and_leaves_torch_s_generator_alone() -> None:
    transform = ClipTransform(**SMALL, augment=noise, output="uint8", clips_per_video=2)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = [transform(row(number))["pixel_values"] for number in (1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    second = [transform(row(number))["pixel_values"] for number in (2, 1)]
    assert torch.equal(first[0], second[1])
    assert torch.equal(first[1], second[0])
    transform.set_epoch(1)
    assert not torch.equal(transform(row(1))["pixel_values"], first[0])
    with pytest.raises(OptionError, match=r"augment: gave torch.float32 \(1, .*expected uint8"):
        ClipTransform(augment=lambda clip: clip.float()[:1])(row(1))


@pytest.mark.filterwarnings("ignore")  # what it warns of as it is imported
def test_torchvision_s_transforms_augment() -> None:
    v2 = pytest.importorskip("torchvision.transforms.v2", exc_type=(ImportError, RuntimeError))
    recipes = {
        "random resized crops": ([v2.RandomResizedCrop(56, antialias=True)], None),
        "short sides": ([v2.RandomShortestSize([64, 72, 80], antialias=True)], None),
        "RandAugment": ([v2.RandAugment(2, 9)], 64),
    }
    for name, (steps, short_side) in recipes.items():
        options = {**SMALL, "short_side": short_side, "crop_mode": "random"}
        transform = ClipTransform(**options, augment=v2.Compose(steps), output="uint8")
        found = [transform(row(1))["pixel_values"] for _ in range(2)]
        assert found[0].shape == (4, 3, 56, 56), name
        assert torch.equal(*found), name
        plain = ClipTransform(**options, output="uint8")(row(1))["pixel_values"]
        assert not torch.equal(found[0], plain), name


# A Trainer


class Recorder(torch.nn.Module):
    """A model that notes the clips it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 600)
        self.seen: list[tuple[Any, ...]] = []

    def forward(self, pixel_values: Any, labels: Any) -> dict[str, Any]:
        means = pixel_values.float().mean((1, 3, 4))
        self.seen.append(tuple(map(tuple, means.tolist())))
        logits = self.layer(means)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def trained(ds: Any, folder: Path, *, accumulation: int, resume: str | None = None) -> Any:
    transformers = pytest.importorskip("transformers", exc_type=(ImportError, RuntimeError))
    pytest.importorskip("accelerate", exc_type=(ImportError, RuntimeError))
    transform = ClipTransform(**{**SMALL, "short_side": 32, "crop": 32}, output="uint8")
    model = Recorder()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=3,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=accumulation,
        save_strategy="steps",
        save_steps=1,
        remove_unused_columns=False,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=ds.with_transform(transform),
        data_collator=collate,
        callbacks=[epoch_callback(transform)],
    )
    normalize_inputs(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch and transformers, about each other
        trainer.train(resume_from_checkpoint=resume)
    return model.seen


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_that_goes_on_sees_the_clips_of_its_epoch_at_every_fraction(
    accumulation: int, load: Load, tmp_path: Path
) -> None:
    ds = load("train", classes=CLASSES[:2])["train"]  # ten clips: five batches an epoch
    whole = trained(ds, tmp_path / "whole", accumulation=accumulation)
    assert len(whole) == 15
    assert len(set(whole)) == 15
    steps = -(-5 // accumulation)
    for step in range(1, 3 * steps):
        done = step // steps * 5 + step % steps * accumulation
        checkpoint = str(tmp_path / "whole" / f"checkpoint-{step}")
        found = trained(ds, tmp_path / f"{step}", accumulation=accumulation, resume=checkpoint)
        assert found == whole[done:], f"resumed at epoch {step / steps}"


def test_a_dataset_that_is_split_by_hand_and_by_accelerate_is_warned_of(load: Load) -> None:
    pytest.importorskip("transformers", exc_type=(ImportError, RuntimeError))
    from types import SimpleNamespace

    from datasets.distributed import split_dataset_by_node

    stream = load("train", streaming=True)["train"]
    callback = epoch_callback(ClipTransform())
    half = split_dataset_by_node(stream, rank=0, world_size=2)
    two, one = SimpleNamespace(world_size=2), SimpleNamespace(world_size=1)

    def begin(args: Any, ds: Any) -> None:
        loader = torch.utils.data.DataLoader(ds)
        callback.on_train_begin(args, None, None, train_dataloader=loader)

    begin(two, stream)
    begin(one, half)
    with pytest.warns(UserWarning, match="rank 0 of 2.* Pass the whole dataset"):
        begin(two, half)

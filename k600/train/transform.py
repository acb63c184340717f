"""The transform of rows into samples, and the collation of samples into batches."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from k600.errors import MissingDependencyError, OptionError
from k600.train.corrupt import CorruptClipError, Shared, error_text
from k600.train.pixels import crop_places, normalised, scaled
from k600.train.sampling import clips_at, import_torch, open_video, places
from k600.values import choice, whole_number

if TYPE_CHECKING:
    from torch import Tensor

_CHOICES = {
    "sampling": ("random", "center", "uniform"),
    "crop_mode": ("center", "random", "three"),
    "on_corrupt": ("raise", "skip", "previous"),
}
_COLUMNS = ("video", "label", "split", "youtube_id", "time_start", "time_end")

Sample = dict[str, Any]


@dataclass(frozen=True)
class ClipTransform:
    """Turn rows of the dataset into `pixel_values` and `labels`.

    For `Dataset.with_transform` and `set_transform`, `IterableDataset.map` (batched or not), or a
    row. Load with `decode=False`: then the video is opened, read and closed here, in whichever
    process asks, and nothing of it outlives the call.

    What is random depends on `seed`, the epoch and the row alone: not on the number of workers or
    the order of rows (but for `on_corrupt="previous"`). Call `set_epoch` before each epoch, or
    all epochs see the same clips.

    Raises:
        OptionError: A value is not allowed.
        MissingDependencyError: No working torch.

    Example:
        transform = ClipTransform(num_frames=16, stride=4, sampling="random", flip=True)
        ds.with_transform(transform)[0]["pixel_values"].shape  # (16, 3, 224, 224)
    """

    num_frames: int = 16
    """Frames of a clip (T), 1 or more."""
    stride: int | None = None
    """Frames of the video from one to the next of a clip, 1 or more; 4 unless `fps` is given."""
    fps: float | None = None
    """Frames a second of a clip, instead of `stride`: as long a time in every video."""
    sampling: str = "random"
    """Where clips start: `random`, `center`, or `uniform` from the first place to the last."""
    clips_per_video: int | None = None
    """None: one clip, (T, C, H, W). A number, 1 or more: a leading axis of views."""
    short_side: int | None = 256
    """Pixels that the shorter side is scaled to; None leaves it, unless `crop` is larger."""
    crop: int = 224
    """Side of the square crop in pixels (H and W), `short_side` at most."""
    crop_mode: str = "center"
    """`center`, `random`, or `three` along the longer side, which is a leading axis of views."""
    flip: bool = False
    """Mirror every second clip by chance. Some classes name a side; few models mind."""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """Taken from each channel, of values from 0 to 1; default ImageNet's."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    """What each channel is divided by; default ImageNet's."""
    on_corrupt: str = "raise"
    """A clip that cannot be decoded: `raise`; `skip` (`pixel_values` is None, which `collate`
    drops); `previous`: the last good sample of this worker, or the next of the batch before any."""
    seed: int = 0
    """Seed of all that is random."""
    label_ids: Mapping[int, int] | None = None
    """`align_labels(...)`: a checkpoint's id for each of ours; others become -100."""
    _shared: Shared = field(default_factory=Shared, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            choice(name, getattr(self, name), allowed)
        for name in ("num_frames", "stride", "clips_per_video", "short_side", "crop"):
            value = getattr(self, name)
            if value is not None or name in ("num_frames", "crop"):
                whole_number(name, value, least=1)

        if self.fps is not None and (self.stride is not None or not self.fps > 0):
            raise OptionError(
                f"fps: {self.fps!r} with stride={self.stride!r} is not allowed, expected more than "
                "0, and no stride"
            )
        if self.short_side is not None and self.crop > self.short_side:
            raise OptionError(
                f"crop: {self.crop!r} is not allowed, expected short_side={self.short_side} or less"
            )
        if self.sampling == "center" and (self.clips_per_video or 1) > 1:
            raise OptionError(
                f"clips_per_video: {self.clips_per_video!r} is not allowed with sampling='center', "
                "expected None or 1; sampling='uniform' gives several"
            )
        if len(self.mean) != 3 or len(self.std) != 3 or not all(self.std):
            raise OptionError(
                f"mean, std: {self.mean!r}, {self.std!r} are not allowed, expected 3 numbers "
                "each, and no std of 0"
            )

    @property
    def num_views(self) -> int:
        """Clips times crops of a sample (V)."""
        return (self.clips_per_video or 1) * (3 if self.crop_mode == "three" else 1)

    @property
    def corrupt_clips(self) -> int:
        """How many times a clip could not be decoded, here and in data-loading workers."""
        return self._shared.count

    @property
    def corrupt_names(self) -> tuple[str, ...]:
        """Those met in this process. Workers name theirs through the logger `kinetics600`."""
        return tuple(self._shared.names)

    def set_epoch(self, epoch: int) -> None:
        """Make the random choices of this epoch, 0 or more; workers that run already see it."""
        self._shared.epoch = epoch

    def __call__(self, rows: Mapping[str, Any]) -> Sample:
        """Transform a row, or a batch of them as a dict of lists.

        Returns:
            `pixel_values`, float32 (T, C, H, W), or (V, T, C, H, W) with `clips_per_video` or three
            crops, V being clips by crops; and `labels`, int, -100 without a label. Lists of these
            for a batch.

        Raises:
            OptionError: There is no column `video`: a Trainer drops it unless it has
                `remove_unused_columns=False`.
            CorruptClipError: With `on_corrupt="raise"`, or if not one clip can be decoded.
            MissingDependencyError: No working torchcodec.
        """
        columns = [name for name in _COLUMNS if name in rows]
        _check_column("rows", "video", rows)
        video = rows["video"]
        if not isinstance(video, Sequence) or isinstance(video, (str, bytes)):
            return self._sample({name: rows[name] for name in columns})
        several = zip(*(rows[name] for name in columns), strict=True)
        samples = [self._sample(dict(zip(columns, row, strict=True))) for row in several]
        if self.on_corrupt == "previous":  # before the first good one there was none
            first = next((s for s in samples if s["pixel_values"] is not None), None)
            samples = [s if s["pixel_values"] is not None else first or s for s in samples]
        return {name: [s[name] for s in samples] for name in ("pixel_values", "labels")}

    def _sample(self, row: Mapping[str, Any]) -> Sample:
        name = _name_of(row)
        chance = self._chance(name)
        starts = places(self.sampling, self.clips_per_video or 1, chance)
        step = 4 if self.stride is None and self.fps is None else self.stride
        try:
            decoder = open_video(row["video"])
            clips = clips_at(decoder, starts, num_frames=self.num_frames, step=step, fps=self.fps)
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            return self._instead(name or "a clip without a name", error)
        del decoder

        label = row.get("label")
        if label is not None and self.label_ids is not None:
            label = self.label_ids.get(label)
        sample = {
            "pixel_values": self._pixels(clips, chance),
            "labels": -100 if label is None else int(label),
        }
        self._shared.keep(sample if self.on_corrupt == "previous" else None)
        return sample

    def _pixels(self, clips: Tensor, chance: random.Random) -> Tensor:
        torch = import_torch()
        views = []
        for clip in clips:
            frames = scaled(clip, short_side=self.short_side, at_least=self.crop)
            height, width = frames.shape[-2:]
            flip = self.flip and chance.random() < 0.5
            for top, left in crop_places(self.crop_mode, height, width, self.crop, chance):
                square = frames[..., top : top + self.crop, left : left + self.crop]
                view = normalised(square, mean=self.mean, std=self.std)
                views.append(view.flip(-1) if flip else view)
        plain = self.clips_per_video is None and self.crop_mode != "three"
        pixels: Tensor = views[0] if plain else torch.stack(views)
        return pixels

    def _instead(self, name: str, error: Exception) -> Sample:
        if self.on_corrupt == "raise":
            raise CorruptClipError(
                f"{name} cannot be decoded: {error_text(error)}. on_corrupt='skip' or 'previous' "
                "goes on; `kinetics600 verify --deep` finds such clips"
            ) from error
        last = self._shared.last
        self._shared.report(name, error, "skipped" if last is None else "the previous one again")
        return last if last is not None else {"pixel_values": None, "labels": -100}

    def _chance(self, name: str) -> random.Random:
        is_random = self.flip or "random" in (self.sampling, self.crop_mode)
        if is_random and not name:
            raise OptionError(
                "rows: a random choice needs youtube_id and time_start, or video['path'], to tell "
                "rows apart; keep these columns"
            )
        return random.Random(f"{self.seed} {self._shared.epoch} {name}")


def _name_of(row: Mapping[str, Any]) -> str:
    """Return what identifies a row on every machine; empty if nothing does."""
    if row.get("youtube_id") is not None:
        times = f"{row.get('time_start')}_{row.get('time_end')}"
        return f"{row.get('split', '')}/{row['youtube_id']}_{times}"
    video = row["video"]
    video = getattr(video, "_hf_encoded", video)  # what `datasets` made a decoder from
    path = video.get("path") if isinstance(video, Mapping) else video
    return os.path.basename(path) if isinstance(path, (str, os.PathLike)) else ""


def _check_column(what: str, name: str, found: Mapping[str, Any]) -> None:
    """Raise `OptionError` unless a column is there, and say what may have dropped it."""
    if name not in found:
        raise OptionError(
            f"{what}: expected a column {name}, found {', '.join(found) or 'none'}. A Trainer "
            "drops the columns that its model has no argument for, before a transform sees them: "
            "pass TrainingArguments(remove_unused_columns=False)"
        )


def collate(batch: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Stack samples: a `collate_fn` of DataLoaders and a `data_collator` of `Trainer`.

    Args:
        batch: Samples of a `ClipTransform`; those that it skipped are dropped.

    Returns:
        `pixel_values`, float32 (B, T, C, H, W) or (B, V, T, C, H, W), and `labels`, int64 (B,).

    Raises:
        CorruptClipError: All of the batch were skipped.
        OptionError: They are no samples of a `ClipTransform`.
    """
    torch = import_torch()
    for sample in batch:
        _check_column("batch", "pixel_values", sample)
    good = [sample for sample in batch if sample["pixel_values"] is not None]
    if not good:
        raise CorruptClipError(
            f"on_corrupt: all {len(batch)} clips of a batch were skipped; take larger batches, or "
            "on_corrupt='previous'"
        )
    return {
        "pixel_values": torch.stack([sample["pixel_values"] for sample in good]),
        "labels": torch.tensor([int(sample["labels"]) for sample in good]),
    }


def epoch_callback(transform: ClipTransform) -> Any:
    """Return a `TrainerCallback` that calls `transform.set_epoch` as each epoch begins.

    Raises:
        MissingDependencyError: No transformers.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise MissingDependencyError(
            "epoch_callback needs transformers: pip install transformers accelerate"
        ) from error

    class SetEpoch(TrainerCallback):
        epoch: int | None = None

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # Counted here: of a stream, whose length is unknown, the state's epoch is no whole one.
            self.epoch = round(state.epoch or 0) if self.epoch is None else self.epoch + 1
            transform.set_epoch(self.epoch)

    return SetEpoch()

"""The transform of rows into samples."""

from __future__ import annotations

import os
import random
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

from k600.errors import OptionError
from k600.train.corrupt import CorruptClipError, Shared, error_text
from k600.train.decoding import import_torch, opened, waveforms
from k600.train.pixels import IMAGENET_MEAN, IMAGENET_STD, crop_places, normalised, scaled
from k600.train.sampling import clips_at, places
from k600.values import choice, flag, positive, whole_number

if TYPE_CHECKING:
    from torch import Tensor

KEYS = ("pixel_values", "pixel_values_videos")
"""What models call their pixels; the second is V-JEPA 2's."""

_CHOICES = {
    "sampling": ("random", "center", "uniform"),
    "crop_mode": ("center", "random", "three"),
    "on_corrupt": ("raise", "skip", "previous"),
    "output": ("float32", "uint8"),
    "key": KEYS,
}
_COLUMNS = ("video", "label", "split", "youtube_id", "time_start", "time_end")

Sample = dict[str, Any]


@dataclass(frozen=True)
class ClipTransform:
    """Turn rows of the dataset into `pixel_values` and `labels`.

    For `Dataset.with_transform` and `set_transform`, `IterableDataset.map` (batched or not), or a
    row. Load with `decode=False`: then the video is opened, read and closed here, in whichever
    process asks, and nothing of it outlives the call.

    In order: frames are decoded, `augment` has them, the shorter side is scaled, the square is cut
    out and mirrored. With `output="uint8"`, `normalize` does the rest on the GPU, and a quarter of
    the bytes is copied on the way: that is the way to train.

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
    augment: Callable[[Tensor], Tensor] | None = None
    """Called with each clip as decoded, uint8 (T, C, H, W), for another; torchvision's `v2` do. Its
    draws from torch's generator depend on the row, as all else. What crops wants `short_side=None`.
    """
    output: str = "float32"
    """`float32`, normalised, or `uint8`, which `normalize` takes."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Taken from each channel, of values from 0 to 1, with `float32`; default ImageNet's."""
    std: tuple[float, ...] = IMAGENET_STD
    """What each channel is divided by, with `float32`; default ImageNet's."""
    key: str = "pixel_values"
    """What the model calls its pixels: one of `KEYS`."""
    keep: tuple[str, ...] = ()
    """Columns that samples have as well; `collate` makes lists of them."""
    audio_seconds: float | None = None
    """Seconds of audio around the middle of each clip, as `audio` in mono: float32 (samples,), or
    (clips, samples) with `clips_per_video`; silence where there is none."""
    audio_rate: int = 16_000
    """Samples a second of `audio`, whatever the clip has."""
    device: str = "cpu"
    """Where frames are decoded. `cuda` needs a torchcodec with CUDA, and no forked workers."""
    on_corrupt: str = "raise"
    """A clip that is cut off or cannot be decoded, or of which the decoder conceals an error:
    `raise`; `skip` (`pixel_values` is None, which `collate` drops); `previous`: the last good
    sample of this worker, or the next of the batch before any. What no decoder notices passes; a
    manifest of good files proves each to the last byte (`kinetics600 manifest check`)."""
    seed: int = 0
    """Seed of all that is random."""
    label_ids: Mapping[int, int] | None = None
    """`align_labels(...)`: a checkpoint's id for each of ours; others become -100."""
    _shared: Shared = field(default_factory=Shared, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            choice(name, getattr(self, name), allowed)
        for name in ("num_frames", "stride", "clips_per_video", "short_side", "crop", "audio_rate"):
            value = getattr(self, name)
            if value is not None or name in ("num_frames", "crop", "audio_rate"):
                whole_number(name, value, least=1)
        for name in ("fps", "audio_seconds"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        flag("flip", self.flip)
        whole_number("seed", self.seed, least=-sys.maxsize)

        if self.augment is not None and not callable(self.augment):
            raise OptionError(
                f"augment: {self.augment!r} is not allowed, expected a function of a clip"
            )
        if self.label_ids is not None and not isinstance(self.label_ids, Mapping):
            raise OptionError(
                f"label_ids: a {type(self.label_ids).__name__} is not allowed, expected a dict, as "
                "align_labels returns it"
            )
        if not re.fullmatch(r"cpu|cuda(:\d+)?", str(self.device)):
            raise OptionError(
                f"device: {self.device!r} is not allowed, expected 'cpu', 'cuda' or 'cuda:0'"
            )
        own = {*KEYS, "labels", "audio"}
        if not _is_of(self.keep, str) or own & set(self.keep):
            raise OptionError(
                f"keep: {self.keep!r} is not allowed, expected a tuple of names of columns"
            )

        if self.fps is not None and self.stride is not None:
            raise OptionError(
                f"fps: {self.fps!r} with stride={self.stride!r} is not allowed, expected one "
                "of the two"
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
        both = (self.mean, self.std)
        if not all(_is_of(each, Real) and len(each) == 3 for each in both) or not all(self.std):
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
        """Make the random choices of this epoch, 0 or more; workers that run already see it.

        Raises:
            OptionError: It is no such whole number, as a `Trainer`'s `state.epoch` may be.
        """
        self._shared.epoch = whole_number("epoch", epoch, least=0)

    def __call__(self, rows: Mapping[str, Any]) -> Sample:
        """Transform a row, or a batch of them as a dict of lists.

        Returns:
            `pixel_values` (or what `key` says), (T, C, H, W), or (V, T, C, H, W) with
            `clips_per_video` or three crops, V being clips by crops; `labels`, int, -100 without a
            label; `audio` if asked for; and the columns to `keep`. Lists of these for a batch.

        Raises:
            OptionError: There is no column `video`, or one to keep: a Trainer drops it unless it
                has `remove_unused_columns=False`.
            CorruptClipError: With `on_corrupt="raise"`, or if not one clip can be decoded.
            MissingDependencyError: No working torch, or no torchcodec where it is needed.
        """
        for name in ("video", *self.keep):
            check_column("rows", name, rows)
        columns = [name for name in rows if name in _COLUMNS or name in self.keep]
        video = rows["video"]
        if not isinstance(video, Sequence) or isinstance(video, (str, bytes)):
            return self._sample({name: rows[name] for name in columns})
        several = zip(*(rows[name] for name in columns), strict=True)
        samples = [self._sample(dict(zip(columns, row, strict=True))) for row in several]
        if self.on_corrupt == "previous":  # before the first good one there was none
            first = next((s for s in samples if s[self.key] is not None), None)
            samples = [s if s[self.key] is not None else first or s for s in samples]
        return {name: [s[name] for s in samples] for name in samples[0]} if samples else {}

    def _sample(self, row: Mapping[str, Any]) -> Sample:
        name = _name_of(row)
        chance = self._chance(name)
        starts = places(self.sampling, self.clips_per_video or 1, chance)
        step = 4 if self.stride is None and self.fps is None else self.stride
        try:
            with opened(row["video"], device=str(self.device)) as video:
                clips, middles = clips_at(
                    video, starts, num_frames=self.num_frames, step=step, fps=self.fps
                )
            audio = self._audio(row["video"], middles)
        except (RuntimeError, ValueError, IndexError, OSError) as error:
            return self._instead(row, name or "a clip without a name", error)

        label = row.get("label")
        if label is not None and self.label_ids is not None:
            label = self.label_ids.get(label)
        sample = self._as_sample(row, self._pixels(clips, chance), label, audio)
        self._shared.keep(sample if self.on_corrupt == "previous" else None)
        return sample

    def _as_sample(
        self, row: Mapping[str, Any], pixels: Tensor | None, label: int | None, audio: Tensor | None
    ) -> Sample:
        sample: Sample = {self.key: pixels, "labels": -100 if label is None else int(label)}
        if self.audio_seconds is not None:
            sample["audio"] = audio
        return sample | {name: row[name] for name in self.keep}

    def _pixels(self, clips: Tensor, chance: random.Random) -> Tensor:
        torch = import_torch()
        views = []
        for clip in clips:
            if self.augment is not None:
                clip = self._augmented(clip, chance)
            frames = scaled(clip, short_side=self.short_side, at_least=self.crop)
            height, width = frames.shape[-2:]
            flip = self.flip and chance.random() < 0.5
            for top, left in crop_places(self.crop_mode, height, width, self.crop, chance):
                square = frames[..., top : top + self.crop, left : left + self.crop]
                view = (square.flip(-1) if flip else square).contiguous()
                if self.output == "float32":
                    view = normalised(view, mean=self.mean, std=self.std)
                views.append(view)
        plain = self.clips_per_video is None and self.crop_mode != "three"
        pixels: Tensor = views[0] if plain else torch.stack(views)
        return pixels

    def _augmented(self, clip: Tensor, chance: random.Random) -> Tensor:
        torch = import_torch()
        assert self.augment is not None
        with torch.random.fork_rng(devices=[] if str(self.device) == "cpu" else None):
            torch.manual_seed(chance.getrandbits(63))
            found = self.augment(clip)
        if not isinstance(found, torch.Tensor) or found.dtype != torch.uint8 or found.ndim != 4:
            shape = tuple(getattr(found, "shape", ()))
            what = f"{getattr(found, 'dtype', type(found).__name__)} {shape}"
            raise OptionError(f"augment: gave {what}, expected uint8 (T, C, H, W)")
        return found

    def _audio(self, video: Any, middles: Sequence[float]) -> Tensor | None:
        """Return the audio around each clip's middle, None if it is not wanted."""
        if self.audio_seconds is None:
            return None
        starts = [middle - self.audio_seconds / 2 for middle in middles]
        found = waveforms(video, starts, seconds=self.audio_seconds, rate=self.audio_rate)
        return found[0] if self.clips_per_video is None else found

    def _instead(self, row: Mapping[str, Any], name: str, error: Exception) -> Sample:
        if self.on_corrupt == "raise":
            raise CorruptClipError(
                f"{name} cannot be decoded: {error_text(error)}. on_corrupt='skip' or 'previous' "
                "goes on; `kinetics600 verify --deep` finds such clips"
            ) from error
        last = self._shared.last
        self._shared.report(name, error, "skipped" if last is None else "the previous one again")
        return last if last is not None else self._as_sample(row, None, None, None)

    def _chance(self, name: str) -> random.Random:
        is_random = self.flip or self.augment or "random" in (self.sampling, self.crop_mode)
        if is_random and not name:
            raise OptionError(
                "rows: a random choice needs youtube_id and time_start, or video['path'], to tell "
                "rows apart; keep these columns"
            )
        return random.Random(f"{self.seed} {self._shared.epoch} {name}")


def _is_of(values: object, kind: type) -> bool:
    """Return whether these are several values, each of a kind."""
    if not isinstance(values, Collection) or isinstance(values, str):
        return False
    return all(isinstance(value, kind) for value in values)


def _name_of(row: Mapping[str, Any]) -> str:
    """Return what identifies a row on every machine; empty if nothing does."""
    if row.get("youtube_id") is not None:
        times = f"{row.get('time_start')}_{row.get('time_end')}"
        return f"{row.get('split', '')}/{row['youtube_id']}_{times}"
    video = row["video"]
    video = getattr(video, "_hf_encoded", video)  # what `datasets` made a decoder from
    path = video.get("path") if isinstance(video, Mapping) else video
    return os.path.basename(path) if isinstance(path, (str, os.PathLike)) else ""


def check_column(what: str, name: str, found: Mapping[str, Any]) -> None:
    """Raise `OptionError` unless a column is there, and say what may have dropped it."""
    if name not in found:
        raise OptionError(
            f"{what}: expected a column {name}, found {', '.join(found) or 'none'}. A Trainer "
            "drops the columns that its model has no argument for, before a transform sees them: "
            "pass TrainingArguments(remove_unused_columns=False)"
        )

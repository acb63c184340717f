"""Samples into batches, batches onto the GPU, and what a `Trainer` needs besides."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from k600.errors import need
from k600.errors.text import counted
from k600.train.corrupt import CorruptClipError
from k600.train.decoding import import_torch
from k600.train.pixels import IMAGENET_MEAN, IMAGENET_STD, normalised
from k600.train.transform import KEYS, ClipTransform, check_column


def collate(batch: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack samples: a `collate_fn` of DataLoaders and a `data_collator` of `Trainer`.

    Args:
        batch: Samples of one `ClipTransform`; those that it skipped are dropped.

    Returns:
        `pixel_values` (or `pixel_values_videos`), (B, T, C, H, W) or (B, V, T, C, H, W), and
        `labels`, int64 (B,); `audio`, float32 (B, samples) or (B, clips, samples), and lists of
        the columns that were kept, if the transform gives them. A DataLoader with
        `pin_memory=True` pins what is a tensor.

    Raises:
        CorruptClipError: All of the batch were skipped.
        OptionError: They are no samples of a `ClipTransform`.
    """
    torch = import_torch()
    key = next((key for key in KEYS if batch and key in batch[0]), KEYS[0])
    for sample in batch:
        check_column("batch", key, sample)
    good = [sample for sample in batch if sample[key] is not None]
    if not good:
        raise CorruptClipError(
            f"on_corrupt: nothing is left of a batch of {counted(len(batch), 'clip')}; take larger "
            "batches, or on_corrupt='previous'"
        )

    columns: dict[str, Any] = {name: [sample[name] for sample in good] for name in good[0]}
    for name in (key, "audio"):
        if name in columns:
            columns[name] = torch.stack(columns[name])
    columns["labels"] = torch.tensor([int(label) for label in columns["labels"]])
    return columns


def normalize(
    batch: Mapping[str, Any],
    device: Any = None,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    dtype: Any = None,
    channels_last: bool = False,
) -> dict[str, Any]:
    """Move a batch to a device, and make its uint8 pixels normalised floats there.

    Copies do not wait (`non_blocking`) if the DataLoader has `pin_memory=True`. Pixels that are
    floats already are only moved.

    Args:
        batch: As `collate` returns it, of `ClipTransform(output="uint8")`.
        device: A `torch.device` or its name; None leaves the batch where it is.
        mean: Taken from each channel, of values from 0 to 1; default ImageNet's.
        std: What each channel is divided by; default ImageNet's.
        dtype: Of the pixels; default `torch.float32`.
        channels_last: Have frames in `torch.channels_last`, for models that run each through 2D
            convolutions; the shape stays.

    Example:
        for batch in loader:
            batch = normalize(batch, "cuda")
            loss = model(**batch).loss
    """
    torch = import_torch()
    moved = dict(batch)
    for name, value in moved.items():
        if device is not None and isinstance(value, torch.Tensor):
            moved[name] = value.to(device, non_blocking=True)

    for key in set(KEYS) & set(moved):
        pixels = moved[key]
        if pixels.dtype == torch.uint8:
            pixels = normalised(pixels, mean=mean, std=std)
        if channels_last:
            frames = pixels.flatten(0, -4).contiguous(memory_format=torch.channels_last)
            pixels = frames.unflatten(0, pixels.shape[:-3])
        moved[key] = pixels if dtype is None else pixels.to(dtype)
    return moved


def normalize_inputs(model: Any, **options: Any) -> Any:
    """Have a model normalise uint8 pixels itself, where it is: the hook for `Trainer` and its kin.

    Args:
        model: A `torch.nn.Module` that is called with `pixel_values=...`, as `transformers` calls
            its own: in training, evaluation and prediction; or with pixels as what comes first.
        **options: Of `normalize`; the default of `dtype` is the model's.

    Returns:
        A handle, whose `remove()` undoes it.

    Example:
        normalize_inputs(model)
        Trainer(model=model, train_dataset=ds.with_transform(ClipTransform(output="uint8")), ...)
    """

    def hook(model: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        dtypes = (each.dtype for each in model.parameters() if each.is_floating_point())
        settings = {"dtype": next(dtypes, None), **options}
        if args and getattr(args[0], "dtype", None) == import_torch().uint8:
            args = (normalize({KEYS[0]: args[0]}, **settings)[KEYS[0]], *args[1:])
        return args, normalize(kwargs, **settings)

    return model.register_forward_pre_hook(hook, with_kwargs=True)


def epoch_callback(transform: ClipTransform) -> Any:
    """Return a `TrainerCallback` that calls `transform.set_epoch` as each epoch begins.

    A run that goes on from a checkpoint goes on in that epoch; of a stream, whose length `Trainer`
    does not know, in the first only. It warns where a dataset was split by hand for several
    processes, which `Trainer` does itself: parts of it would never be seen.

    Raises:
        MissingDependencyError: No transformers.
    """
    hint = "epoch_callback needs transformers: pip install transformers accelerate"

    class SetEpoch(need("transformers", hint).TrainerCallback):  # type: ignore[misc]
        epoch: int | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.epoch = None
            if args.world_size > 1:
                warn_if_split(more.get("train_dataloader"))

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # Counted here: of a stream, whose length is unknown, the state's epoch is a share of
            # all steps. A run that goes on does so within an epoch, or at the start of the next.
            self.epoch = math.floor(state.epoch or 0) if self.epoch is None else self.epoch + 1
            transform.set_epoch(self.epoch)

    return SetEpoch()


def warn_if_split(loader: Any) -> None:
    """Warn if the dataset of a DataLoader that is split itself was split by hand before."""
    dataset = getattr(loader, "dataset", None)
    while dataset is not None and not hasattr(dataset, "_distributed"):
        dataset = getattr(dataset, "dataset", None)  # accelerate's wrappers have it within
    split = getattr(dataset, "_distributed", None)
    if split is not None and split.world_size > 1:
        warnings.warn(
            f"the dataset is split by hand (split_dataset_by_node, rank {split.rank} of "
            f"{split.world_size}), and accelerate splits it again, which skips "
            f"{split.world_size - 1} of {split.world_size} clips. Pass the whole dataset",
            stacklevel=2,
        )

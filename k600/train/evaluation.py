"""Evaluation over several views of each video: uniform clips by crops, logits averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from k600.errors import OptionError
from k600.train.decoding import import_torch
from k600.train.transform import ClipTransform
from k600.values import whole_number

if TYPE_CHECKING:
    from torch import Tensor


def views(num_clips: int = 5, num_crops: int = 3, **options: Any) -> ClipTransform:
    """Return a transform to (V, T, C, H, W): V is clips, spread evenly, by crops.

    Args:
        num_clips: 1 or more, from the first possible start to the last.
        num_crops: 1 (the centre) or 3 (along the longer side).
        **options: Further fields of `ClipTransform`.

    Raises:
        OptionError: A value is not allowed.

    Example:
        ds.with_transform(views(5, 3))[0]["pixel_values"].shape  # (15, 16, 3, 224, 224)
    """
    if num_crops not in (1, 3):
        raise OptionError(f"num_crops: {num_crops!r} is not allowed, expected 1 or 3")
    fixed = {"sampling", "clips_per_video", "crop_mode"} & set(options)
    if fixed:
        raise OptionError(f"{min(fixed)}: is not allowed, expected num_clips and num_crops")
    mode = "three" if num_crops == 3 else "center"
    return ClipTransform(sampling="uniform", clips_per_video=num_clips, crop_mode=mode, **options)


def averaged_logits(
    model: Callable[[Tensor], Any], pixel_values: Tensor, *, views_at_once: int | None = None
) -> Tensor:
    """Run a model on every view and average its logits over the views of each video.

    Args:
        model: Called with (N, T, C, H, W); returns logits (N, classes) or an
            object with `.logits`.
        pixel_values: (B, V, T, C, H, W), as `collate` makes of `views(...)`.
        views_at_once: The largest N; default all B x V.

    Returns:
        Logits (B, classes).

    Raises:
        OptionError: `pixel_values` has another number of axes, or `views_at_once` is below 1.
    """
    torch = import_torch()
    if pixel_values.ndim != 6:
        raise OptionError(
            f"pixel_values: shape {tuple(pixel_values.shape)} is not allowed, expected "
            "(B, V, T, C, H, W)"
        )
    flat = pixel_values.flatten(0, 1)
    at_once = len(flat) if views_at_once is None else views_at_once
    whole_number("views_at_once", at_once, least=1)

    results = [model(part) for part in torch.split(flat, at_once)]
    logits = torch.cat([getattr(result, "logits", result) for result in results])
    mean: Tensor = logits.unflatten(0, pixel_values.shape[:2]).mean(1)
    return mean

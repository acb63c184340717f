"""Ids of a checkpoint against ours, and weights of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from k600.dataset.labels import NAMES, canonical, label_id
from k600.errors import OptionError, UnknownClassError, nearest
from k600.errors.text import counted
from k600.train.decoding import import_torch

if TYPE_CHECKING:
    from torch import Tensor


def align_labels(
    model_id2label: Mapping[int, str] | Mapping[str, str], *, classes: Iterable[str] | None = None
) -> dict[int, int]:
    """Return the checkpoint's id for each of our ids.

    Args:
        model_id2label: `model.config.id2label`; names in any spelling, ids also as text.
        classes: The classes that must be there, in any spelling; default all 600. Others are
            mapped where the checkpoint has them, and what it has beyond ours is left alone.

    Returns:
        `{our id: the checkpoint's id}`, by our ids: for `ClipTransform(label_ids=...)`.

    Raises:
        UnknownClassError: The checkpoint lacks a class; the message names all, and what it has
            that is none of ours.
        OptionError: Two of its names are the same class.

    Example:
        >>> align_labels({0: "zumba", 1: "surfing_water"}, classes=["zumba"])
        {502: 1, 599: 0}
    """
    found: dict[str, int] = {}
    strange = []
    for number, spelling in model_id2label.items():
        try:
            name = canonical(spelling)
        except UnknownClassError:
            strange.append(spelling)
            continue
        if name in found:
            raise OptionError(
                f"model_id2label: {name!r} has two ids, {found[name]} and {number}; expected one"
            )
        found[name] = int(number)

    wanted = NAMES if classes is None else [canonical(name) for name in classes]
    lacking = [name for name in wanted if name not in found]
    if lacking:
        hints = [f"{name!r}{nearest(name, strange, most=1)}" for name in lacking[:5]]
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        others = ", ".join(map(repr, strange[:5])) + (", ..." if len(strange) > 5 else "")
        raise UnknownClassError(
            f"model_id2label: lacks {counted(len(lacking), 'class')}: {', '.join(hints)}{more}. It "
            f"has {counted(len(strange), 'name')} that Kinetics-600 has not"
            f"{': ' if strange else ''}{others}. classes=[...] asks for fewer"
        )
    return {label_id(name): found[name] for name in NAMES if name in found}


def class_weights(ds: Any, *, smoothing: float = 1.0) -> Tensor:
    """Return a weight for each of the 600 classes, larger for rarer ones; decodes nothing.

    A class with n clips weighs in proportion to 1 / (n + smoothing), such that the mean over the
    dataset's labelled clips is 1. For `torch.nn.CrossEntropyLoss(weight=...)`.

    Args:
        ds: A `datasets.Dataset` with the column `label`, whatever its transform.
        smoothing: 0 or more; larger evens the weights out. With 0, absent classes weigh 0.

    Returns:
        float32 (600,), by our ids.

    Raises:
        OptionError: `smoothing` is negative, or not one row has a label.
    """
    torch = import_torch()
    if not smoothing >= 0:
        raise OptionError(f"smoothing: {smoothing!r} is not allowed, expected 0 or more")
    # Arrow's format stands in for a transform, and one column alone is read.
    column = ds.select_columns(["label"]).with_format("arrow")[:]["label"]
    labels = torch.from_numpy(column.drop_null().to_numpy().copy())
    if not len(labels):
        raise OptionError("ds: has no row with a label, expected one or more")
    counts = torch.bincount(labels, minlength=len(NAMES)).to(torch.float64)
    weights = 1 / (counts + smoothing)
    weights[~weights.isfinite()] = 0
    mean = (counts * weights).sum() / counts.sum()
    result: Tensor = (weights / mean).to(torch.float32)
    return result

"""Lists of paths and labels, as other trainers read them: a line `path label_id` for each clip.

All of them split such a line at its blank, PyTorchVideo at the last one, and none knows a heading;
`docs/coming_from.md` names the file of each that reads it. Some class names have blanks, so a
folder whose path has one is reached by a link beside the list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from k600.dataset.splits import Split
from k600.errors import OptionError, StoreError
from k600.errors.translate import output_error, translate_errors
from k600.store.files import link_folder, make_folder, write_whole

if TYPE_CHECKING:
    from k600.loading.rows import StoredShard  # imports what is heavy

LIST_NAMES = {
    **dict.fromkeys(("slowfast", "timesformer", "videomae", "pytorchvideo"), "{}.csv"),
    "mmaction2": "kinetics600_{}_list_videos.txt",
}
"""What each tool's configurations call the list of a split, with the host's name of the split."""

LINKS = "clips"
"""The folder of links beside the lists."""


@dataclass(frozen=True, slots=True)
class PathList:
    """A list that was written."""

    split: str
    out: str
    """Its path."""
    clips: int
    """Lines in it."""
    unlabelled_clips: int
    """Test clips without a label, which are left out."""


def write_path_list(split: str, shards: Sequence[StoredShard], out: Path, *, tool: str) -> PathList:
    """Write the list of a split's clips into a folder, and links to folders with blanks.

    Args:
        split: `train`, `validation` or `test`.
        shards: The clips, as a load has them.
        out: The folder; its path may have no blank, as no tool could read it.
        tool: A key of `LIST_NAMES`.

    Raises:
        OptionError: The path of the folder has a blank.
        StoreError: It cannot be written, or links cannot be made there.
    """
    out = Path(os.path.abspath(os.path.expanduser(out)))
    if re.search(r"\s", str(out)):
        raise OptionError(
            f"out: '{out}' is not allowed, as it has a blank, at which these tools end a path. "
            "Choose another folder"
        )
    paths, lines, unlabelled = dict[str, str](), [], 0
    for record in (record for shard in shards for record in shard.records()):
        if record["label"] is None:
            unlabelled += 1
            continue
        folder, name = os.path.split(record["video"]["path"])
        folder = _without_blanks(folder, out / LINKS / split, paths)
        lines.append(f"{folder}/{name} {record['label']}\n")

    path = out / LIST_NAMES[tool].format(Split(split).host_folder)
    with translate_errors(output_error, path, "out"):
        make_folder(out)
        write_whole(path, "".join(lines).encode())
    return PathList(split, str(path), len(lines), unlabelled)


def _without_blanks(folder: str, root: Path, paths: dict[str, str]) -> str:
    """Return a path of a folder without blanks, perhaps a link's below `root`; note it in `paths`,
    by folder.
    """
    if folder in paths or not re.search(r"\s", folder):
        return paths.setdefault(folder, folder)

    plain = re.sub(r"['()]", "", re.sub(r"\s", "_", os.path.basename(folder)))
    link, number = root / plain, 1
    while str(link) in paths.values():  # the same class in another tool's tree
        number += 1
        link = root / f"{plain}_{number}"
    paths[folder] = str(link)

    with translate_errors(output_error, link, "out"):
        make_folder(root)
        if not link.is_symlink() and link.exists():
            raise StoreError(f"out: '{link}' is in the way of a link; choose another folder")
        if not (link.is_symlink() and os.readlink(link) == folder):
            link_folder(link, folder)
    return str(link)

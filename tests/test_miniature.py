"""The miniature's clips look like what they are, and each like no other."""

from __future__ import annotations

import itertools

import numpy as np

from k600.dataset.clip import video_of
from k600.gallery.thumbnails import preview_clip
from k600.miniature import Miniature
from k600.miniature.clips import draw_words


def test_about_half_of_validation_and_test_is_from_videos_that_are_not_in_train(
    miniature: Miniature,
) -> None:
    def videos(split: str) -> list[str]:
        return [video_of(name) for clips in miniature.clips[split].values() for name in clips]

    train = set(videos("train"))
    for split in ("validation", "test"):
        new = [video not in train for video in videos(split)]
        assert len(new) / 3 < sum(new) < len(new) * 2 / 3


def test_every_clip_says_that_it_is_a_miniature_and_looks_like_no_other(
    miniature: Miniature,
) -> None:
    pictures = {}
    for tarball, clips in miniature.clips["validation"].items():
        for name, data in clips.items():
            picture = np.asarray(preview_clip(data).image)
            pictures[tarball, name] = picture.astype(int)
    height, width, _ = next(iter(pictures.values())).shape
    words = draw_words(("MINIATURE",), 128, 96)
    rows = np.arange(height) * 96 // height
    letters = words[rows][:, np.arange(width) * 128 // width] > 0
    top = slice(0, height * 14 // 96)
    for picture in pictures.values():
        bright = picture.min(axis=2)
        assert bright[top][letters[top]].mean() > bright[top][~letters[top]].mean() + 60
    for one, other in itertools.combinations(pictures.values(), 2):
        assert np.abs(one - other).max() > 60

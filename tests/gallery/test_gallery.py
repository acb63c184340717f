"""The gallery is one page, complete in itself, in which data is nothing but text."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import json
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av
import datasets
import numpy as np
import pytest

import k600.store.store
from k600.dataset.labels import NAMES
from k600.errors import OptionError, StoreError
from k600.gallery.contact_sheet import sheet_size, write_contact_sheet
from k600.gallery.page import write_gallery
from k600.gallery.thumbnails import preview_clip
from k600.miniature import make_clip
from tests.conftest import Load

CLIP = make_clip(1)
HOSTILE = "</script><img src=x onerror=alert(1)>\u2028{{videos}}"


def row(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A row as a stream hands it out: bytes, and only a name for a path."""
    return {
        "video": {"path": f"clip{number:07d}_000012_000022.mp4", "bytes": make_clip(number)},
        "label": number % 600,
        "youtube_id": f"clip{number:07d}",
        "time_start": 12,
        "time_end": 22,
        "split": "validation",
        "source": "cvdf",
        **changes,
    }


def on_disk(path: Path, data: bytes = CLIP, **changes: Any) -> dict[str, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return row(video={"path": str(path), "bytes": None}, **changes)


class Page(HTMLParser):
    """A page taken apart as a browser would: what a script element holds is text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.path, self.text = path, path.read_text("utf-8")
        self._inside = ""
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside] = self.texts.get(self._inside, "") + data

    @property
    def facts(self) -> Any:
        return json.loads(self.texts["data"])

    @property
    def clips(self) -> list[dict[str, Any]]:
        return self.facts["clips"]  # type: ignore[no-any-return]

    @property
    def videos(self) -> dict[str, bytes]:
        return {
            name: base64.b64decode(text, validate=True)
            for name, text in self.texts.items()
            if re.fullmatch(r"video-\d+", name)
        }


def gallery(rows: Any, tmp_path: Path, **options: Any) -> Page:
    return Page(write_gallery(rows, tmp_path / "gallery.html", **options))


def test_every_clip_is_there_with_its_facts(tmp_path: Path) -> None:
    page = gallery([row(number) for number in range(7)], tmp_path, title="Seven")
    assert page.texts["title"] == page.texts["h1"] == page.facts["title"] == "Seven"
    assert page.facts["more"] is False
    assert [clip["youtube_id"] for clip in page.clips] == [
        f"clip{number:07d}" for number in range(7)
    ]
    assert page.videos == {f"video-{number}": make_clip(number) for number in range(7)}
    clip = page.clips[3]
    jpeg = base64.b64decode(clip.pop("picture"))
    assert clip == {
        "label": NAMES[3],
        "youtube_id": "clip0000003",
        "split": "validation",
        "source": "cvdf",
        "time_start": 12,
        "time_end": 22,
        "path": "clip0000003_000012_000022.mp4",
        "link": None,
        "youtube": "https://www.youtube.com/watch?v=clip0000003&t=12s",
        "embedded": True,
        "size_bytes": len(make_clip(3)),
        "seconds": 10.0,
        "width": 128,
        "height": 96,
        "fps": 5.0,
        "problem": None,
        "manifest": "validation,air drumming,clip0000003,12,22\n",
    }
    assert len(jpeg) < 8000
    with av.open(io.BytesIO(jpeg), format="jpeg_pipe") as picture:
        assert (picture.streams.video[0].width, picture.streams.video[0].height) == (160, 120)


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = gallery([row(number) for number in range(3)], tmp_path)
    addresses = re.findall(r"https?:[^\"'\s]*", page.text)
    assert len(addresses) == 3
    assert all(a.startswith("https://www.youtube.com/watch?v=clip") for a in addresses)
    for _tag, attributes in page.tags:
        assert "src" not in attributes
        assert attributes.get("href", "#")[:1] == "#" or attributes["href"] == "data:,"
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", page.text)
    assert "@import" not in page.text
    assert "url(" not in page.text


def test_only_the_pages_own_script_may_run(tmp_path: Path) -> None:
    page = gallery([row()], tmp_path)
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv")) or ""
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        digest = hashlib.sha256(page.texts[tag].encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    calm = gallery([row(), row(1)], tmp_path)
    name = "a#b %20 ?<img src=x>'\".mp4"
    rows = [
        row(label=HOSTILE, youtube_id=HOSTILE, split=HOSTILE, source=HOSTILE),
        on_disk(tmp_path / "clips" / name, label=HOSTILE),
    ]
    rows[0]["video"]["path"] = HOSTILE
    page = gallery(rows, tmp_path, title=HOSTILE)
    assert page.tags == calm.tags
    assert page.texts["script"] == calm.texts["script"]
    for key in ("label", "youtube_id", "split", "source", "path"):
        assert page.clips[0][key] == HOSTILE
    assert page.facts["title"] == HOSTILE
    assert page.clips[0]["youtube"] is None
    assert page.clips[1]["path"] == os.path.join("clips", name)
    assert page.clips[1]["link"] == "clips/a%23b%20%2520%20%3F%3Cimg%20src%3Dx%3E%27%22.mp4"
    assert not re.search("[<>&\u2028]", page.texts["data"])


def test_a_file_name_is_never_an_address(tmp_path: Path) -> None:
    rows = [row(video={"path": path, "bytes": None}) for path in ("javascript:x", "http://x/a.mp4")]
    page = gallery(rows, tmp_path)
    assert [clip["link"] for clip in page.clips] == [None, None]
    page = gallery([on_disk(tmp_path / "javascript:x")], tmp_path)
    assert page.clips[0]["link"] == "javascript%3Ax"


def test_what_does_not_fit_into_the_page_is_linked(tmp_path: Path) -> None:
    rows = [on_disk(tmp_path / f"clips/{n}.mp4", make_clip(n)) for n in range(4)]
    two = len(make_clip(0)) + len(make_clip(1))
    page = gallery(rows, tmp_path, embed_bytes=two)
    assert page.videos == {"video-0": make_clip(0), "video-1": make_clip(1)}
    assert [clip["embedded"] for clip in page.clips] == [True, True, False, False]
    assert [clip["link"] for clip in page.clips] == [f"clips/{n}.mp4" for n in range(4)]
    page = gallery(rows, tmp_path, embed_bytes=two - 1)
    assert sum(map(len, page.videos.values())) < two
    page = gallery([row()], tmp_path, embed_bytes=0)
    assert page.clips[0]["picture"]
    assert (page.clips[0]["embedded"], page.clips[0]["link"]) == (False, None)


def test_a_clip_far_from_the_page_has_a_file_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pages").mkdir()
    rows = [on_disk(tmp_path / "clips/a b.mp4")]
    page = Page(write_gallery(rows, tmp_path / "pages/gallery.html"))
    assert page.clips[0]["link"] == "../clips/a%20b.mp4"
    monkeypatch.setattr(os.path, "commonpath", lambda paths: os.path.sep)
    page = Page(write_gallery(rows, tmp_path / "pages/gallery.html"))
    assert page.clips[0]["link"] == (tmp_path / "clips/a b.mp4").as_uri()


PLAYLIST = b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n"


@pytest.mark.parametrize(
    ("video", "reason"),
    [
        ({"path": "a.mp4", "bytes": b""}, "the file is empty"),
        ({"path": "a.mp4", "bytes": CLIP[:900]}, "cut off before its end"),
        ({"path": "a.mp4", "bytes": b"<html>no clip</html>"}, "not an MP4"),
        ({"path": "a.mp4", "bytes": PLAYLIST}, "not an MP4"),
        ({"path": "a.mp4", "bytes": CLIP.replace(b"avc1", b"none")}, "."),
        ({"path": "gone.mp4", "bytes": None}, "no file at '.*gone.mp4'"),
        ({"path": "nul\0.mp4", "bytes": None}, "."),
        ({"path": None, "bytes": None}, "neither bytes nor a path"),
        (None, "neither bytes nor a path"),
        (object(), "neither bytes nor a path"),
    ],
)
def test_a_clip_that_cannot_be_decoded_says_why(video: Any, reason: str, tmp_path: Path) -> None:
    page = gallery([row(1), row(video=video), row(2)], tmp_path)
    assert [bool(clip["picture"]) for clip in page.clips] == [True, False, True]
    assert re.search(reason, page.clips[1]["problem"])
    assert not page.clips[1]["embedded"]


def test_a_clip_that_is_cut_off_after_its_middle_says_so_beside_its_picture(
    tmp_path: Path,
) -> None:
    path = tmp_path / "clip.mp4"
    streamed = {"movflags": "faststart"}  # what a decoder needs stands first
    with (
        av.open(io.BytesIO(CLIP)) as source,
        av.open(str(path), "w", format="mp4", options=streamed) as target,
    ):
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.9)])
    videos = ({"path": "a.mp4", "bytes": whole}, {"path": str(path), "bytes": None})
    page = gallery([row(video=video) for video in videos], tmp_path)
    assert [bool(clip["picture"]) for clip in page.clips] == [True, True]
    assert [clip["problem"] for clip in page.clips] == [None, "the file is cut off before its end"]


@pytest.mark.parametrize("video", [None, {"path": "a.mp4", "bytes": CLIP[:900]}])
def test_a_contact_sheet_says_what_cannot_be_decoded(video: Any, tmp_path: Path) -> None:
    write_contact_sheet([row(1), row(video=video)], tmp_path / "sheet.png")


def test_a_row_with_nothing_but_a_clip_is_shown(tmp_path: Path) -> None:
    page = gallery([{"video": {"bytes": CLIP}, "label": 700}], tmp_path)
    assert page.clips[0]["picture"]
    assert page.clips[0]["label"] == "label 700"
    assert page.clips[0]["time_start"] is page.clips[0]["path"] is page.clips[0]["youtube"] is None
    assert gallery([{"video": {"bytes": CLIP}}], tmp_path).clips[0]["label"] is None


@pytest.mark.parametrize(
    "call",
    [
        lambda path: write_gallery([], path),
        lambda path: write_gallery({"train": [], "test": []}, path),
        lambda path: write_contact_sheet([], path),
    ],
)
def test_an_empty_dataset_is_said_so(call: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="the dataset is empty"):
        call(tmp_path / "page")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rows", ["train", 7, row(), [7], [{"image": 1}]])
def test_what_is_no_dataset_is_refused(rows: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="^rows: "):
        write_gallery(rows, tmp_path / "page")


@pytest.mark.parametrize("options", [{"embed_bytes": -1}, {"most": 0}, {"most": True}])
def test_options_are_checked(options: Mapping[str, Any], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(options))}: .* expected a whole number"):
        write_gallery([row()], tmp_path / "page", **options)
    with pytest.raises(OptionError, match="^columns: 0"):
        write_contact_sheet([row()], tmp_path / "page", columns=0)


@pytest.mark.parametrize("write", [write_gallery, write_contact_sheet])
def test_a_page_that_cannot_be_written_leaves_the_old_one(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="missing/page' cannot be written .there is no folder"):
        write([row()], tmp_path / "missing/page")
    with pytest.raises(StoreError, match="cannot be written .it is a folder"):
        write([row()], tmp_path)
    page = tmp_path / "page"
    page.write_text("old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken_off() -> Any:
        yield row()
        raise ConnectionError("the stream broke off")

    with pytest.raises(ConnectionError):
        write(broken_off(), page)
    monkeypatch.setattr(k600.store.store.os, "replace", full)
    with pytest.raises(StoreError, match="written .the volume of .* is full .No space left"):
        write([row()], page)
    real = os.statvfs
    no_inodes = [*real(tmp_path)[:5], 1000, 0, 0, *real(tmp_path)[8:]]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(no_inodes))
    with pytest.raises(StoreError, match="written .the volume of .* no room for more files"):
        write([row()], page)
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    assert page.read_text() == "old"


def test_more_rows_than_are_shown_are_mentioned(tmp_path: Path) -> None:
    rows = [row(number) for number in range(4)]
    page = gallery(rows, tmp_path, most=3)
    assert (len(page.clips), page.facts["more"], page.facts["total"]) == (3, True, 4)
    page = gallery(iter(rows), tmp_path, most=3)
    assert (len(page.clips), page.facts["more"], page.facts["total"]) == (3, True, None)
    assert gallery(iter(rows), tmp_path, most=4).facts["more"] is False


def test_loaded_datasets_of_every_kind_are_shown(load: Load, tmp_path: Path) -> None:
    splits = load("all", classes="surfing water")
    page = gallery(splits, tmp_path)
    assert {clip["split"] for clip in page.clips} == set(splits)
    assert len(page.clips) == page.facts["total"] == sum(map(len, splits.values()))
    for clip in page.clips:
        assert (tmp_path / unquote(clip["link"])).is_file()
    ds = splits["train"]
    ids = ds["youtube_id"][:]
    for other in (
        ds.cast_column("video", datasets.Video(decode=True)),
        ds.with_transform(lambda batch: {"nothing": [1] * len(batch["label"])}),
        ds.to_iterable_dataset(),
    ):
        assert [clip["youtube_id"] for clip in gallery(other, tmp_path).clips] == ids
    stream = load("train", classes="surfing water", streaming=True)["train"]
    page = gallery(stream, tmp_path)
    assert sorted(clip["youtube_id"] for clip in page.clips) == sorted(ids)
    assert all(clip["embedded"] and clip["label"] == "surfing water" for clip in page.clips)
    assert gallery(stream.cast_column("video", datasets.Video(decode=True)), tmp_path).videos


def has_ink(picture: Any, left: int, top: int, width: int, height: int) -> bool:
    return bool((picture[top : top + height, left : left + width] < 110).all(axis=2).any())


def test_a_contact_sheet_is_a_png_with_a_heading_for_each_class(tmp_path: Path) -> None:
    rows = [row(n, label=(7, 3)[n % 2]) for n in range(6)]
    tall = {"path": "tall.mp4", "bytes": make_clip(6, width=96, height=192)}
    rows += [row(label=None, video=None), row(label=3, video=tall), row(label=HOSTILE)]
    path = write_contact_sheet(rows, tmp_path / "sheet.png", columns=4, title="Nine")
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == sheet_size(9, 4) == (752, 96 + 3 * 182 + 24)
    picture = frame.to_ndarray(format="rgb24").astype(int)

    # By class: the hostile one, four of one class, three of another, no label.
    assert has_ink(picture, 32, 24, 200, 30)
    headings = [
        [has_ink(picture, 32 + across * 176, 96 + 182 * down, 160, 20) for across in range(4)]
        for down in range(3)
    ]
    assert headings == [
        [True, True, False, False],
        [True, True, False, False],  # what goes on is named again
        [True, False, False, False],
    ]
    for number in range(9):
        down, across = divmod(number, 4)
        assert has_ink(picture, 32 + across * 176, 96 + 182 * down + 30 + 126, 90, 16)

    first = preview_clip(make_clip(0)).image
    assert first is not None
    assert (
        picture[136:236, 32:192] == np.asarray(first)[10:110]
    ).all()  # but for its round corners
    beside_the_tall_one = picture[96 + 182 + 30 + 60, 32 + 4]
    assert beside_the_tall_one.tolist() == [236, 236, 231]


def test_a_picture_is_from_the_middle() -> None:
    look = preview_clip(CLIP)
    assert look.image is not None
    bright = np.asarray(look.image).sum(axis=2) > 300
    assert bright.any()
    across = bright.any(axis=0).nonzero()[0].mean() * 128 / 160
    assert abs(across - 12 - (7 + 25 * 3)) < 6  # the square's place in frame 25 of 50
    tall = preview_clip(make_clip(3, width=32, height=128)).image
    assert tall is not None
    assert tall.size == (60, 240)


@pytest.mark.skipif(not hasattr(av.VideoFrame, "rotation"), reason="this PyAV cannot tell")
def test_a_picture_is_upright() -> None:
    matrix = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    track = CLIP.index(b"tkhd")
    at = CLIP.index(matrix, track)
    look = preview_clip(CLIP[:at] + turned + CLIP[at + len(matrix) :])
    assert look.image is not None
    assert look.image.size == (160, 214)
    top = (np.asarray(look.image).sum(axis=2) > 300).any(axis=1).nonzero()[0].mean() * 128 / 214
    assert abs(top - (7 + 25 * 3 + 12)) < 6  # clockwise by a quarter: what was left is above


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_has_no_syntax_error(tmp_path: Path) -> None:
    script = tmp_path / "page.js"
    script.write_text(gallery([row()], tmp_path).texts["script"], "utf-8")
    subprocess.run(["node", "--check", str(script)], check=True, timeout=30)

"""`short_side`: smaller clips, in a store of their own, whatever they come from."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kinetics600
from k600.errors import OptionError
from k600.miniature import CLASSES, Miniature, make_clip, make_tarball
from k600.video.cut import CutError
from k600.video.encoding import Encoding
from k600.video.probe import probe_clip
from k600.video.reencode import reencode_clip
from tests.conftest import Load, contents, expected
from tests.counter import counter_video, read_counter

CLIP = counter_video(640, 360, 30, 4, layout="faststart", sound=True)


def size_of(data: bytes) -> tuple[int, int]:
    with av.open(io.BytesIO(data)) as container:
        video = container.streams.video[0]
        return video.width, video.height


def times_of(data: bytes, kind: str = "video") -> list[float]:
    """Return the times of all pictures, or of all packets of the sound, in seconds."""
    with av.open(io.BytesIO(data)) as container:
        if kind == "video":
            return [float(frame.time) for frame in container.decode(video=0)]
        packets = container.demux(audio=0)
        return [float(p.pts * p.time_base) for p in packets if p.pts is not None]


def shrunk(data: bytes, folder: Path, short_side: int) -> bytes | None:
    target = folder / "small.mp4"
    encoding = Encoding(short_side=short_side)
    is_new = reencode_clip(io.BytesIO(data), target, encoding).is_new
    return target.read_bytes() if is_new else None


def lying_on_its_side(data: bytes) -> bytes:
    """Return a clip whose file says that its pictures are to be turned, as a phone's does."""
    upright = b"".join(n.to_bytes(4, "big") for n in (1 << 16, 0, 0, 0, 1 << 16))
    turned = b"".join((n % (1 << 32)).to_bytes(4, "big") for n in (0, 1 << 16, 0, -1 << 16, 0))
    head, tkhd, rest = data.partition(b"tkhd")
    return head + tkhd + rest.replace(upright, turned, 1)


@pytest.mark.parametrize("layout", ["faststart", "late"])
@pytest.mark.parametrize("fps", [25, 30, 60])
def test_every_picture_stays_at_its_time(tmp_path: Path, layout: str, fps: int) -> None:
    data = counter_video(640, 360, fps, 4, layout=layout)
    small = shrunk(data, tmp_path, 180)
    assert small is not None
    with av.open(io.BytesIO(small)) as container:
        numbers = [read_counter(frame) for frame in container.decode(video=0)]
    assert numbers == list(range(4 * fps))
    assert np.allclose(times_of(small), np.array(times_of(data)), atol=1e-3)
    assert size_of(small) == (320, 180)


def test_a_last_frame_that_is_held_stays_as_long(tmp_path: Path) -> None:
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=5)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        video.options = {"bf": "0"}
        packets = []
        for number in range(25):
            frame = av.VideoFrame(320, 180, "yuv420p")
            frame.pts = number
            packets += video.encode(frame)
        packets += video.encode(None)
        packets[-1].duration = int(5 / packets[-1].time_base)
        for packet in packets:
            container.mux(packet)
    small = shrunk(data.getvalue(), tmp_path, 90)
    assert small is not None
    source, made = tmp_path / "source.mp4", tmp_path / "made.mp4"
    source.write_bytes(data.getvalue())
    made.write_bytes(small)
    found = [probe_clip(path, seconds=10, deep=True) for path in (source, made)]
    assert [probe.verdict for probe in found] == ["ok", "ok"]
    assert found[1].duration_seconds == pytest.approx(found[0].duration_seconds, abs=0.01)


def test_the_sound_stays_as_it_is(tmp_path: Path) -> None:
    small = shrunk(CLIP, tmp_path, 180)
    assert small is not None
    assert times_of(small, "audio") == pytest.approx(times_of(CLIP, "audio"), abs=1e-3)
    sounds = []
    for data in (CLIP, small):
        with av.open(io.BytesIO(data)) as container:
            sounds.append(b"".join(bytes(packet) for packet in container.demux(audio=0)))
    assert sounds[0] == sounds[1]


def test_what_lies_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    data = lying_on_its_side(make_clip(1, width=320, height=240, seconds=2))
    with av.open(io.BytesIO(data)) as container:
        first = next(container.decode(video=0))
        assert first.rotation in (90, -90)
        upright = np.rot90(first.to_ndarray(format="rgb24"), first.rotation // 90)
    small = shrunk(data, tmp_path, 60)
    assert small is not None
    assert size_of(small) == (60, 80)
    with av.open(io.BytesIO(small)) as container:
        picture = next(container.decode(video=0))
        assert not picture.rotation
        found = picture.to_ndarray(format="rgb24").astype(float)
    wanted = upright.reshape(80, 4, 60, 4, 3).mean((1, 3))
    assert np.abs(found - wanted).mean() < 6


def test_a_clip_that_is_small_enough_stays_as_it_is(tmp_path: Path) -> None:
    assert shrunk(CLIP, tmp_path, 360) is None
    assert not list(tmp_path.iterdir())


@given(st.integers(16, 500), st.integers(16, 500), st.integers(16, 200))
@settings(max_examples=25)
def test_any_size_is_even_and_in_proportion(width: int, height: int, short_side: int) -> None:
    width, height = width // 2 * 2, height // 2 * 2
    clip = make_clip(1, seconds=1, fps=2, width=max(width, 32), height=max(height, 32))
    before = size_of(clip)
    target = Path(os.environ["HF_HOME"], "any.mp4")
    if not reencode_clip(io.BytesIO(clip), target, Encoding(short_side=short_side)).is_new:
        assert min(before) <= short_side
        return
    after = size_of(target.read_bytes())
    assert abs(min(after) - short_side) <= 1
    assert all(side % 2 == 0 for side in after)
    assert max(after) == pytest.approx(max(before) * short_side / min(before), abs=2)


def test_the_same_clip_gives_the_same_bytes(tmp_path: Path) -> None:
    clip = make_clip(10)  # one of those that x264 encodes otherwise from time to time, if it may
    assert len({shrunk(clip, tmp_path, 64) for _ in range(12)}) == 1


def damaged_inside(data: bytes) -> bytes:
    """Return a clip with whole boxes and broken pictures."""
    start = data.index(b"mdat") + 4
    middle = (start + len(data)) // 2
    return (
        data[:middle] + bytes(b ^ 0x5A for b in data[middle : middle + 400]) + data[middle + 400 :]
    )


def test_a_clip_with_broken_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CutError) as caught:
        shrunk(damaged_inside(make_clip(3, width=320, height=240)), tmp_path, 64)
    assert caught.value.code == "damaged"


def test_a_split_is_landed_smaller_beside_the_original(
    load: Load, folders: dict[str, Any], miniature: Miniature, mirror_options: dict[str, Any]
) -> None:
    small = load("train", short_side=64, **mirror_options)["train"]
    there = contents(folders["data_dir"])
    wanted = expected(miniature, "train")
    assert set(there) == {f"short_side_64/{path}" for path in wanted}
    assert {min(size_of(data)) for data in there.values()} == {64}
    whole = load("train", **mirror_options)["train"]
    assert {p: d for p, d in contents(folders["data_dir"]).items() if "short_side" not in p} == (
        wanted
    )
    assert len(small) == len(whole)
    assert small["youtube_id"] == whole["youtube_id"]
    assert small["label"] == whole["label"]
    assert small["video"][0]["path"] != whole["video"][0]["path"]
    assert [row["video"]["path"] for row in load("train", short_side=64)["train"]] == [
        row["video"]["path"] for row in small
    ]


def test_a_stream_gives_the_very_bytes_that_a_load_lands(
    load: Load, folders: dict[str, Any]
) -> None:
    rows = list(load("validation", short_side=64, streaming=True)["validation"])
    assert not os.path.exists(folders["data_dir"])
    streamed = {r["video"]["path"].replace(".tar.gz/", "/"): r["video"]["bytes"] for r in rows}
    load("validation", short_side=64)
    landed = contents(f"{folders['data_dir']}/short_side_64/validation")
    assert streamed == {f"val/{path}": data for path, data in landed.items()}


def test_a_clip_that_cannot_be_made_smaller_is_named(
    own_miniature: Miniature, load: Load, lines: pytest.LogCaptureFixture
) -> None:
    clips = dict(own_miniature.clips["train"]["zumba"])
    name = sorted(clips)[0]
    clips[name] = damaged_inside(make_clip(3, width=320, height=240))
    (own_miniature.root / "train/zumba.tar.gz").write_bytes(make_tarball(clips))
    options = {"classes": "zumba", "mirror": str(own_miniature.root)}
    assert len(load("train", **options)["train"]) == 5  # its boxes are whole
    ds = load("train", short_side=64, **options)["train"]
    assert name not in {os.path.basename(row["video"]["path"]) for row in ds}
    assert len(ds) == 4
    assert "damaged" in lines.text
    streamed = list(load("train", short_side=64, streaming=True, **options)["train"])
    assert len(streamed) == 4


def test_a_few_clips_and_their_manifest(load: Load, tmp_path: Path) -> None:
    options = {"max_samples": 3, "short_side": 64, "source": "cvdf"}
    ds = load("train", **options)["train"]
    assert {min(size_of(Path(row["video"]["path"]).read_bytes())) for row in ds} == {64}
    manifest = kinetics600.save_manifest(ds, tmp_path / "mine.csv")
    elsewhere = {"data_dir": str(tmp_path / "elsewhere"), "manifest": str(manifest)}
    again = load("train", short_side=64, **elsewhere)["train"]
    assert again["youtube_id"] == ds["youtube_id"]


def test_short_side_makes_another_cached_dataset(load: Load) -> None:
    one, other = (load("train", short_side=n, classes=CLASSES[0])["train"] for n in (None, 64))
    assert one.cache_files != other.cache_files


@pytest.mark.parametrize("value", [0, 15, "256", 25.5, True])
def test_a_bad_short_side(load: Load, value: object) -> None:
    with pytest.raises(OptionError, match=f"short_side: {value!r} .*at least 16"):
        load("train", short_side=value)

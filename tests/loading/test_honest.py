"""What is served is what is there, and what is said of it is true: mistakes made once."""

from __future__ import annotations

import csv
import gzip
import lzma
import os
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

import kinetics600
from k600.errors import IncompleteError, ManifestError, NoClipsError
from k600.loading.outcome import Outcome
from k600.miniature import Miniature, make_clip, make_miniature, make_tarball
from k600.store.ledger import Ledger
from k600.store.store import Store
from tests.conftest import Load, contents
from tests.old_ledger import make_old_ledger
from tests.servers import web_server
from tests.youtube_replica import Replica, youtube_replica
from tests.youtube_videos import FAILURES, good_video

CLASS = "surfing water"


@pytest.fixture
def youtube(own_miniature: Miniature) -> Iterator[Replica]:
    with youtube_replica() as replica:
        for tarballs in own_miniature.clips.values():
            for clips in tarballs.values():
                for name in clips:
                    replica.videos[name[:11]] = good_video(96, 64, 5, seconds=600)
        yield replica


@pytest.fixture
def load(load: Load, youtube: Replica, own_miniature: Miniature) -> Load:
    def with_both(*args: Any, **options: Any) -> Any:
        defaults = {
            "mirror": str(own_miniature.root),
            "test_labels": str(own_miniature.test_labels),
            "proxy": youtube.url,
            "yt_dlp_options": {"nocheckcertificate": True, "socket_timeout": 2},
            "patience_seconds": 0,
            "requests_per_hour": 10_000_000,
        }
        return load(*args, **{**defaults, **options})

    return with_both


def names(rows: Any) -> list[str]:
    return [os.path.basename(row["video"]["path"]) for row in rows]


def listed(host: Miniature, label: str = CLASS) -> list[str]:
    return sorted(host.clips["train"][label])


def spoil(tarball: Path) -> bytes:
    """Flip a bit of the gzip trailer's checksum."""
    data = bytearray(tarball.read_bytes())
    data[-8] ^= 1
    tarball.write_bytes(data)
    return bytes(data)


@pytest.mark.parametrize("source", ["youtube", "cvdf"])
def test_a_link_to_nowhere_is_no_clip(
    load: Load, own_miniature: Miniature, folders: dict[str, Any], source: str
) -> None:
    folder = Path(folders["data_dir"], "train", CLASS)
    folder.mkdir(parents=True)
    (folder / listed(own_miniature)[0]).symlink_to(folder / "nowhere.mp4")
    ds = load("train", classes=CLASS, max_samples=3, source=source, on_missing="raise")["train"]
    assert len(ds) == 3
    assert all(os.path.isfile(row["video"]["path"]) for row in ds)


def test_pipes_and_folders_named_as_clips_do_no_harm(
    load: Load, own_miniature: Miniature, folders: dict[str, Any]
) -> None:
    folder = Path(folders["data_dir"], "train", CLASS)
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe0000000_000000_000010.mp4")
    (folder / "folder00000_000000_000010.mp4").mkdir()
    (folder / "loop0000000_000000_000010.mp4").symlink_to("loop0000000_000000_000010.mp4")
    assert len(load("train", classes=CLASS, on_missing="raise")["train"]) == 5


def test_a_damaged_tarball_takes_back_nothing_that_others_brought(
    load: Load, own_miniature: Miniature, folders: dict[str, Any]
) -> None:
    load("train", classes=CLASS, max_samples=1, source="cvdf")
    load("train", classes=CLASS, max_samples=4, source="youtube")
    own = Path(folders["data_dir"], "train", CLASS, "mineownclip_000000_000010.mp4")
    own.write_bytes(make_clip(77))
    member = Path(folders["data_dir"], "train", CLASS, listed(own_miniature)[4])
    member.write_bytes(make_clip(78))
    before = contents(folders["data_dir"])
    spoil(own_miniature.root / f"train/{CLASS}.tar.gz")
    load("train", classes=CLASS, source="cvdf", on_missing="skip")
    after = contents(folders["data_dir"])
    for path in before:
        if not path.endswith(listed(own_miniature)[0]):  # that one came from the tarball
            assert after.get(path) == before[path], path


def test_offline_a_shortfall_is_said_and_not_kept(
    load: Load,
    own_miniature: Miniature,
    monkeypatch: pytest.MonkeyPatch,
    lines: pytest.LogCaptureFixture,
) -> None:
    with web_server(own_miniature.root.parent) as server:
        options = {"classes": CLASS, "source": "cvdf", "mirror": f"{server.url}/600"}
        load("train", max_samples=2, **options)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        assert len(load("train", max_samples=4, **options)["train"]) == 2
        assert "only 2 of 4 clips could be had: no more are in the store" in lines.text
        with pytest.raises(IncompleteError, match="only 2 of 4"):
            load("train", max_samples=4, on_missing="raise", **options)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        assert len(load("train", max_samples=4, **options)["train"]) == 4


def test_asking_for_more_than_there_is_is_a_shortfall(
    load: Load, lines: pytest.LogCaptureFixture
) -> None:
    ds = load("train", classes=CLASS, max_samples=50, source="cvdf")["train"]
    assert len(ds) == 5
    assert "only 5 of 50 clips could be had: there are no more such clips" in lines.text
    with pytest.raises(IncompleteError, match="only 5 of 50"):
        load("train", classes=CLASS, max_samples=50, source="cvdf", on_missing="raise")


def test_a_clip_that_youtube_lost_and_a_tarball_brought_counts(
    load: Load, youtube: Replica, own_miniature: Miniature
) -> None:
    gone = listed(own_miniature)[0]
    youtube.videos[gone[:11]] = FAILURES["private"]
    load("train", classes=CLASS, max_samples=1)
    load("train", classes=CLASS, on_missing="raise")
    assert gone in names(load("train", classes=CLASS, max_samples=5)["train"])
    ds = load("train", classes=CLASS, source="youtube", on_missing="raise")["train"]
    assert len(ds) == 5


def test_a_clip_that_is_bad_in_its_tarball_may_come_from_youtube(
    load: Load, youtube: Replica, tmp_path: Path
) -> None:
    host = make_miniature(tmp_path / "flawed", classes=[CLASS])
    for name in ("emptyclip00", "cutoffclip0"):
        youtube.videos[name] = good_video(96, 64, 5, seconds=60)
    options = {"classes": CLASS, "mirror": str(host.root)}
    load("validation", **options, on_missing="skip")
    ds = load("validation", source="youtube", **options, on_missing="raise")["validation"]
    assert Counter(ds["source"]) == {"cvdf": 5, "youtube": 2}
    assert len(load("validation", **options, on_missing="raise")["validation"]) == 7
    ds = load("validation", max_samples=7, **options, on_missing="raise")["validation"]
    assert len(ds) == 7


def test_asking_again_in_vain_keeps_what_is_there(
    load: Load, youtube: Replica, own_miniature: Miniature
) -> None:
    load("train", classes=CLASS, max_samples=2, source="youtube")
    youtube.videos[listed(own_miniature)[0][:11]] = FAILURES["private"]
    ds = load(
        "train",
        classes=CLASS,
        max_samples=2,
        source="youtube",
        download_mode="force_redownload",
        on_missing="raise",
    )["train"]
    assert names(ds) == listed(own_miniature)[:2]
    assert set(ds["source"]) == {"youtube"}


def test_rows_without_labels_are_made_anew_once_the_labels_come(
    load: Load, own_miniature: Miniature
) -> None:
    with web_server(own_miniature.root.parent) as server:
        options = {
            "max_samples": 4,
            "source": "cvdf",
            "test_labels": f"{server.url}/kinetics600.tar.gz",
        }
        archive = own_miniature.test_labels
        hidden = archive.rename(archive.with_suffix(".hidden"))
        assert set(load("test", **options)["test"]["label"]) == {None}
        hidden.rename(archive)
        assert set(load("test", **options)["test"]["label"]) != {None}


def test_after_a_full_test_split_no_subset_of_it_asks_anybody(
    load: Load, youtube: Replica, own_miniature: Miniature, tmp_path: Path
) -> None:
    """DeepMind's list names many clips that no tarball holds."""
    rows = ["label,youtube_id,time_start,time_end,split"]
    for name, label in own_miniature.labels.items():
        if label is not None:
            rows.append(f"{label},{name[:11]},{int(name[12:18])},{int(name[19:25])},test")
    rows += [f"{CLASS},notintars{n:02d},0,10,test" for n in range(40)]
    path = tmp_path / "test.csv"
    path.write_text("\n".join(rows) + "\n")
    load("test", test_labels=str(path))
    ds = load("test", max_samples=4, shuffle=True, test_labels=str(path))["test"]
    assert set(ds["source"]) == {"cvdf"}
    assert youtube.requests == []


def test_test_clips_that_youtube_has_not_come_from_tarballs(load: Load, youtube: Replica) -> None:
    youtube.videos.clear()
    ds = load("test", max_samples=3, on_missing="raise")["test"]
    assert len(ds) == 3
    assert set(ds["source"]) == {"cvdf"}


def test_a_whole_copy_elsewhere_serves_where_the_own_one_is_cut_off(
    load: Load, own_miniature: Miniature, folders: dict[str, Any]
) -> None:
    root = Path(folders["data_dir"], "train")
    for name, data in own_miniature.clips["train"][CLASS].items():
        for folder, part in ((CLASS, data[:900]), (CLASS.replace(" ", "_"), data)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_bytes(part)
    ds = load("train", source="local")["train"]
    assert len(ds) == 5
    for row in ds:
        data = own_miniature.clips["train"][CLASS][os.path.basename(row["video"]["path"])]
        assert Path(row["video"]["path"]).read_bytes() == data


def test_a_foreign_clip_that_is_cut_off_later_is_noticed(
    load: Load, own_miniature: Miniature, folders: dict[str, Any], tmp_path: Path
) -> None:
    root = Path(folders["data_dir"], "train", "surfing_water")
    root.mkdir(parents=True)
    for name, data in own_miniature.clips["train"][CLASS].items():
        (root / name).write_bytes(data)
    assert len(load("train", classes=CLASS)["train"]) == 5
    clip = root / listed(own_miniature)[0]
    clip.write_bytes(clip.read_bytes()[:900])
    options = {"cache_dir": str(tmp_path / "cold"), "classes": CLASS, "source": "local"}
    assert len(load("train", **options, on_missing="skip")["train"]) == 4


def test_a_clip_that_came_again_from_a_tarball_is_no_longer_youtubes(
    load: Load, own_miniature: Miniature, folders: dict[str, Any]
) -> None:
    load("train", classes=CLASS, max_samples=2, source="youtube")
    for name in listed(own_miniature)[:2]:
        Path(folders["data_dir"], "train", CLASS, name).unlink()
    ds = load("train", classes=CLASS, source="cvdf")["train"]
    assert set(ds["source"]) == {"cvdf"}


def test_a_damaged_tarball_is_not_read_again_by_every_subset(
    load: Load, own_miniature: Miniature
) -> None:
    spoil(own_miniature.root / f"train/{CLASS}.tar.gz")
    with web_server(own_miniature.root.parent) as server:
        options = {"source": "cvdf", "mirror": f"{server.url}/600", "on_missing": "skip"}
        with pytest.raises(NoClipsError):
            load("train", classes=CLASS, **options)
        load("train", max_samples=7, **options)
        server.requests.clear()
        load("train", max_samples=6, **options)
        asked = {method for method, path in server.requests if CLASS in path}
        assert asked == {"HEAD"}  # is it still the same?


def test_a_damaged_tarball_is_told_of_in_words_by_every_call(
    load: Load, own_miniature: Miniature
) -> None:
    path = own_miniature.root / f"train/{CLASS}.tar.gz"
    path.write_bytes(lzma.compress(gzip.decompress(path.read_bytes())))
    for reason in ("tarball_damaged", "tarball_condemned", "tarball_condemned"):
        told = rf"{reason}: .*expected gzip or a plain tar, and it is xz\)$"
        with pytest.raises(NoClipsError, match=told):
            load("train", classes=CLASS, mirror=str(own_miniature.root), source="cvdf")


def test_a_hand_written_manifest_of_test_clips_finds_their_tarballs(
    load: Load, own_miniature: Miniature, tmp_path: Path
) -> None:
    chosen = [name for name, label in own_miniature.labels.items() if label is not None][:2]
    path = tmp_path / "chosen.csv"
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(("split", "label", "youtube_id", "time_start", "time_end"))
        for name in chosen:
            times = int(name[12:18]), int(name[19:25])
            writer.writerow(("test", own_miniature.labels[name], name[:11], *times))
    ds = load("test", manifest=str(path), on_missing="raise")["test"]
    assert sorted(names(ds)) == sorted(chosen)
    with pytest.raises(ManifestError, match="which tarball"):
        load("test", manifest=str(path), streaming=True, data_dir=str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("column", "value", "word"),
    [
        ("tarball", "../../evil", "tarball: '../../evil'"),
        ("tarball", "zumba", "tarball: 'zumba'"),
        ("source", "elsewhere", "source: 'elsewhere'"),
        ("sha256", "xyz", "sha256"),
        ("size_bytes", "-5", "size_bytes"),
        ("time_start", "inf", "row 1"),
        ("label", "3", "'3'"),
    ],
)
def test_a_hostile_manifest(load: Load, tmp_path: Path, column: str, value: str, word: str) -> None:
    row = {
        "split": "train",
        "label": CLASS,
        "youtube_id": "abcdefghijk",
        "time_start": "0",
        "time_end": "10",
        column: value,
    }
    path = tmp_path / "chosen.csv"
    path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    with pytest.raises(ManifestError, match=word):
        load("train", manifest=str(path))


def test_a_youtube_clip_of_a_manifest_is_not_taken_from_a_tarball(
    load: Load, youtube: Replica, tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    ds = load("train", classes=CLASS, max_samples=2, source="youtube")["train"]
    path = kinetics600.save_manifest(ds, tmp_path / "chosen.csv")
    elsewhere = {"data_dir": str(tmp_path / "other"), "cache_dir": str(tmp_path / "cache2")}
    again = load("train", manifest=path, on_missing="raise", **elsewhere)["train"]
    assert names(again) == names(ds)  # cut anew, to the same bytes
    youtube.blocked = True
    third = {"data_dir": str(tmp_path / "third"), "cache_dir": str(tmp_path / "cache3")}
    with pytest.raises(NoClipsError, match="youtube_blocked"):
        load("train", manifest=path, **third)


def test_truncated_media_are_not_held_against_the_clip(
    load: Load, youtube: Replica, own_miniature: Miniature, folders: dict[str, Any]
) -> None:
    name = listed(own_miniature)[4]  # from second 40 on
    youtube.videos[name[:11]] = good_video(96, 64, 5, seconds=60, fault="truncated")
    load("train", classes=CLASS, source="youtube", on_missing="skip")
    rows = Ledger(Store.at(folders["data_dir"]).ledger_path).view("train").answers
    assert {row.kind for row in rows if row.file_name == name} == {"transient"}
    youtube.videos[name[:11]] = good_video(96, 64, 5, seconds=60)
    ds = load("train", classes=CLASS, source="youtube", on_missing="raise")["train"]
    assert name in names(ds)


@pytest.mark.usefixtures("dear_tarballs")
def test_a_block_is_not_probed_again_at_once(load: Load, youtube: Replica) -> None:
    youtube.blocked = True
    load("all", max_samples=2, num_workers=1)
    assert youtube.count("/watch") == 3  # by both ways to look at the first video, then another
    load("train", max_samples=4, num_workers=1)
    assert youtube.count("/watch") == 3


def test_two_processes_do_not_ask_for_the_same_clips(
    youtube: Replica, own_miniature: Miniature, tmp_path: Path
) -> None:
    program = """
        import sys, datasets, kinetics600
        datasets.disable_progress_bars()
        ds = datasets.load_dataset(
            "kinetics600", "train", classes="surfing water", max_samples=4, source="youtube",
            data_dir=sys.argv[1] + "/clips", cache_dir=sys.argv[1] + "/cache" + sys.argv[4],
            mirror=sys.argv[2], proxy=sys.argv[3], num_workers=2, on_missing="raise",
            yt_dlp_options={"nocheckcertificate": True},
        )["train"]
        assert len(ds) == 4
    """
    arguments = [str(tmp_path), str(own_miniature.root), youtube.url]
    running = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), *arguments, str(n)])
        for n in range(2)
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    pages = Counter(r.video_id for r in youtube.requests if r.path == "/watch")
    assert sum(pages.values()) == 4, pages


def test_many_may_open_a_ledger_of_the_first_version_at_once(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "ledger.sqlite"
    make_old_ledger(path)
    ledger = Ledger(path)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: len(ledger.view("train").others), range(64))) == [1] * 64
        list(pool.map(lambda _: ledger.record_files("train", []), range(16)))
    assert ledger.view("train").answers == []


def test_names_in_two_classes_are_not_guessed_in_a_flat_tree(
    load: Load, own_miniature: Miniature, folders: dict[str, Any], lines: pytest.LogCaptureFixture
) -> None:
    """The miniature gives clips of different classes the same names."""
    root = Path(folders["data_dir"], "train")
    root.mkdir(parents=True)
    for name, data in own_miniature.clips["train"][CLASS].items():
        (root / name).write_bytes(data)
    ds = load("train", source="cvdf")["train"]
    assert ": in no list of the host, or in that of two classes" in lines.text
    shared = set(own_miniature.clips["train"]["zumba"])
    for row in ds:
        if os.path.basename(row["video"]["path"]) in shared:
            assert row["source"] == "cvdf"


def test_per_class_limits_on_the_test_split_do_not_store_whole_tarballs(
    load: Load, folders: dict[str, Any], own_miniature: Miniature
) -> None:
    clips = {f"clip{n:07d}_000000_000010.mp4": make_clip(n) for n in range(8)}
    rows = [f"{CLASS},{name[:11]},0,10,test" for name in clips]
    (own_miniature.root / "test/part_0.tar.gz").write_bytes(make_tarball(clips))
    labels = own_miniature.root / "labels.csv"
    labels.write_text("\n".join(["label,youtube_id,time_start,time_end,split", *rows]) + "\n")
    options = {"classes": CLASS, "max_per_class": 2, "source": "cvdf", "test_labels": str(labels)}
    with web_server(own_miniature.root.parent) as server:
        ds = load("test", mirror=f"{server.url}/600", on_missing="raise", **options)["test"]
        assert not [path for _, path in server.requests if "part_1" in path]
    assert len(ds) == 2


def test_each_reason_why_tarballs_were_not_read_again_has_a_line_of_its_own() -> None:
    failures = {"train/yoga.tar.gz": "tarball_denied", "train/zumba.tar.gz": "tarball_damaged"}
    said = Outcome("train", (), (), failures=failures).missing_text()
    begin = "kinetics600 train: 1 tarball could not be read again (tarball_"
    assert [line.startswith(begin) for line in said.splitlines()] == [True, True]

"""What `source="auto"` chooses for a few clips, and whether its forecast comes true.

    python -m benchmarks.cheaper [--folder FOLDER] [--only WORD] [--json FILE]

The mirror is the paced server with 600 tarballs a split of the real sizes (hard links to one file
each); YouTube is the tests' replica, with a third of the videos gone, answers after half a second
and 5 MB/s a connection. Each load is a fresh process with an empty store and the default options.
What would take an hour is measured for fewer clips, and the row says for how many.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import REPOSITORY
from benchmarks.paced_server import paced_server
from benchmarks.settings import LATENCY_MS, MB_PER_S
from benchmarks.tarballs import make_host, write_lists
from k600.dataset.labels import NAMES

__all__ = ["main"]

CLIPS = {"validation": (50, 1_440_000), "train": (710, 1_510_000)}
"""Clips of a tarball, and bytes of a clip: as the real ones are on average."""
FOLDERS = {"validation": "val", "train": "train"}

FEW = {"max_samples": 10}
MANY = {"max_samples": 300, "shuffle": True, "seed": 1}
CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "validation, 10": ("validation", FEW),
    "validation, 10 of two classes": (
        "validation",
        {**FEW, "classes": [NAMES[7], NAMES[9]], "shuffle": True, "seed": 1},
    ),
    "validation, 300 shuffled": ("validation", MANY),
    "train, 10 of one class": ("train", {**FEW, "classes": NAMES[7]}),
    "train, 10 shuffled": ("train", {**FEW, "shuffle": True, "seed": 1}),
    "train, 300 shuffled": ("train", MANY),
}
WAYS = ("auto", "cvdf", "youtube")
SLICES = {
    ("validation, 300 shuffled", "youtube"): 45,
    ("train, 300 shuffled", "auto"): 30,
    ("train, 300 shuffled", "youtube"): 45,
}
"""How many clips are brought in place of those that a case names: what these took, times the ratio
of both forecasts, stands for the whole."""

GONE = 1 / 3
ANSWER_SECONDS, MEDIA_BYTES_PER_SECOND = 0.5, 5e6
VIDEO_SECONDS = 312
"""No clip of the made tarballs ends later."""
COLUMNS = (
    "way",
    "forecast; at the rate that the load has shown",
    "measured",
    "GB of tarballs, forecast",
    "measured",
    "clips from YouTube",
    "questions",
    "CPU s",
)


def main() -> None:
    if sys.argv[1:2] == ["--load"]:
        print(json.dumps(_load(json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keep the made tarballs here")
    parser.add_argument("--only", default="", help="cases, or `case: way`, with this in the name")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()

    base = Path(tempfile.mkdtemp(prefix="k600-cheaper-", dir=options.folder))
    try:
        runs = _measure(options.folder or base, base, options.only)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1) + "\n")


def _measure(folder: Path, work: Path, only: str) -> list[dict[str, Any]]:
    from tests.youtube_replica import youtube_replica

    names = _make_mirror(folder)
    videos = _videos({name[:11] for split in names.values() for name in split})
    runs = []
    done = set()  # what `auto` chose, and nothing else: it is not measured again
    print(f"| clips | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 1) + "|", flush=True)
    with (
        paced_server({"mirror": folder / "cheaper"}, LATENCY_MS, MB_PER_S) as mirror,
        youtube_replica() as youtube,
    ):
        youtube.videos = videos
        youtube.answer_seconds = ANSWER_SECONDS
        youtube.media_bytes_per_second = MEDIA_BYTES_PER_SECOND
        for case, (split, options) in CASES.items():
            for way in WAYS:
                if only not in f"{case}: {way}" or (case, way) in done:
                    continue
                youtube.requests.clear()
                store = work / f"{len(runs)}"
                load = {
                    "split": split,
                    "options": {**options, "source": way},
                    "clips": SLICES.get((case, way), options["max_samples"]),
                    "mirror": f"{mirror.url}/mirror/600",
                    "proxy": youtube.url,
                    "folder": str(store),
                }
                found = _run(load)
                asked = [*youtube.requests]
                found |= {
                    "case": case,
                    "way": way,
                    "youtube_bytes": sum(
                        each.sent_bytes for each in asked if each.path == "/videoplayback"
                    ),
                    "questions": sum(
                        each.path == "/watch" or each.path.startswith("/youtubei/")
                        for each in asked
                    ),
                }
                shutil.rmtree(store)
                runs.append(found)
                if way == "auto" and found["from_youtube"] in (0, found["clips"]):
                    done.add((case, "youtube" if found["from_youtube"] else "cvdf"))
                print(_row(found), flush=True)
    return runs


def _make_mirror(folder: Path) -> dict[str, list[str]]:
    """Make a mirror of all classes of train and validation; return the file names in a tarball.

    Every tarball of a split is one file under another name.
    """
    root = folder / "cheaper/600"
    shutil.rmtree(root, ignore_errors=True)
    found = {}
    for split, (clips, clip_bytes) in CLIPS.items():
        host = make_host(
            folder / "hosts", tarballs=1, clips=clips, clip_bytes=clip_bytes, mixed=True
        )
        [names] = host.clips.values()
        [tarball] = (host.root / "val").glob("*.tar.gz")
        (root / FOLDERS[split]).mkdir(parents=True)
        for label in NAMES:
            os.link(tarball, root / FOLDERS[split] / f"{label}.tar.gz")
        write_lists(root, dict.fromkeys(NAMES, names), FOLDERS[split])
        found[split] = [*names]
    return found


def _videos(ids: set[str]) -> dict[str, Any]:
    """Return what the replica has: a third of all is gone, for one reason or another."""
    from tests.counter import counter_video, tone_audio
    from tests.youtube_videos import FAILURES, good_video

    seconds = VIDEO_SECONDS
    picture = functools.partial(counter_video, 640, 360, 30, seconds, gop_size=150, noise=1)
    audio = functools.partial(tone_audio, seconds)
    good = good_video(640, 360, 30, seconds, media=picture(), audio=audio())
    gone = [FAILURES[name] for name in ("private", "removed", "terminated", "gone")]
    chance = random.Random(0)
    return {each: chance.choice(gone) if chance.random() < GONE else good for each in sorted(ids)}


def _run(load: Mapping[str, Any]) -> dict[str, Any]:
    """Load in a process of its own, and return what it found."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KINETICS600_")}
    environment["HF_HOME"] = f"{load['folder']}/hf"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cheaper", "--load", json.dumps(load)],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env=environment,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _load(load: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for the forecast, and bring the clips; return both."""
    import datasets

    import kinetics600
    from k600.loading.cheaper import USUAL_BYTES_PER_SECOND, recall_rate
    from k600.loading.estimate import forecast_split

    datasets.disable_progress_bars()
    kinetics600.logger.setLevel("ERROR")
    split, folder = load["split"], load["folder"]
    options = {
        **load["options"],
        "mirror": load["mirror"],
        "proxy": load["proxy"],
        "yt_dlp_options": {"nocheckcertificate": True, "cachedir": False},
        "data_dir": f"{folder}/clips",
    }
    forecast = part = forecast_split(kinetics600.make_request(split, **options), split)
    if load["clips"] != options["max_samples"]:
        if options["source"] == "auto":  # it is to go the way of the whole
            options["source"] = "youtube" if forecast.prices["youtube"].count else "cvdf"
        options["max_samples"] = load["clips"]
        part = forecast_split(kinetics600.make_request(split, **options), split)

    _sent_by(load["mirror"])
    used, began = _cpu_seconds(), time.monotonic()
    ds = kinetics600.load_dataset(split, cache_dir=f"{folder}/cache", **options)
    wall, used = time.monotonic() - began, _cpu_seconds() - used

    request = kinetics600.make_request(split, **options)
    return {
        "chosen": forecast.cheaper_way,
        "forecast_s": forecast.seconds,
        "forecast_bytes": forecast.prices["cvdf"].seconds * USUAL_BYTES_PER_SECOND,
        "forecast_youtube_bytes": forecast.prices["youtube"].size_bytes,
        "clips": len(ds),
        "whole": load["options"]["max_samples"],
        "from_youtube": ds["source"].count("youtube"),
        "wall_s": wall,
        "whole_s": wall * forecast.seconds / part.seconds,
        "cpu_s": used,
        "tarball_bytes": _sent_by(load["mirror"]),
        "bytes_per_second": recall_rate(request.store, request.mirror),
    }


def _sent_by(mirror: str) -> int:
    """Return how many bytes a mirror has sent since this was asked last."""
    address = urllib.parse.urljoin(mirror, "/-/sent")
    with urllib.request.urlopen(address, timeout=10) as response:
        sent: int = json.load(response)["bytes"]
    return sent


def _cpu_seconds() -> float:
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _row(run: Mapping[str, Any]) -> str:
    """Return the line of a table for a load."""
    way = {"cvdf": "tarballs", "youtube": "YouTube"}.get(run["way"], "auto")
    if way == "auto":
        way = f"**auto: {'YouTube' if run['forecast_youtube_bytes'] else 'tarballs'}**"
    forecast = f"{run['forecast_s']:,.0f} s"
    if rate := run["bytes_per_second"] if run["forecast_bytes"] else None:
        forecast += f"; {run['forecast_bytes'] / rate:,.0f} s at {rate / 1e6:,.0f} MB/s"
    measured = f"{run['wall_s']:,.0f} s"
    if run["clips"] < run["whole"]:
        measured = f"{run['whole_s']:,.0f} s, by {run['clips']} in {measured}"
    cells = [
        run["case"],
        way,
        forecast,
        measured,
        f"{run['forecast_bytes'] / 1e9:.2f}",
        f"{run['tarball_bytes'] / 1e9:.2f}",
        f"{run['from_youtube']} of {run['clips']}, {run['youtube_bytes'] / 1e6:,.0f} MB",
        f"{run['questions']}",
        f"{run['cpu_s']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

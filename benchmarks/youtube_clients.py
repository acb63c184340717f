"""What a clip from YouTube costs by the client that it is asked as, on the tests' replica.

    python -m benchmarks.youtube_clients

Each row is a fresh process that fetches some clips with one thread; the replica, with a player's
script of real size, is another process's. CPU and memory include deno's.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

__all__ = ["main"]

OLD = {"player_client": ["default"]}
WAYS: dict[str, dict[str, Any]] = {
    "as the loader does": {},
    "the same, without audio": {"audio": False},
    "only yt-dlp's own choice": {"args": OLD},
    "only its choice, without audio": {"args": OLD, "audio": False},
    "tv_samsung alone": {"args": {"player_client": ["tv_samsung"]}},
    "without a JavaScript runtime": {"further": {"js_runtimes": {}}},
    "where visionos gives nothing": {"none": "VISIONOS"},
}
CLIPS = 3


def main() -> None:
    if sys.argv[1:2] == ["--fetch"]:
        print(json.dumps(_fetch(json.loads(sys.argv[2]))))
        return
    argparse.ArgumentParser(description=__doc__).parse_args()

    from tests.counter import counter_video, tone_audio
    from tests.youtube_replica import youtube_replica
    from tests.youtube_videos import good_video

    media = functools.partial(counter_video, 640, 360, 30, 60, gop_size=150, noise=1)
    video = good_video(640, 360, 30, 60, media=media(), audio=tone_audio(60))
    video.ways["TVHTML5"] = "n"
    with youtube_replica() as replica:
        replica.script_functions = 25_000
        print("| way | questions | requests | media MB | wall s | CPU s | Python MB | deno MB |")
        print("|---|---|---|---|---|---|---|---|")
        for name, way in WAYS.items():
            ways = {**video.ways, **({way["none"]: "none"} if "none" in way else {})}
            replica.videos = {f"abcdefghij{n}": replace(video, ways=ways) for n in range(CLIPS)}
            replica.requests.clear()
            command = [sys.executable, "-m", __spec__.name, "--fetch"]
            command.append(json.dumps({"url": replica.url, **way}))
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            questions = replica.count("/watch") + replica.count("/youtubei/")
            print(
                f"| {name} | {questions / CLIPS:.1f} | {len(replica.requests) / CLIPS:.1f} | "
                f"{found['bytes'] / CLIPS / 1e6:.2f} | {found['wall'] / CLIPS:.2f} | "
                f"{found['cpu'] / CLIPS:.2f} | {found['python']:.0f} | {found['deno']:.0f} |"
            )


def _fetch(way: dict[str, Any]) -> dict[str, float]:
    """Fetch the clips; return what it took."""
    from k600.dataset.clip import Clip
    from k600.loading.request import make_request
    from k600.store.store import Store
    from k600.youtube.cookies import Cookies
    from k600.youtube.fetcher import VideoFetcher
    from k600.youtube.rate_limit import Throttle

    further = {"nocheckcertificate": True, "cachedir": False, **way.get("further", {})}
    if "args" in way:
        further["extractor_args"] = {"youtube": way["args"]}
    options = make_request(
        "train",
        default_data_dir="/nowhere",
        proxy=way["url"],
        yt_dlp_options=further,
        audio=way.get("audio", True),
    ).youtube
    with tempfile.TemporaryDirectory() as folder:
        store = Store.at(folder)
        store.prepare()
        fetcher = VideoFetcher(options, Cookies(), Throttle(store, "replica", 10_000_000))
        before, began = _cpu_seconds(), time.monotonic()
        received = sum(
            fetcher.fetch(
                Clip("train", "zumba", f"abcdefghij{n}", 12, 22), Path(folder, f"{n}.mp4")
            ).received_bytes
            for n in range(CLIPS)
        )
        wall, cpu = time.monotonic() - began, _cpu_seconds() - before
    fetcher.close()
    peak = {who: resource.getrusage(who).ru_maxrss / 1024 for who in _WHO}
    python, deno = peak[resource.RUSAGE_SELF], peak[resource.RUSAGE_CHILDREN]
    return {"bytes": received, "wall": wall, "cpu": cpu, "python": python, "deno": deno}


_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in _WHO]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()

"""From a tree of clips to rows: this loader and others, each for a fresh process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Figures, child

Work = Callable[[], "Figures | None"]


def load(data_dir: str, mirror: str, cache_dir: str) -> Work:
    """Load the train split: cold, or warm where `cache_dir` holds its rows."""
    import datasets

    import kinetics600

    datasets.disable_progress_bars()
    kinetics600.logger.setLevel("ERROR")

    def work() -> Figures:
        ds = kinetics600.load_dataset(
            "train", data_dir=data_dir, mirror=mirror, cache_dir=cache_dir, source="cvdf"
        )
        return {"rows": len(ds), "first": os.path.basename(ds[0]["video"]["path"])}

    return work


def bare_builder(data_dir: str, cache_dir: str) -> Work:
    """A `GeneratorBasedBuilder` as one would write it: walk the tree, yield path and label."""
    import datasets

    datasets.disable_progress_bars()

    class Bare(datasets.GeneratorBasedBuilder):
        def _info(self) -> datasets.DatasetInfo:
            labels = datasets.ClassLabel(names=sorted(os.listdir(f"{data_dir}/train")))
            columns = {"video": datasets.Video(decode=False), "label": labels}
            return datasets.DatasetInfo(features=datasets.Features(columns))

        def _split_generators(self, dl_manager: object) -> list[datasets.SplitGenerator]:
            return [datasets.SplitGenerator("train")]

        def _generate_examples(self):  # type: ignore[no-untyped-def]
            for label in sorted(os.listdir(f"{data_dir}/train")):
                for name in sorted(os.listdir(f"{data_dir}/train/{label}")):
                    path = f"{data_dir}/train/{label}/{name}"
                    yield path, {"video": path, "label": label}

    def work() -> Figures:
        builder = Bare(cache_dir=cache_dir, hash="bare")
        builder.download_and_prepare()
        ds = builder.as_dataset("train")
        return {"rows": len(ds), "first": os.path.basename(ds[0]["video"]["path"])}

    return work


def videofolder(data_dir: str, cache_dir: str) -> Work:
    """The `videofolder` builder of `datasets`."""
    import datasets
    import datasets.packaged_modules.videofolder.videofolder

    datasets.disable_progress_bars()

    def work() -> Figures:
        ds = datasets.load_dataset(
            "videofolder", data_dir=f"{data_dir}/train", split="train", cache_dir=cache_dir
        )
        ds = ds.cast_column("video", datasets.Video(decode=False))
        return {"rows": len(ds), "first": os.path.basename(ds[0]["video"]["path"])}

    return work


def resume(data_dir: str, mirror: str) -> Work:
    """Find out that a complete store needs nothing: what each call does before anything else."""
    import kinetics600
    from k600.loading.fetch import fetch_split

    kinetics600.logger.setLevel("ERROR")

    def work() -> Figures:
        request = kinetics600.make_request("train", data_dir=data_dir, mirror=mirror, source="cvdf")
        outcome = fetch_split(request, "train")
        return {"rows": sum(len(shard.names) for shard in outcome.shards)}

    return work


def inventory(data_dir: str) -> Work:
    """List the clips of every folder of a store."""
    from k600.store.store import Store

    def work() -> Figures:
        store = Store.at(data_dir)
        labels = os.listdir(store.root / "train")
        return {"rows": sum(len(store.inventory(f"train/{label}")) for label in labels)}

    return work


def walk(data_dir: str) -> Work:
    """Walk the tree and ask each file for its size, as a check by hand would."""

    def work() -> Figures:
        rows = 0
        for root, _, names in os.walk(f"{data_dir}/train"):
            for name in names:
                os.stat(os.path.join(root, name))
                rows += 1
        return {"rows": rows}

    return work


def select(clips: int, classes: int, balanced: bool, shuffle: bool) -> Work:
    """Choose a thousand clips of the split."""
    from benchmarks.full_store import clip_names
    from k600.loading.selection import Limits, choose_clips

    names = clip_names(clips=clips, classes=classes)
    most = min(1000, clips)

    def work() -> Figures:
        limits = Limits(max_samples=most, balanced=balanced, shuffle=shuffle, seed=1)
        return {"rows": clips, "chosen": len(choose_clips(names, limits))}

    return work


def record(folder: str, clips: int, classes: int) -> Work:
    """Write a ledger of the split, a transaction for each tarball."""
    from benchmarks.full_store import clip_names, ledger_rows
    from k600.store.ledger import Ledger

    rows = [ledger_rows(*item) for item in clip_names(clips=clips, classes=classes).items()]

    def work() -> Figures:
        ledger = Ledger(Path(folder, "ledger.sqlite"), "s3://kinetics/600")
        slowest = 0.0
        for row in rows:
            start = time.perf_counter()
            ledger.record(*row)
            slowest = max(slowest, time.perf_counter() - start)
        return {"rows": clips, "slowest_ms": 1000 * slowest}

    return work


def known(data_dir: str) -> Work:
    """Read all that the ledger says of the split."""
    from k600.store.ledger import Ledger
    from k600.store.store import Store

    def work() -> Figures:
        found = Ledger(Store.at(data_dir).ledger_path).view("train")
        return {"rows": sum(len(held.names) for held in found.groups)}

    return work


if __name__ == "__main__":
    child(
        {
            "load": load,
            "bare_builder": bare_builder,
            "videofolder": videofolder,
            "resume": resume,
            "inventory": inventory,
            "walk": walk,
            "select": select,
            "record": record,
            "known": known,
        }
    )

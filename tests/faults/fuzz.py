"""The readers of what strangers send, under a coverage-guided fuzzer.

    python -m tests.faults.fuzz                        every target, ten seconds each
    python -m tests.faults.fuzz tarball --seconds 600  one of them, for longer
    python -m tests.faults.fuzz --make-corpus          write the saved corpus anew

Needs atheris (`sh scripts/setup test,fuzz`). Whatever is put in, a reader returns what it promises
or raises one of this project's errors; anything else ends the run, with the input kept. The saved
corpus in `corpus/` is made by this project's own code; each file is a test without a fuzzer, too.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

with contextlib.suppress(ImportError):
    import atheris

    with atheris.instrument_imports(include=["k600", "tarfile", "csv"]):
        for module in (
            "k600.loading.manifest",
            "k600.miniature",
            "k600.tarballs.archive",
            "k600.video.probe",
        ):
            importlib.import_module(module)

from k600.dataset.clip import parse_file_name
from k600.dataset.labels import NAMES
from k600.dataset.splits import SPLITS
from k600.errors import Kinetics600Error
from k600.loading.manifest import read_manifest
from k600.miniature import make_clip, make_tarball
from k600.tarballs.archive import MOST_CLIP_BYTES, InMemory, Members
from k600.tarballs.lists import parse_listing, parse_path_list, parse_test_labels
from k600.video.probe import box_problem

CORPUS = Path(__file__).parent / "corpus"
MOST_MEMORY_MB = 700


def listing(data: bytes) -> None:
    for split in ("train", "validation"):
        with contextlib.suppress(Kinetics600Error):
            for label, names in parse_listing(data.decode(errors="replace"), split).items():
                assert label in NAMES
                assert all(map(parse_file_name, names))


def path_list(data: bytes) -> None:
    for split in SPLITS:
        with contextlib.suppress(Kinetics600Error):
            for tarball in parse_path_list(data.decode(errors="replace"), split):
                assert tarball.label in NAMES or tarball.name.removeprefix("part_").isdigit()


def labels(data: bytes) -> None:
    for made in (data, make_tarball({"kinetics600/test.csv": data}), gzip.compress(data, 1)):
        with contextlib.suppress(Kinetics600Error):
            assert set(parse_test_labels(made).values()) <= {*NAMES}


def tarball(data: bytes) -> None:
    for made in (data, gzip.compress(data, 1)):
        with contextlib.suppress(Kinetics600Error):
            for member in Members(InMemory(made), len(made), name="fuzzed"):
                assert "/" not in member.file_name
                if member.problem is None:
                    assert parse_file_name(member.file_name)
                    assert 0 <= member.size_bytes <= MOST_CLIP_BYTES
                    assert sum(map(len, member.chunks)) == member.size_bytes


def manifest(data: bytes) -> None:
    suffix = ".parquet" if data[:4] == b"PAR1" else ".csv"
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(Kinetics600Error):
            for row in read_manifest(file.name).rows:
                assert row.clip.label in (*NAMES, None)
                assert parse_file_name(row.clip.file_name)


def boxes(data: bytes) -> None:
    box_problem(io.BytesIO(data))


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (listing, path_list, labels, tarball, manifest, boxes)
}


def saved() -> dict[str, dict[str, bytes]]:
    """Return the saved corpus, made by this project's code."""
    name, clip = (
        "aaaaaaaaaaa_000000_000010.mp4",
        make_clip(1, seconds=1, fps=2, width=32, height=32),
    )
    header = "label,youtube_id,time_start,time_end,split"
    names = f"train:\nzumba\n\ntrain/zumba:\n{name}\n \n"
    forms = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}
    tars = {}
    for form, number in forms.items():
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=number) as tar:
            for kind in (tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE):
                entry = tarfile.TarInfo("d" * (90 if form == "ustar" else 300) + "/" + name)
                entry.type, entry.linkname = kind, "../x"
                entry.size = len(clip) if entry.isreg() else 0
                tar.addfile(entry, io.BytesIO(clip))
        tars[form] = buffer.getvalue().rstrip(b"\0") + bytes(1024)
    manifest = f"split,{header.removesuffix(',split')},source,tarball,size_bytes,sha256\n"
    return {
        "listing": {"train": names.encode(), "val": names.replace("train", "val").encode()},
        "path_list": {
            "train": b"https://s3.amazonaws.com/kinetics/600/train/mopping floor.tar.gz\n",
            "test": b"https://s3.amazonaws.com/kinetics/600/test/part_0.tar.gz\n",
            "quoted": b"x/val/tie%20dying.tar.gz\n",
        },
        "labels": {"csv": f'{header}\nzumba,aaaaaaaaaaa,0,10,test\n"yoga",b,1,2,x\n'.encode()},
        "tarball": {**tars, "plain": make_tarball({name: clip}, gzipped=False)},
        "manifest": {
            "csv": f"{manifest}train,zumba,aaaaaaaaaaa,0,10,cvdf,zumba,5,{'0' * 64}\n".encode(),
            "state": f"{manifest[:-1]},state\ntest,,aaaaaaaaaaa,0,10,,part_0,,,short\n".encode(),
        },
        "boxes": {"clip": clip, "cut": clip[:-9], "ftyp": clip[:32]},
    }


def run(target: str, seconds: int) -> int:
    """Fuzz one target in a process of its own; returns the process's status."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.faults.fuzz", "--inside", target]
        limits = [
            "-timeout=10",
            f"-rss_limit_mb={MOST_MEMORY_MB}",
            "-max_len=20000",
            "-verbosity=0",
        ]
        found = f"-artifact_prefix={Path.cwd()}/fuzz-{target}-"
        command += [*limits, f"-max_total_time={seconds}", found, "-print_final_stats=1"]
        return subprocess.run([*command, folder, str(CORPUS / target)]).returncode


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        target = TARGETS[sys.argv[2]]
        atheris.Setup([sys.argv[0], *sys.argv[3:]], target)
        atheris.Fuzz()
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=10, help="for each target")
    parser.add_argument("--make-corpus", action="store_true", help="write it, and do nothing else")
    options = parser.parse_args()
    if options.make_corpus:
        for target, files in saved().items():
            for name, data in files.items():
                path = CORPUS / target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return
    if "atheris" not in globals():
        sys.exit("atheris is not here: sh scripts/setup test,fuzz")
    unknown = {*options.targets} - {*TARGETS}
    if unknown:
        parser.error(
            f"no such target: {', '.join(sorted(unknown))}. There are {', '.join(TARGETS)}"
        )
    failed = [target for target in options.targets or TARGETS if run(target, options.seconds)]
    sys.exit(f"failed: {', '.join(failed)}; the inputs are kept as fuzz-*" if failed else 0)


if __name__ == "__main__":
    main()

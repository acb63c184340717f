"""Names and files from strangers: nothing is written outside of the store or overwritten in it."""

from __future__ import annotations

import ast
import contextlib
import gzip
import io
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import kinetics600
from k600.checks.status import read_status
from k600.checks.verify import verify_clips
from k600.errors import Kinetics600Error, ListError, StoreError
from k600.miniature import Miniature, make_clip
from k600.store.ledger import Ledger
from k600.tarballs.lists import parse_listing, parse_path_list, parse_test_labels
from tests.conftest import contents, expected
from tests.faults.jobs import ROOT
from tests.faults.trial import Result, assert_whole, fetch

NAME = "aaaaaaaaaaa_000000_000010.mp4"
OTHER = "bbbbbbbbbbb_000000_000010.mp4"

# What a tarball may call a file, and whether it is a clip of the base name NAME all the same.
NAMES = {
    f"/etc/{NAME}": True,
    f"../../../{NAME}": True,
    f"./../{OTHER}/../{NAME}": True,
    f"C:\\Windows\\{NAME}": False,
    f"{'d' * 10_000}/{NAME}": True,
    "n" * 10_000 + ".mp4": False,
    f"\u2215{NAME}": False,  # a stroke that looks like a slash
    NAME.replace("a", "\u0430", 1): False,  # Cyrillic
    NAME.replace("0", "\uff10", 1): False,  # full-width
    NAME.replace("0", "\u0660", 1): False,  # Arabic-Indic
    f"{NAME}\n": False,
    f" {NAME}": False,
    f"{NAME}/": False,
    "..": False,
    "": False,
    "-rf.mp4": False,
    "<script>alert(1)</script>.mp4": False,
    "=cmd|' /C calc'!A0.mp4": False,
    "\udcff\udcfe.mp4": False,
}


def tarball(entries: list[tarfile.TarInfo], data: bytes, form: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for entry in entries:
            entry.size = len(data) if entry.isreg() else 0
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), 1)


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def snapshot(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return all there is in a folder: kinds, sizes, times and bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, data)
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody else; it must be the same afterwards."""
    folder = tmp_path / "outside"
    (folder / "zumba").mkdir(parents=True)
    (folder / "zumba" / NAME).write_bytes(b"somebody's own file")
    (folder / "precious").mkdir()
    (folder / "precious/data").write_bytes(b"precious")
    (folder / "precious.lock").write_bytes(b"a lock of theirs")
    (folder / "reports").mkdir()
    (folder / "tree/zumba").mkdir(parents=True)
    (folder / "tree/zumba" / NAME).write_bytes(make_clip(1))  # a video of theirs
    before = snapshot(folder)
    yield folder
    assert snapshot(folder) == before, "something outside of the store was touched"


def land(tmp_path: Path, data: bytes, **options: Any) -> tuple[Result, dict[str, bytes]]:
    mirror = tmp_path / "600"
    (mirror / "train").mkdir(parents=True, exist_ok=True)
    (mirror / "train/zumba.tar.gz").write_bytes(data)
    options = {"mirror": str(mirror), "data_dir": str(tmp_path / "clips"), **options}
    result = fetch("train", classes="zumba", **options)
    return result, contents(options["data_dir"])


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_tarball_leads_nowhere(name: str, form: int, tmp_path: Path) -> None:
    clip = make_clip(1)
    _, there = land(tmp_path, tarball([entry(name)], clip, form))
    assert there == ({f"train/zumba/{NAME}": clip} if NAMES[name] else {})
    assert {path.name for path in tmp_path.iterdir()} == {"600", "clips"}


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
)
def test_links_and_devices_in_a_tarball_are_not_made_nor_followed(
    kind: bytes, tmp_path: Path, outside: Path
) -> None:
    entries = [
        entry("zumba", kind, str(outside / "zumba")),
        entry(f"zumba/{OTHER}", kind, str(outside / "zumba" / NAME)),
        entry(f"zumba/{NAME}"),
    ]
    clip = make_clip(1)
    _, there = land(tmp_path, tarball(entries, clip))
    assert there == {f"train/zumba/{NAME}": clip}


def test_a_nul_in_a_name_ends_nothing(tmp_path: Path) -> None:
    info = entry("x")
    info.pax_headers = {"path": f"{OTHER}\0/../{NAME}"}
    _, there = land(tmp_path, tarball([info], make_clip(1), tarfile.PAX_FORMAT))
    assert there.keys() <= {f"train/zumba/{NAME}"}


def test_a_clip_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    own = tmp_path / "clips/train/zumba" / NAME
    own.parent.mkdir(parents=True)
    own.write_bytes(make_clip(2))
    os.utime(own, (1e9, 1e9))
    land(tmp_path, tarball([entry(NAME), entry(f"again/{NAME}")], make_clip(1)))
    assert own.read_bytes() == make_clip(2)


@pytest.mark.parametrize(
    "line",
    [
        "https://x/600/train/../../../etc/passwd.tar.gz",
        "https://x/600/train/..%2F..%2Fzumba.tar.gz",
        "https://x/600/train/%2e%2e.tar.gz",
        "https://x/600/train/zumba%00.tar.gz",
        "https://x/600/train/zumba\\..\\yoga.tar.gz",
        "https://x/600/train/zum\u0431a.tar.gz",
        "https://x/600/train/<script>.tar.gz",
        "https://x/600/train/.tar.gz",
        "https://x/600/train/zumba.tar.gz?x=.tar.gz",
        "file:///etc/passwd",
    ],
)
def test_a_class_name_that_is_a_path_is_no_class(line: str) -> None:
    with pytest.raises(ListError):
        parse_path_list(f"{line}\n", "train")
    label = line.rpartition("/")[2].removesuffix(".tar.gz")
    with pytest.raises(ListError):
        parse_listing(f"train:\n{label}\n\ntrain/{label}:\n{NAME}\n", "train")
    with pytest.raises(ListError):
        header = "label,youtube_id,time_start,time_end"
        parse_test_labels(f"{header}\n../{label},aaaaaaaaaaa,0,10\n".encode())


# What a stranger's tree may hold that leads out of it.
LEADS: dict[str, Callable[[Path, Path], None]] = {
    "the class": lambda root, out: _link(root / "train/zumba", out / "zumba"),
    "the split": lambda root, out: _link(root / "train", out),
    "the loader's own folder": lambda root, out: _link(root / ".kinetics600", out),
    "unfinished files": lambda root, out: _link(root / ".kinetics600/incoming", out),
    "locks": lambda root, out: _link(root / ".kinetics600/locks", out),
    "lists": lambda root, out: _link(root / ".kinetics600/lists", out),
    "reports": lambda root, out: _link(root / ".kinetics600/reports", out / "reports"),
    "a lock": lambda root, out: _link(
        root / ".kinetics600/locks/train--zumba.lock", out / "precious/data"
    ),
    "the ledger": lambda root, out: _link(
        root / ".kinetics600/ledger.sqlite", out / "precious/ledger.sqlite"
    ),
    "a lock of unfinished files": lambda root, out: _link(
        root / ".kinetics600/incoming/x.lock", out / "precious/data"
    ),
}


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("lead", LEADS)
def test_a_link_in_a_stranger_s_tree_leads_nobody_out_of_it(
    lead: str, tmp_path: Path, outside: Path
) -> None:
    LEADS[lead](tmp_path / "clips", outside)
    result, _ = land(tmp_path, tarball([entry(NAME), entry(OTHER)], make_clip(1)))
    assert isinstance(result.error, StoreError), result
    assert "data_dir" in str(result.error)
    assert str(outside) in str(result.error)
    if not lead.startswith("a lock") and "own" not in lead:  # it is said before anything is begun
        own = tmp_path / "clips/.kinetics600/ledger.sqlite"
        assert own.is_symlink() or Ledger(own).tarballs("train") == {}


# What a stranger's tree may hold for a private clip that lies in `outside`, to have it served: a
# link, where it lies in the tree, and what of the tree it leads to.
TEMPTS: dict[str, tuple[str, Callable[[Path], str | Path]]] = {
    "a clip": (f"train/zumba/{NAME}", lambda out: out / "zumba" / NAME),
    "a clip by a chain": (f"train/zumba/{NAME}", lambda out: f"../../../outside/tree/zumba/{NAME}"),
    "a clip by a link": (f"train/zumba/{NAME}", lambda out: f"../../way/zumba/{NAME}"),
    "a class": ("train/zumba", lambda out: out / "zumba"),
    "a split": ("train", lambda out: out),
    "another tool's clip": (f"train/surfing_water/{NAME}", lambda out: out / "zumba" / NAME),
    "another tool's class": ("train/surfing_water", lambda out: out / "zumba"),
    "another tool's split": ("videos_train", lambda out: out),
    "another tool's flat split": ("videos_train", lambda out: out / "zumba"),
}


@pytest.mark.parametrize("tempt", TEMPTS)
def test_what_lies_outside_of_a_stranger_s_tree_is_not_served(
    tempt: str, tmp_path: Path, outside: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Loaded, streamed, published, shown, listed and verified is what lies in the tree alone."""
    place, target = TEMPTS[tempt]
    tree = tmp_path / "clips"
    mine = tree / ("train" if "videos" in place else "videos_train") / "yoga" / OTHER
    mine.parent.mkdir(parents=True)
    mine.write_bytes(make_clip(2))
    (tree / "way").symlink_to(outside / "tree")
    _link(tree / place, target(outside / "tree"))
    options: dict[str, Any] = {"data_dir": str(tree), "source": "local", "on_missing": "skip"}
    options["mirror"] = str(tmp_path / "600")

    ds = kinetics600.load_dataset("train", cache_dir=str(tmp_path / "cache"), **options)
    assert [row["video"]["path"] for row in ds] == [str(mine)]
    assert f"'{place}' to '{outside}/tree" in caplog.text
    assert "not following" in caplog.text
    page = kinetics600.gallery(ds, tmp_path / "page.html")
    assert NAME[:11] not in Path(page.path).read_text()
    kinetics600.save_manifest(ds, tmp_path / "clips.csv")
    assert NAME[:11] not in (tmp_path / "clips.csv").read_text()
    chosen = "split,label,youtube_id,time_start,time_end\n" + "".join(
        f"train,{label},{NAME[:11]},0,10\n" for label in ("zumba", "surfing water")
    )
    (tmp_path / "chosen.csv").write_text(f"{chosen}train,yoga,{OTHER[:11]},0,10\n")
    manifest = str(tmp_path / "chosen.csv")
    streamed = kinetics600.load_dataset("train", streaming=True, manifest=manifest, **options)
    assert [row["youtube_id"] for row in streamed] == [OTHER[:11]]
    publish = {"to": str(tmp_path / "shards"), "kind": "embedded", "i_have_the_rights": True}
    kinetics600.publish("owner/clips", "train", **publish, **options)
    shards = [pyarrow.parquet.read_table(p) for p in (tmp_path / "shards/data").rglob("*.parquet")]
    published = [row["video"]["bytes"] for shard in shards for row in shard.to_pylist()]
    assert published == [make_clip(2)]
    request = kinetics600.make_request("train", **options)
    (counts,) = read_status(request).splits
    assert counts.counts.here_clips == 1
    assert verify_clips(request, again=True).clips == 1


def test_a_ledger_that_names_a_link_gets_nobody_out_of_the_tree(
    tmp_path: Path, outside: Path
) -> None:
    """As if a run had stored it: what the ledger says is looked for by the same rule."""
    clip = make_clip(1)
    land(tmp_path, tarball([entry(NAME), entry(OTHER)], clip))
    tree = tmp_path / "clips"
    (tree / "train/zumba" / NAME).unlink()
    (tree / "train/zumba" / NAME).symlink_to(outside / "tree/zumba" / NAME)
    options: dict[str, Any] = {"data_dir": str(tree), "mirror": str(tmp_path / "600")}
    request = kinetics600.make_request("train", classes="zumba", **options)
    report = verify_clips(request)
    assert [(f.row.file_name, f.row.verdict) for f in report.bad] == [(NAME, "vanished")]
    assert "leads out of the store" in report.bad[0].row.detail
    (finding,) = verify_clips(request, repair=True).splits[0].bad
    assert finding.fate == "repaired"
    assert not (tree / "train/zumba" / NAME).is_symlink()


def test_links_within_a_tree_serve(tmp_path: Path) -> None:
    """Such as one that keeps each clip once, under two names."""
    tree = tmp_path / "clips"
    (tree / "train").mkdir(parents=True)
    (tree / "videos/zumba").mkdir(parents=True)
    (tree / "videos/zumba" / NAME).write_bytes(make_clip(1))
    (tree / "train/zumba").symlink_to("../videos/zumba")
    _link(tree / "train/yoga" / OTHER, tree / "videos/zumba" / NAME)
    ds = kinetics600.load_dataset(
        "train", data_dir=str(tree), source="local", cache_dir=str(tmp_path / "cache")
    )
    assert [Path(row["video"]["path"]).name for row in ds] == [OTHER, NAME]


def test_a_verification_puts_nothing_aside_that_lies_outside(tmp_path: Path, outside: Path) -> None:
    land(tmp_path, tarball([entry(NAME)], make_clip(1)))
    folder = tmp_path / "clips/train/zumba"
    shutil.rmtree(folder)
    folder.symlink_to(outside / "zumba")
    request = kinetics600.make_request(
        "train", classes="zumba", mirror=str(tmp_path / "600"), data_dir=str(tmp_path / "clips")
    )
    with pytest.raises(StoreError, match="out of the store"):
        verify_clips(request, quarantine=True)


@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_in_place_of_a_clip_is_replaced_and_not_written_through(
    dangling: bool, tmp_path: Path, outside: Path
) -> None:
    _link(tmp_path / "clips/train/zumba" / NAME, outside / ("no" if dangling else "zumba") / NAME)
    result, there = land(tmp_path, tarball([entry(NAME)], make_clip(1)))
    assert result.recovered
    assert there == {f"train/zumba/{NAME}": make_clip(1)}
    assert not (tmp_path / "clips/train/zumba" / NAME).is_symlink()


def test_a_store_that_is_itself_behind_a_link_serves(origin: Miniature, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "clips").symlink_to(tmp_path / "volume")
    options = {"mirror": str(origin.root), "data_dir": str(tmp_path / "clips")}
    assert fetch(**options).recovered
    assert_whole(tmp_path / "volume", expected(origin, "train"))


# What a stranger's ledger may claim: SQL run in a sound one.
CLAIMS = {
    "a clip elsewhere": "UPDATE clips SET folder = '../outside/zumba'",
    "a clip at an absolute place": "UPDATE clips SET folder = '/etc'",
    "a clip of another split": "UPDATE clips SET folder = 'test/zumba'",
    "a clip that is a path": "UPDATE clips SET file_name = '../../' || file_name",
    "a size that is a text": "UPDATE clips SET size_bytes = 'many'",
    "a name that is a blob": "UPDATE clips SET file_name = x'ff00'||position",
    "a tarball that is a path": "UPDATE tarballs SET name = '../x'",
    "a state that is none": "UPDATE clips SET state = 'half'",
    "a reason that is none": "UPDATE clips SET state = 'bad', reason = 'because'",
    "a source that is none": "UPDATE clips SET source = 'mars'",
    "a tarball's state that is none": "UPDATE tarballs SET state = 'finished'",
    "a size below nothing": "UPDATE clips SET size_bytes = -1",
    "an answer of no kind": "INSERT INTO answers VALUES ('train', 'train/zumba', "
    f"'{NAME}', 'perhaps', '', '', '', 1, 1, 1, '2026-11-23', '2026-11-23', '', 1)",
    "an adopted clip elsewhere": "INSERT INTO adopted VALUES"
    f" ('train', 'train/zumba', '{NAME}', '../outside/zumba/{NAME}', 19, 0, '')",
    "an adopted clip at an absolute place": "INSERT INTO adopted VALUES"
    f" ('train', 'train/zumba', '{NAME}', '/etc/{NAME}', 19, 0, '')",
    "an answer elsewhere": "INSERT INTO answers VALUES"
    f" ('train', '../outside/zumba', '{NAME}', 'have', '', '', '', 1, 1, 1, '', '', '', 1)",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON tarballs BEGIN DELETE FROM clips; END",
    "a table that never ends": "DROP TABLE clips; CREATE VIEW clips AS WITH RECURSIVE n(i) AS "
    "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'train' AS split, 'zumba' AS tarball, "
    f"i AS position, 'train/zumba' AS folder, '{NAME}' AS file_name, 'have' AS state, "
    "'' AS reason, 'cvdf' AS source, 1 AS size_bytes FROM n",
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_ledger_of_a_stranger_is_refused_for_what_no_run_wrote(
    claim: str, origin: Miniature, tmp_path: Path, outside: Path
) -> None:
    options = {"mirror": str(origin.root), "data_dir": str(tmp_path / "clips"), "classes": "zumba"}
    assert fetch(**options).recovered
    ledger = tmp_path / "clips/.kinetics600/ledger.sqlite"
    with contextlib.closing(sqlite3.connect(ledger)) as db, db:
        db.executescript(CLAIMS[claim])
    before = contents(tmp_path / "clips")
    for more in ({}, {"retry_errors": True}, {"source": "local"}):
        result = fetch(**options, **more)
        assert isinstance(result.error, StoreError), result
        assert "ledger" in str(result.error)
    assert contents(tmp_path / "clips") == before


def test_a_ledger_of_noise_is_refused(tmp_path: Path, origin: Miniature) -> None:
    options = {"mirror": str(origin.root), "data_dir": str(tmp_path / "clips"), "classes": "zumba"}
    assert fetch(**options).recovered
    path = tmp_path / "clips/.kinetics600/ledger.sqlite"
    sound = path.read_bytes()
    for at in range(0, len(sound), 251):
        path.write_bytes(
            sound[:at] + bytes(b ^ 0xA5 for b in sound[at : at + 97]) + sound[at + 97 :]
        )
        with contextlib.suppress(StoreError):  # nothing else may come of it
            Ledger(path).view("train")


FORBIDDEN = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "imp"}
CALLS = {"eval", "exec", "compile", "__import__"}


def test_the_loader_has_no_code_that_runs_data() -> None:
    for path in (ROOT / "kinetics600.py", *sorted((ROOT / "k600").rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").partition(".")[0]}
            elif isinstance(node, ast.Call):
                called = node.func
                name = called.id if isinstance(called, ast.Name) else ""
                assert name not in CALLS, f"{path.name}:{node.lineno} calls {name}"
                if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                    shown = f"{called.value.id}.{called.attr}"
                    unsafe = {"yaml.load", "os.system", "os.popen", "subprocess.getoutput"}
                    assert shown not in unsafe, f"{path.name}:{node.lineno}"
                    assert not any(word.arg == "shell" for word in node.keywords)
                    assert shown != "torch.load" or any(
                        word.arg == "weights_only" for word in node.keywords
                    )
                continue
            else:
                continue
            assert not names & FORBIDDEN, f"{path.name}:{node.lineno} imports {names & FORBIDDEN}"


def test_a_manifest_of_a_stranger_is_read_as_text(tmp_path: Path, origin: Miniature) -> None:
    header = "split,label,youtube_id,time_start,time_end,tarball"
    for row in (
        "train,../../etc,aaaaaaaaaaa,0,10,",
        "train,zumba,../../../aa,0,10,",
        "train,zumba,aaaaaaaaaaa,0,10,../zumba",
        "../train,zumba,aaaaaaaaaaa,0,10,",
        "train,zumba,aaaaaaaaaaa,-1,10,",
        "train,zumba,aaaaaaaaaaa,0," + "9" * 5000 + ",",
        "train,zumba," + "a" * 200_000 + ",0,10,",
        "train,=HYPERLINK(1),aaaaaaaaaaa,0,10,",
    ):
        path = tmp_path / "chosen.csv"
        path.write_text(f"{header}\n{row}\n")
        options = {"mirror": str(origin.root), "data_dir": str(tmp_path / "clips")}
        with pytest.raises(Kinetics600Error):
            result = fetch(manifest=str(path), **options)
            raise result.error or AssertionError(row[:80])
    assert not (tmp_path / "clips").exists() or contents(tmp_path / "clips") == {}

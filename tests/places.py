"""Places of clips in tarballs that are plain tars, computed from the tars themselves."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from k600.dataset.clip import Entry, Place, Tarball, parse_file_name
from k600.loading.columns import INDEX, place_values
from k600.loading.manifest import write_table
from k600.loading.request import Request
from k600.store.rows import TarballRow


def make_plain(root: Path) -> None:
    """Replace every `.tar.gz` of a host by the tar in it, under the same name."""
    for path in root.rglob("*.tar.gz"):
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            path.write_bytes(gzip.decompress(data))


def places_in(request: Request, tarball: Tarball, root: Path) -> dict[str, Place]:
    """Return the places of the clips of a plain tar by file name, as the mirror has it now."""
    data, remote = (root / tarball.path).read_bytes(), request.mirror.head(tarball.path)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar.getmembers():
            name = member.name.rpartition("/")[2]
            if not member.isfile() or parse_file_name(name) is None:
                continue
            clip = data[member.offset_data : member.offset_data + member.size]
            header = member.offset_data - tarfile.BLOCKSIZE
            entry = Entry(header, 512, 512 + member.size, member.size, zlib.crc32(clip))
            found[name] = Place(tarball, remote.etag, remote.size_bytes, "tar", entry)
    return found


def note(request: Request, places: Iterable[tuple[str, Place]]) -> None:
    """Have the ledger know places of file names, as if somebody had only looked for them."""
    by_tarball: dict[Tarball, dict[str, Place]] = {}
    for name, place in places:
        by_tarball.setdefault(place.tarball, {})[name] = place
    request.store.prepare()
    for tarball, own in by_tarball.items():
        place = next(iter(own.values()))
        row = request.ledger.tarball(tarball) or TarballRow(
            tarball, "partial", place.etag, place.tarball_bytes
        )
        entries = {name: each.entry for name, each in own.items()}
        request.ledger.record(row, [], replace=False, packing=place.packing, entries=entries)


def write_index(places: Iterable[tuple[str, Place]], path: Path) -> str:
    """Write an index of all clips of some tarballs, and return its path."""
    places = [*places]
    clips = Counter(place.tarball for _, place in places)
    rows = []
    for name, place in places:
        times = parse_file_name(name)
        assert times is not None
        clip = dict(zip(("youtube_id", "time_start", "time_end"), times, strict=True))
        tarball = place.tarball
        of_clip = {"split": tarball.split, "label": tarball.label, "tarball": tarball.name}
        rows.append({**of_clip, **clip, **place_values(place, clips[tarball])})
    return str(write_table(rows, path, INDEX))

"""Write `dataset_infos.json` from the code: run `python scripts/make_dataset_infos.py`.

Features come from the builder; the words and published numbers stand here, with their sources.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import datasets

sys.path.insert(0, str(Path(__file__).parent.parent))  # a checkout need not be installed yet

import kinetics600
from k600.dataset.splits import CONFIGS, SPLITS
from k600.store.files import write_whole

DESCRIPTION = (
    "Kinetics-600: links to half a million YouTube clips of about 10 seconds, each labelled with "
    "one of 600 human actions. The clips come from the tarballs that the CVDF hosts."
)
CITATION = """@article{carreira2018kinetics600,
  title   = {A Short Note about Kinetics-600},
  author  = {Carreira, Joao and Noland, Eric and Banki-Horvath, Andras and Hillier, Chloe and
             Zisserman, Andrew},
  journal = {arXiv preprint arXiv:1808.01340},
  year    = {2018}
}"""
HOMEPAGE = "https://github.com/cvdfoundation/kinetics-dataset"
LICENSE = (
    "Annotations: CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). "
    "The videos keep their owners' licences."
)

# Published counts, as FiftyOne's page on Kinetics-600 gives them. They are the numbers of lines
# of lists and not of the clips in the tarballs, so no load is checked against them.
LINES = {"train": 427_549, "validation": 29_793, "test": 72_924}
ORIGINAL = {"train": 370_582, "validation": 28_313, "test": 56_618}
MEANING = {
    "train": "lines of the host's list of the train split",
    "validation": "lines of the host's val.txt, two of which are no clips: it lists 29,791",
    "test": "rows of the host's test.csv, which describes a list of June 2018 and not the test "
    "tarballs; those hold about 59,608 clips",
}
# What `info.splits` of a whole split says before it is loaded: the clips that the host lists, and
# for test, which no list describes, the files that its tarballs are known to hold.
CLIPS = {"train": 427_549, "validation": 29_791, "test": 59_608}
ROW_BYTES = 163  # of a row in memory, with the path that a clip has by default
SIZES_BYTES = {"train": 648 * 10**9, "validation": 43 * 10**9, "test": 88 * 10**9}


def make_infos() -> dict[str, Any]:
    """Return the content of `dataset_infos.json`."""
    infos = {}
    for name in CONFIGS:
        splits = SPLITS if name == "all" else (name,)
        download_size = sum(SIZES_BYTES[split] for split in splits)
        dataset_size = sum(CLIPS[split] * ROW_BYTES for split in splits)
        info = datasets.DatasetInfo(
            description=DESCRIPTION,
            citation=CITATION,
            homepage=HOMEPAGE,
            license=LICENSE,
            features=kinetics600.features(),
            builder_name="kinetics600",
            dataset_name="kinetics600",
            config_name=name,
            version="1.0.0",
            splits={
                split: {
                    "name": split,
                    "num_bytes": CLIPS[split] * ROW_BYTES,
                    "num_examples": CLIPS[split],
                    "dataset_name": "kinetics600",
                }
                for split in splits
            },
            download_size=download_size,
            dataset_size=dataset_size,
            size_in_bytes=download_size + dataset_size,
        )
        with tempfile.TemporaryDirectory() as folder:
            info.write_to_directory(folder)
            infos[name] = json.loads(Path(folder, "dataset_info.json").read_text("utf-8"))
        infos[name]["published_counts"] = {
            split: {
                "host_list_lines": LINES[split],
                "deepmind_original": ORIGINAL[split],
                "meaning": MEANING[split],
            }
            for split in splits
        }
    return infos


def main() -> None:
    path = Path(__file__).parent.parent / "dataset_infos.json"
    write_whole(path, (json.dumps(make_infos(), indent=1) + "\n").encode())


if __name__ == "__main__":
    main()

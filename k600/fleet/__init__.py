"""Tarballs to training shards on many machines.

`run` has `split` find out what is left to do for each split, and does it in stages of many
independent tasks, on this machine (`stages`) or by datatrove (`executors`):

1. read: each tarball (a unit, `units`) becomes one part: its valid clips, concatenated;
2. `plan`: one task assigns all clips to shards;
3. `merge`: each shard is written from pieces of the parts;
4. `split`: it is marked as done, and temporary files are removed.

`options` holds the options of a run, and what its workers must know; `estimate` simulates it. A
task leaves a marker at the destination for what it has finished, so another one can continue for a
lost one. Every run checks files against their markers.

data/<split>/<number>-<hash>.parquet       the rows, or `.tar`; the card is README.md
.kinetics600/<split>/run.json              the request of the split; another is refused
.kinetics600/<split>/units/<key>.json      a tarball was read: its clips, and what is no good
.kinetics600/<split>/parts/<key>           its clips, one after the other; removed at the end
.kinetics600/<split>/plan.clips            which clip goes into which shard; removed at the end,
.kinetics600/<split>/plan.json             as this: what is where in it
.kinetics600/<split>/shards/<plan>-<n>.json  a shard is written; removed at the end
.kinetics600/<split>/manifest.parquet      every clip, its SHA-256, its tarball and its shard
.kinetics600/<split>/done.json             the split is done: its counts, its shards
"""

"""Tarballs to training shards on many machines.

Read the files in the order in which a run goes through them. `run` lets `prepare` find out what is
left to do for each split, and has datatrove (`executors`) do it in stages, each of them many tasks
that know nothing of one another:

1. `read`: each tarball (a unit, `units`) becomes one part: its good clips, one after the other;
2. `plan`: all clips are dealt to shards, by one task;
3. `merge`: each shard is written from pieces of the parts;
4. `finish`: the split is marked as done, and what only the making needed is removed.

`options` holds the options of a run, `job` what its workers must know; `estimate` plays it through.
A task notes at the destination what it has finished, so that what a lost one left is done by
another. A note proves what it describes, and every run compares the two.

data/<split>/<number>-<hash>.parquet       the rows, or `.tar`; the card is README.md
.kinetics600/<split>/run.json              the request of the split; another is refused
.kinetics600/<split>/units/<key>.json      a tarball was read: its clips, and what is no good
.kinetics600/<split>/parts/<key>           its clips, one after the other; removed at the end
.kinetics600/<split>/plan.parquet          which clip goes into which shard; removed at the end
.kinetics600/<split>/shards/<plan>-<n>.json  a shard is written; removed at the end
.kinetics600/<split>/manifest.parquet      every clip, its SHA-256, its tarball and its shard
.kinetics600/<split>/done.json             the split is done: its counts, its shards
"""

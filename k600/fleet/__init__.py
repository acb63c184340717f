"""Tarballs to training shards on many machines.

Three steps, each of them many tasks that know nothing of one another: `parts` reads tarballs into
parts, `planning` deals all clips to shards, `merging` writes the shards. What a task finished it
notes at the destination, so that what a lost one left is done by another. A note proves what it
tells of, and every run holds the one against the other. datatrove runs the tasks (`executors`,
`steps`); nothing else here knows it.

data/<split>/<number>-<hash>.parquet          the rows, or `.tar`; the card is README.md
.kinetics600/<split>/run.json                 what was asked for; another request is refused
.kinetics600/<split>/units/<key>.json         a tarball was read: its clips, and what is no good
.kinetics600/<split>/parts/<key>              its clips, one after the other; removed at the end
.kinetics600/<split>/plan.parquet, plan.json  which clip goes into which shard; removed at the end
.kinetics600/<split>/shards/<plan>-<n>.json   a shard is written; removed at the end
.kinetics600/<split>/manifest.parquet         every clip, its SHA-256, its tarball and its shard
.kinetics600/<split>/done.json                the split is done: its counts, its shards
"""

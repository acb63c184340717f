"""Train from shuffled shards in a plain PyTorch loop: several processes, and exact resumption.

    python examples/stream_shards.py --folder F
    torchrun --nproc-per-node 2 examples/stream_shards.py --folder F --until 6    # stopped,
    torchrun --nproc-per-node 2 examples/stream_shards.py --folder F              # goes on

Shards of `kinetics600 fleet` and `publish --embed` are mixed already. So `shuffle` mixes them only
by `buffer_size=1`: `state_dict` holds no clips, and what waits in a larger buffer would be lost.

For the real thing: `load_dataset("USER/NAME", streaming=True)` of your own shards, as many of them
as a multiple of the processes; with workers, torchdata's `StatefulDataLoader` keeps their places,
if `shuffle` has `max_buffer_input_shards=1` as well.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from datasets import Video, load_dataset
from datasets.distributed import split_dataset_by_node
from small import CLIPS, miniature, small_config
from transformers import VideoMAEForVideoClassification

import kinetics600
from k600.train import ClipTransform, collate, normalize


def make_shards(folder: Path) -> None:
    """Write the miniature's train split as shards, each of which mixes two classes."""
    host = miniature(str(folder))
    places = {"mirror": host["mirror"], "data_dir": host["data_dir"]}
    recipe = {"kind": "embedded", "mix": 2, "i_have_the_rights": True}
    kinetics600.publish(None, "train", to=f"{folder}/shards", **recipe, **places)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a small VideoMAE from shuffled shards.")
    parser.add_argument("--folder", type=Path, required=True, help="for shards and checkpoints")
    parser.add_argument("--steps", type=int, default=12, help="batches to train on in all")
    parser.add_argument("--until", type=int, help="stop after so many, as if the machine was lost")
    args = parser.parse_args()
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    store = None if world > 1 else torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)
    if rank == 0 and not (args.folder / "shards").exists():
        make_shards(args.folder)
    torch.distributed.barrier()

    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(
        VideoMAEForVideoClassification(small_config())
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    transform = ClipTransform(**CLIPS, flip=True)
    shards = load_dataset(str(args.folder / "shards"), split="train", streaming=True)
    shards = shards.cast_column("video", Video(decode=False)).shuffle(seed=0, buffer_size=1)
    ds = split_dataset_by_node(shards, rank, world)
    ds = ds.map(transform, remove_columns=shards.column_names)
    loader = torch.utils.data.DataLoader(ds, batch_size=3, collate_fn=collate)

    step = epoch = 0
    checkpoint = args.folder / f"checkpoint-{rank}.pt"
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        step, epoch = kept["step"], kept["epoch"]
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        ds.set_epoch(epoch)
        ds.load_state_dict(kept["ds"])

    last = args.steps if args.until is None else args.until
    while step < last:
        transform.set_epoch(epoch)
        for batch in loader:
            loss = model(**normalize(batch)).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            if rank == 0:
                print(f"step {step}: loss {loss.item():.4f}", flush=True)
            if step == last:
                break
        else:
            epoch += 1
            ds.set_epoch(epoch)

    kept = {"step": step, "epoch": epoch, "ds": ds.state_dict()}
    kept |= {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(kept, checkpoint)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()

"""Weights cut over two processes: gathered whole, handed out again, to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from tests.train.parts import build_model
from train.checkpoints import load_optimiser, load_weights, save_optimiser
from train.sharded import is_sharded, put_moments, put_weights, whole_moments, whole_weights

ROOT = Path(__file__).parent.parent.parent


def test_a_checkpoint_of_shards_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
            *("--standalone", __file__, tmp_path),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    whole, again = (load_weights(tmp_path / name) for name in ("whole", "again"))
    names = build_model(300).state_dict().keys() - {"lm_head.weight"}  # tied
    assert names == whole.keys()
    assert all(torch.equal(whole[name], again[name]) for name in names)
    assert {file.suffix for file in tmp_path.rglob("*") if file.is_file()} == {
        ".safetensors", ".json",
    }  # fmt: skip


def sharded_model() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = build_model(300)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)


def take(model: torch.nn.Module, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        ids = torch.arange(step * 10, step * 10 + 20)[None] + dist.get_rank() * 50
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()


def write(model: torch.nn.Module, optimiser: torch.optim.Optimizer, folder: Path) -> None:
    weights, moments = whole_weights(model), whole_moments(model, optimiser)
    if dist.get_rank() == 0:
        weights.pop("lm_head.weight", None)
        folder.mkdir()
        build_model(300).save_pretrained(folder, state_dict=weights)
        save_optimiser(folder, moments, {})
    dist.barrier()


def one_process(folder: Path) -> None:
    model, optimiser = sharded_model()
    assert is_sharded(model)
    take(model, optimiser, range(3))
    write(model, optimiser, folder / "checkpoint")
    take(model, optimiser, range(3, 6))
    write(model, optimiser, folder / "whole")

    leads = dist.get_rank() == 0
    model, optimiser = sharded_model()
    put_weights(model, load_weights(folder / "checkpoint") if leads else {})
    put_moments(model, optimiser, load_optimiser(folder / "checkpoint")[0] if leads else {})
    take(model, optimiser, range(3, 6))
    write(model, optimiser, folder / "again")


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    one_process(Path(sys.argv[1]))
    dist.barrier()
    os._exit(0)  # now and then torch 2.13 aborts in its own teardown of shards on CPUs

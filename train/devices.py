"""Where a run computes and how exactly, settled before anything is read or written.

hardware = settle(training)     # Hardware(cuda=False, bf16=False), or one line saying what lacks
"""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

import torch

from policy.errors import BadInput
from train.config import Training


class Hardware(NamedTuple):
    """What the run uses."""

    cuda: bool
    bf16: bool


def settle(training: Training) -> Hardware:
    """What [training] asks of this machine. Raises BadInput where the machine has not got it."""
    if training.tensorboard and not importlib.util.find_spec("tensorboard"):
        raise BadInput(
            "the package tensorboard is not installed",
            where="[training] tensorboard = true",
            fix="pip install tensorboard; or leave it out, metrics.jsonl holds the same figures.",
        )
    has_gpu = torch.cuda.is_available()
    if training.device == "cuda" and not has_gpu:
        raise BadInput(
            "this machine has no GPU that torch can use",
            where='[training] device = "cuda"',
            fix='Set device = "auto", or train where there is one.',
        )
    cuda = has_gpu and training.device != "cpu"
    if training.tune == "qlora":
        _demand_four_bits(cuda)
    return Hardware(cuda, _bf16(training, cuda))


def _bf16(training: Training, cuda: bool) -> bool:
    if training.precision != "bf16":
        return training.precision == "auto" and cuda and torch.cuda.is_bf16_supported()
    if cuda and not torch.cuda.is_bf16_supported():
        raise BadInput(
            "this GPU does not compute in bf16",
            where='[training] precision = "bf16"',
            fix='Set precision = "fp32".',
        )
    if not cuda and training.device != "cpu":
        raise BadInput(
            "there is no GPU here, and a CPU is slower in bf16 than in fp32",
            where='[training] precision = "bf16"',
            fix='Set precision = "auto"; or device = "cpu" to have it all the same.',
        )
    return True


def _demand_four_bits(cuda: bool) -> None:
    missing = [] if cuda else ["a GPU"]
    missing += [] if importlib.util.find_spec("bitsandbytes") else ["the package bitsandbytes"]
    if missing:
        raise BadInput(
            f"needs {' and '.join(missing)}, which this machine lacks",
            where='[training] tune = "qlora"',
            fix='Set tune = "lora", which needs neither; or add the extra [qlora] on a GPU.',
        )

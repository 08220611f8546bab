"""Keeps the libraries' bars and warnings out of our own progress display, and puts them back.

with quiet():
    trainer.train()
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("transformers", "trl", "datasets", "accelerate", "peft", "torch")


@contextmanager
def quiet() -> Iterator[None]:
    """Errors still raise; only talk is held back, in this process and for this block."""
    from transformers.utils import logging as talk

    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    bars = talk.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        talk.disable_progress_bar()
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if bars:
                talk.enable_progress_bar()

"""Bodies of requests, and the short way to many that differ in their last message alone.

    path, body = sent(teacher, sampling, prompt, sample)        # exactly as it goes out
    Moulds(teacher, sampling).sent(prompt, sample)              # the same bytes

A million prompts mostly share all but the row's own text. A ledger is resumed by the key of every
body, and rendering each whole would take as long as everything else together.
"""

import json
from dataclasses import replace
from typing import NamedTuple

from synth.config import Sampling, Teacher
from synth.prompts import Prompt
from synth.teachers import ADAPTERS

_WRITE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_MARK = "the row's own text stands here 5f1c9b7e"
EVERY = 1000  # bodies, of which one is rendered whole too, and must be the same


def sent(teacher: Teacher, sampling: Sampling, prompt: Prompt, sample: int) -> tuple[str, bytes]:
    """Path and body of a call."""
    adapter = ADAPTERS[teacher.adapter]
    if prompt.split == "test" and sampling.held_out_temperature is not None:
        sampling = sampling.model_copy(update={"temperature": sampling.held_out_temperature})
    built = adapter.build(teacher, sampling, prompt.teacher, sample)
    # In the order of the project file, not sorted: a grammar follows the order of a schema's keys.
    return adapter.path(teacher), _WRITE(built).encode()


class _Mould(NamedTuple):
    """A body without the text of its last message."""

    path: str
    before: bytes
    after: bytes


Shape = tuple[int, str, tuple[int, ...]]


class Moulds:
    """Renders calls that come in runs of one shape."""

    def __init__(self, teacher: Teacher, sampling: Sampling) -> None:
        self._settings = teacher, sampling
        self._runs = {True: _Run(teacher, sampling), False: _Run(teacher, sampling)}

    def sent(self, prompt: Prompt, sample: int) -> tuple[str, bytes]:
        """Path and body of a call, as the function `sent` gives them."""
        text = prompt.teacher[-1]["content"]
        if type(text) is not str or not text or text[0].isspace() or text[-1].isspace():
            return sent(*self._settings, prompt, sample)
        return self._runs[prompt.split == "test"].sent(prompt, sample, text)


class _Run:
    """Calls of one shape, one after the other; the splits are mixed, so each has its own."""

    def __init__(self, teacher: Teacher, sampling: Sampling) -> None:
        self._settings = teacher, sampling
        self._shape: Shape | None = None
        self._mould: _Mould | None = None
        self._cast = 0

    def sent(self, prompt: Prompt, sample: int, text: str) -> tuple[str, bytes]:
        """Path and body of a call."""
        messages = prompt.teacher
        # What stands before the row's text is one object for all rows that share it.
        shape = (sample, messages[-1]["role"], tuple(map(id, messages[:-1])))
        if shape != self._shape:  # the next one of this shape is worth a mould
            self._shape, self._mould, self._cast = shape, None, 0
            return sent(*self._settings, prompt, sample)
        if self._cast % EVERY == 0:
            return self._checked(prompt, sample, text)
        self._cast += 1
        mould = self._mould
        if mould is None:
            return sent(*self._settings, prompt, sample)
        return mould.path, mould.before + _WRITE(text).encode() + mould.after

    def _checked(self, prompt: Prompt, sample: int, text: str) -> tuple[str, bytes]:
        """Rendered whole; the mould is used on only where it gives the same."""
        whole = sent(*self._settings, prompt, sample)
        marked = (*prompt.teacher[:-1], {**prompt.teacher[-1], "content": _MARK})
        path, body = sent(*self._settings, replace(prompt, teacher=marked), sample)
        before, quoted, after = body.partition(_WRITE(_MARK).encode())
        self._cast += 1
        same = (path, before + _WRITE(text).encode() + after) == whole
        self._mould = _Mould(path, before, after) if quoted and same else None
        return whole

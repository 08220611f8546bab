"""Bodies of requests, their keys, and the short way to the keys of many that differ in one message.

    path, body = sent(teacher, sampling, prompt, sample)        # exactly as it goes out
    digest_of(base, path, body.decode(), sample)                # the 32 bytes of its key
    Moulds(teacher, sampling, base).digest(prompt, sample)      # the same

A million prompts mostly share all but the row's own text. A ledger is resumed by the key of every
body, and rendering each whole would take longer than everything else together.
"""

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any, NamedTuple

from policy.digest import canonical, text_bytes
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


def digest_of(base: str, path: str, body: str, sample: int) -> bytes:
    """The 32 bytes of a request's key."""
    return sha256(_whole(base, path, body, sample)).digest()


def _whole(base: str, path: str, body: str, sample: int) -> bytes:
    return canonical({"base": base, "path": path, "body": body, "sample": sample})


class _Mould(NamedTuple):
    """What a key is the digest of, without the text of the body's last message."""

    before: Any
    """SHA-256 of what stands before it."""
    after: bytes

    def digest(self, text: str) -> bytes:
        """The digest with this text."""
        state = self.before.copy()
        if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
            state.update(b'\\"%b\\"%b' % (text.encode(), self.after))
        else:
            state.update(_inner(_WRITE(text)) + self.after)
        return state.digest()  # type: ignore[no-any-return]


def _inner(text: str) -> bytes:
    """A text as it stands within another string of JSON."""
    return text_bytes(text)[1:-1]


Shape = tuple[int, str, tuple[Any, ...]]


class Moulds:
    """Keys of calls that come in runs of one shape."""

    def __init__(self, teacher: Teacher, sampling: Sampling, base: str) -> None:
        self._settings = teacher, sampling, base
        self._runs = {True: _Run(*self._settings), False: _Run(*self._settings)}

    def digest(self, prompt: Prompt, sample: int) -> bytes:
        """The 32 bytes of the key of a call, as `digest_of` gives them for what is sent."""
        run = self._runs[prompt.split == "test"]
        text = prompt.teacher[-1]["content"]
        if type(text) is not str or not text or text.strip() != text:
            return run.rendered(prompt, sample)
        return run.digest(prompt, sample, text)


class _Run:
    """Calls of one shape, one after the other; the splits are mixed, so each has its own."""

    def __init__(self, teacher: Teacher, sampling: Sampling, base: str) -> None:
        self._teacher, self._sampling, self._base = teacher, sampling, base
        self._shape: Shape | None = None
        self._mould: _Mould | None = None
        self._left = 0

    def rendered(self, prompt: Prompt, sample: int) -> bytes:
        """The key of a call by its whole body."""
        path, body = sent(self._teacher, self._sampling, prompt, sample)
        return digest_of(self._base, path, body.decode(), sample)

    def digest(self, prompt: Prompt, sample: int, text: str) -> bytes:
        """The key of a call."""
        messages = prompt.teacher
        # What stands before the row's text is one object for all rows that share it, so that to
        # compare it is to look at its address.
        shape = (sample, messages[-1]["role"], messages[:-1])
        if shape != self._shape:  # the next one of this shape is worth a mould
            self._shape, self._mould, self._left = shape, None, 0
            return self.rendered(prompt, sample)
        if not self._left:
            return self._checked(prompt, sample, text)
        self._left -= 1
        return self._mould.digest(text) if self._mould else self.rendered(prompt, sample)

    def _checked(self, prompt: Prompt, sample: int, text: str) -> bytes:
        """Rendered whole; the mould is used on only where it gives the same."""
        whole = self.rendered(prompt, sample)
        marked = (*prompt.teacher[:-1], {**prompt.teacher[-1], "content": _MARK})
        path, body = sent(self._teacher, self._sampling, replace(prompt, teacher=marked), sample)
        before, quoted, after = body.decode().partition(_WRITE(_MARK))
        start, _, end = _whole(self._base, path, _MARK, sample).partition(_inner(_MARK))
        mould = _Mould(sha256(start + _inner(before)), _inner(after) + end)
        self._left = EVERY - 1
        self._mould = mould if quoted and mould.digest(text) == whole else None
        return whole

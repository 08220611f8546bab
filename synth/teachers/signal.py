"""JSON of a reply, read fast: 4,000 logprobs become a few flat columns and not 30,000 objects.

    decoded(b'{"choices": [{"logprobs": {"content": [...]}, ...}], ...}')
    -> {"choices": [{"logprobs": TokenLogprobs(...), ...}], ...}

The value is what `json.loads` would give, but for the `logprobs` of a large reply's one choice:
where they have the form of the OpenAI reference they come as TokenLogprobs. What is in any other
form comes as plain JSON, and what msgspec refuses (half of a surrogate pair, for one) is for the
slower reader to judge: two readers never disagree on what was paid for.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import chain
from operator import iconcat
from typing import Annotated, Any

import msgspec
from msgspec import UNSET

from synth.garbage import no_collections
from synth.logprobs import TokenLogprobs

SENTINEL = -9000.0  # OpenAI reports -9999.0 for a token outside its top 20
LARGE = 16 * 2**10  # bytes, from which reading in layers pays
MAX_ID = 2**31
KEY, LAST = b'"logprobs":', b'"top_logprobs":'


class _Entry(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    logprob: Annotated[float, msgspec.Meta(gt=-1e30, lt=1e-3)]
    octets: list[int] | msgspec.UnsetType | None = msgspec.field(name="bytes", default=UNSET)
    token: str = ""
    id: int = -1


class _Token(_Entry, gc=False, forbid_unknown_fields=True):
    top_logprobs: list[_Entry] | None = None


class _Logprobs(msgspec.Struct, forbid_unknown_fields=True):
    content: list[_Token]
    refusal: None = None


class _Choice(msgspec.Struct):
    logprobs: msgspec.Raw


class _Reply(msgspec.Struct):
    choices: list[_Choice]


_REPLY = msgspec.json.Decoder(_Reply)
_LOGPROBS = msgspec.json.Decoder(_Logprobs)
_ANY = msgspec.json.Decoder()


def decoded(raw: bytes) -> Any:
    """The value of a JSON text. Raises ValueError where it is none, UnicodeDecodeError among it."""
    if not raw.isascii():
        raw.decode("utf-8")
    try:
        found = _in_layers(raw) if len(raw) >= LARGE else None
        return _ANY.decode(raw) if found is None else found
    except msgspec.MsgspecError:
        return json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)


def _in_layers(raw: bytes) -> Any:
    """The reply without its logprobs, then these; None where they are not found at once."""
    place = _place(raw)
    if place is None:
        return None
    at, end = place
    value = _ANY.decode(raw[:at] + b"null" + raw[end:])
    choices = value.get("choices") if isinstance(value, dict) else None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("logprobs", value) is None:
            found = _signal(memoryview(raw)[at:end])
            flat = isinstance(found, TokenLogprobs)
            choice["logprobs"] = replace(found, place=place) if flat else found
            return value
    return None


def _place(raw: bytes) -> tuple[int, int] | None:
    """Where the logprobs of the one choice that has any begin and end.

    The end is found from their last candidates on: to go through all twice takes as long as to
    read them. Whoever reads what stands there, and the rest, finds out if it is not so.
    """
    key, last = raw.find(KEY), raw.rfind(LAST)
    at = raw.find(b"{", key)
    if not 0 < key < at < last or raw[key - 1] == ord("\\") or raw[key + len(KEY) : at].strip():
        return None
    opened = b'{"content":[{'
    with contextlib.suppress(msgspec.MsgspecError):
        (choice,) = _REPLY.decode(b'{"choices":[{"logprobs":' + opened + raw[last:]).choices
        end = last + len(bytes(choice.logprobs)) - len(opened)
        return None if raw.find(KEY, end) >= 0 else (at, end)
    return None


def _signal(raw: memoryview) -> Any:
    """Read without the cyclic collector: it would walk over 4,000 new lists, and free none."""
    with no_collections():
        try:
            tokens = _LOGPROBS.decode(raw).content
            return token_logprobs(tokens) if tokens else _ANY.decode(raw)
        except (msgspec.ValidationError, ValueError):
            return _ANY.decode(raw)


def token_logprobs(tokens: list[_Token]) -> TokenLogprobs:
    """The evidence of typed rows. Raises ValueError where one of them is no token."""
    rows = [token.top_logprobs or [] for token in tokens]
    entries = [*tokens, *chain.from_iterable(rows)]
    values = _values(entries)
    if min(values) <= SENTINEL:  # what stands for "outside the top 20" goes
        rows = [[top for top in row if top.logprob > SENTINEL] for row in rows]
        entries = [*tokens, *chain.from_iterable(rows)]
        values = _values(entries)
    sizes, pieces = _texts(entries)
    return TokenLogprobs(
        counts=tuple(map(len, rows)),
        sizes=sizes,
        values=values,
        pieces=pieces,
        token_ids=_ids(tokens),
        candidate_ids=_ids(entries[len(tokens) :]),
    )


def _values(entries: Sequence[_Entry]) -> tuple[float, ...]:
    return tuple([entry.logprob for entry in entries])


def _texts(entries: Sequence[_Entry]) -> tuple[tuple[int, ...], bytes]:
    """Sizes of the entries' texts, and these without a gap."""
    octets: list[Any] = [entry.octets for entry in entries]
    try:
        return tuple(map(len, octets)), bytes(reduce(iconcat, octets, []))
    except TypeError:
        texts = [_text(entry) for entry in entries]
        return tuple(map(len, texts)), b"".join(texts)


def _text(entry: _Entry) -> bytes:
    """`bytes` is null for a token without text; `token` may not be UTF-8's whole truth, so it is
    only read where `bytes` is absent."""
    octets = entry.octets
    return entry.token.encode() if isinstance(octets, msgspec.UnsetType) else bytes(octets or ())


def _ids(entries: Sequence[_Entry]) -> tuple[int, ...]:
    if not entries or entries[0].id < 0:
        return ()
    ids = tuple([entry.id for entry in entries])
    return ids if min(ids) >= 0 and max(ids) < MAX_ID else ()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")

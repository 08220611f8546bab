"""JSON of a reply, read fast: 4,000 logprobs become typed rows and not 30,000 small objects.

    decoded(b'{"choices": [{"logprobs": {"content": [...]}, ...}], ...}')
    -> {"choices": [{"logprobs": TokenLogprobs(...), ...}], ...}

The value is what `json.loads` would give, but for the `logprobs` of a large reply's choices: where
they have the form of the OpenAI reference they come as TokenLogprobs. What is in any other form
comes as plain JSON, and what msgspec refuses (half of a surrogate pair, for one) is for the slower
reader to judge: two readers never disagree on what was paid for.
"""

import json
from typing import Any

import msgspec

from synth.wire import TokenLogprobs

SENTINEL = -9000.0  # OpenAI reports -9999.0 for a token outside its top 20
LARGE = 16 * 2**10  # bytes, from which reading in layers pays
MAX_ID = 2**31


class _Entry(msgspec.Struct, gc=False):
    logprob: float
    octets: list[int] | msgspec.UnsetType | None = msgspec.field(
        name="bytes", default=msgspec.UNSET
    )
    token: str = ""
    id: int = -1


class _Token(_Entry, gc=False):
    top_logprobs: list[_Entry] | None = None


class _Logprobs(msgspec.Struct):
    content: list[_Token]


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CHOICES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_LOGPROBS = msgspec.json.Decoder(_Logprobs)
_ANY = msgspec.json.Decoder()


def decoded(raw: bytes) -> Any:
    """The value of a JSON text. Raises ValueError where it is none, UnicodeDecodeError among it."""
    text = raw.decode("utf-8")
    try:
        return _in_layers(raw) if len(raw) >= LARGE else _ANY.decode(raw)
    except msgspec.MsgspecError:
        return json.loads(text, parse_constant=_refuse_constant)


def _in_layers(raw: bytes) -> Any:
    layers = _OBJECT.decode(raw)
    choices = layers.pop("choices", None)
    value = {name: _ANY.decode(inner) for name, inner in layers.items()}
    if choices is not None:
        value["choices"] = [
            {
                name: _signal(inner) if name == "logprobs" else _ANY.decode(inner)
                for name, inner in choice.items()
            }
            for choice in _CHOICES.decode(choices)
        ]
    return value


def _signal(raw: msgspec.Raw) -> Any:
    try:
        tokens = _LOGPROBS.decode(raw).content
        return token_logprobs(tokens) if tokens else _ANY.decode(raw)
    except (msgspec.ValidationError, ValueError):
        return _ANY.decode(raw)


def token_logprobs(tokens: list[_Token]) -> TokenLogprobs:
    """The evidence of typed rows. Raises ValueError where one of them is no token."""
    tops = [
        [top for top in map(_checked, token.top_logprobs or ()) if top.logprob > SENTINEL]
        for token in tokens
    ]
    return TokenLogprobs(
        token_bytes=tuple([_piece(_checked(token)) for token in tokens]),
        token_logprobs=tuple([token.logprob for token in tokens]),
        token_ids=_ids(tokens),
        top_bytes=tuple([tuple([_piece(top) for top in row]) for row in tops]),
        top_logprobs=tuple([tuple([top.logprob for top in row]) for row in tops]),
        top_ids=tuple([_ids(row) for row in tops]),
    )


def _checked(entry: _Entry) -> _Entry:
    if not -1e30 < entry.logprob < 1e-3:
        raise ValueError("not a log probability")
    return entry


def _piece(entry: _Entry) -> bytes:
    """`bytes` is null for a token without text; `token` may not be UTF-8's whole truth, so it is
    only read where `bytes` is absent."""
    octets = entry.octets
    if octets.__class__ is list:
        return bytes(octets)
    return b"" if octets is None else entry.token.encode()


def _ids(entries: list[_Entry] | list[_Token]) -> tuple[int, ...]:
    if not entries or entries[0].id < 0:
        return ()
    ids = tuple([entry.id for entry in entries])
    return ids if min(ids) >= 0 and max(ids) < MAX_ID else ()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")

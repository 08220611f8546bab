"""Token probabilities of the dialects that do not use OpenAI's chat form, in ours.

Tokens are kept as bytes, and with the server's own ids where it gives them. One malformed entry and
the row carries none at all: half a distribution would teach something that the teacher never said.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from synth.logprobs import NO_LOGPROBS, TokenLogprobs
from synth.teachers.reading import count, items, table
from synth.teachers.signal import SENTINEL


class Token(NamedTuple):
    """One token, its log probability and its id (-1: none given)."""

    text: bytes
    logprob: float
    number: int = -1


def token_logprobs(entries: Any) -> TokenLogprobs:
    """OpenAI's list of entries, each with its candidates in `top_logprobs`."""
    return _gathered(
        lambda: [
            (openai_token(entry), [openai_token(top) for top in entry.get("top_logprobs") or ()])
            for entry in entries or ()
        ]
    )


def together_logprobs(value: Mapping[str, Any]) -> TokenLogprobs:
    """Together's parallel lists: tokens, token_ids, token_logprobs, and candidates by text.

    Source: together 3.1 (types/log_probs.py), and the reference, where `top_logprobs` is a list.
    """

    def pairs() -> list[tuple[Token, list[Token]]]:
        texts, numbers = value["tokens"], value["token_logprobs"]
        ids = value.get("token_ids") or [-1] * len(texts)
        tops = value.get("top_logprobs") or [{}] * len(texts)
        tops = [tops] if isinstance(tops, dict) and len(texts) == 1 else tops
        if isinstance(tops, dict):
            tops = [{}] * len(texts)
        return [
            (
                Token(text.encode(), _logprob(number), _number(identity)),
                [Token(other.encode(), _logprob(p)) for other, p in (top or {}).items()],
            )
            for text, number, identity, top in zip(texts, numbers, ids, tops, strict=True)
        ]

    return _gathered(pairs)


def gemini_logprobs(value: Any) -> TokenLogprobs:
    """Gemini's chosen and top candidates.

    Source: google-genai 3.4 (types.LogprobsResult); API reference, generateContent.
    """
    given = table(value)

    def pairs() -> list[tuple[Token, list[Token]]]:
        chosen = given.get("chosenCandidates") or ()
        tops = given.get("topCandidates") or [{}] * len(chosen)
        return [
            (_gemini(one), [_gemini(top) for top in items(candidates.get("candidates"))])
            for one, candidates in zip(chosen, tops, strict=True)
        ]

    return _gathered(pairs)


def openai_token(entry: dict[str, Any]) -> Token:
    """`bytes` is null for a token without text; `token` may not be UTF-8's whole truth, so it is
    only read where `bytes` is absent."""
    given = entry["bytes"] if "bytes" in entry else list(entry["token"].encode())
    if not isinstance(given, list | None):
        raise TypeError("a number here would be that many zero bytes")
    return Token(bytes(given or ()), _logprob(entry["logprob"]), _number(entry.get("id")))


def _gemini(entry: dict[str, Any]) -> Token:
    return Token(
        entry["token"].encode(), _logprob(entry["logProbability"]), _number(entry.get("tokenId"))
    )


def _gathered(read: Callable[[], Sequence[tuple[Token, list[Token]]]]) -> TokenLogprobs:
    try:
        pairs = read()
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return NO_LOGPROBS
    tokens = [token for token, _ in pairs]
    tops = [[top for top in found if top.logprob > SENTINEL] for _, found in pairs]
    return TokenLogprobs.of(
        token_bytes=tuple(token.text for token in tokens),
        token_logprobs=tuple(token.logprob for token in tokens),
        token_ids=_ids(tokens),
        top_bytes=tuple(tuple(top.text for top in found) for found in tops),
        top_logprobs=tuple(tuple(top.logprob for top in found) for found in tops),
        top_ids=tuple(_ids(found) for found in tops),
    )


def _logprob(value: Any) -> float:
    logprob = float(value)
    if isinstance(value, bool | str) or not -1e30 < logprob < 1e-3:
        raise ValueError("not a log probability")
    return logprob


def _number(value: Any) -> int:
    """An id; Together gives it as a float."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return whole if count(whole) else -1


def _ids(tokens: Sequence[Token]) -> tuple[int, ...]:
    ids = tuple(token.number for token in tokens)
    return ids if ids and min(ids) >= 0 else ()

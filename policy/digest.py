"""Names for content: the same value has the same digest on every machine, in every language.

A digest is taken over canonical JSON (RFC 8785), so key order and spacing do not matter, and it
carries its algorithm. A value without a stable form (NaN, an integer beyond 2^53, half of a
surrogate pair) is refused.

    >>> digest({"b": 1, "a": "x"}) == digest({"a": "x", "b": 1})
    True
"""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import rfc8785

from policy.errors import BadInput

CHUNK = 1 << 20
SALT_BYTES = 16
PREFIX = "sha256:"
SAFE = 2**53 - 1  # RFC 8785 allows no larger integer: an IEEE double could not hold it
_SIMPLE = frozenset({str, bool, type(None)})
_NESTED = frozenset({dict, list, tuple})
_ENCODE = msgspec.json.Encoder(order="deterministic").encode


def canonical(value: Any) -> bytes:
    """The one byte string of a JSON value (RFC 8785).

    Without fractions and with ASCII keys msgspec writes the same bytes, a hundred times faster: it
    escapes as RFC 8785 does (3.2.2.2), and ASCII sorts alike by code point and by UTF-16 unit.
    """
    try:
        return plain_bytes(value) or rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeError, RecursionError) as error:
        raise BadInput(
            f"a value has no stable form: {error}",
            fix="Use text, numbers that are finite and within 2^53, true, false, lists, tables.",
        ) from error


def plain_bytes(value: Any) -> bytes:
    """The canonical bytes of a value without fractions, the fast way; none where it has others."""
    return _ENCODE(value) if _plain(value) else b""


def text_bytes(text: str) -> bytes:
    """The canonical bytes of a text, its quotes among them. Raises UnicodeEncodeError for half of a
    surrogate pair."""
    return _ENCODE(text)


def _plain(value: Any) -> bool:
    """Whether a value holds text, whole numbers, booleans and nothing, under ASCII keys."""
    kind = type(value)
    if kind is dict:
        return _ascii(value) and _all_plain(value.values())
    return _all_plain(value) if kind is list or kind is tuple else _all_plain((value,))


def _all_plain(values: Collection[Any]) -> bool:
    for value in values:
        kind = type(value)
        if kind is int:
            if not -SAFE <= value <= SAFE:
                return False
        elif kind not in _SIMPLE and not (kind in _NESTED and _plain(value)):
            return False
    return True


def _ascii(keys: dict[Any, Any]) -> bool:
    try:
        return "".join(keys).isascii()
    except TypeError:
        return False


def sha256(data: bytes) -> str:
    """`sha256:<hex>` of the bytes."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """`sha256:<hex>` of the canonical form of a JSON value."""
    return sha256(canonical(value))


def file_digest(path: Path) -> str:
    """`sha256:<hex>` of a file, read in pieces so that weights of any size fit."""
    state = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                state.update(piece)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", where=str(path)) from error
    return PREFIX + state.hexdigest()


def commit(salt: bytes, *content: bytes) -> str:
    """A commitment that can outlive its content, which may come in pieces.

    The log keeps only this. Once the content and its random salt are erased, nobody can guess what
    it named, and the log still verifies. The salt's length is fixed, so that no other pair of salt
    and content joins to the same bytes.
    """
    if len(salt) != SALT_BYTES:
        raise BadInput(f"a salt has {SALT_BYTES} bytes, this one has {len(salt)}")
    state = hashlib.sha256(salt)
    for piece in content:
        state.update(piece)
    return PREFIX + state.hexdigest()

"""Proofs as files: the text of a C2SP tlog-proof, and how it is read back.

    c2sp.org/tlog-proof@v1
    extra <the entry itself, base64>
    index 7
    <one hash a line, base64>

    <the signed checkpoint>

Source: C2SP tlog-proof.md. A file may hold several, one after the other.
"""

import base64
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from policy.errors import VerificationFailed

HEADER = "c2sp.org/tlog-proof@v1"


class Inclusion(NamedTuple):
    """What an inclusion proof says."""

    entry: bytes
    """The bytes of the leaf."""
    place: int
    """Its index in the log."""
    proof: tuple[bytes, ...]
    note: str


def inclusion_text(entry: bytes, index: int, proof: Sequence[bytes], note: str) -> str:
    """The file's text."""
    hashes = [base64.b64encode(one).decode() for one in proof]
    extra = base64.b64encode(entry).decode()
    return "\n".join([HEADER, f"extra {extra}", f"index {index}", *hashes, "", note])


def read_inclusions(text: str) -> Iterator[Inclusion]:
    """Every proof of a file. Raises VerificationFailed for anything else."""
    parts = text.split(f"{HEADER}\n")
    if len(parts) < 2 or parts[0]:
        raise VerificationFailed(f"does not begin with {HEADER}")
    for part in parts[1:]:
        yield _read(part)


def _read(part: str) -> Inclusion:
    head, empty, note = part.partition("\n\n")
    lines = head.split("\n")
    try:
        extra, index, *hashes = lines
        if not (empty and extra.startswith("extra ") and index.startswith("index ")):
            raise ValueError("a line is missing")
        entry = base64.b64decode(extra[6:], validate=True)
        proof = tuple(base64.b64decode(one, validate=True) for one in hashes)
        return Inclusion(entry, int(index[6:]), proof, note)
    except ValueError as error:
        raise VerificationFailed(f"is no inclusion proof: {error}") from error

"""The mathematics of the tamper-evident log: RFC 6962 Merkle trees and C2SP checkpoints.

Every record that matters for an audit is a leaf. A checkpoint names the number of leaves and the
root over them; who holds an old one notices any later change, removal or reordering.

    >>> frontier = Frontier()
    >>> frontier.append(leaf_hash(leaf_body("row", 0, {"ref": "a"})))
    >>> checkpoint_text("spiritsafe.local/demo", frontier.size, frontier.root())
    'spiritsafe.local/demo\\n1\\n...\\n'

Sources: RFC 6962 section 2.1 (hashes), RFC 9162 section 2.1.3-2.1.4 (checking proofs),
C2SP tlog-checkpoint (text).
"""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from policy.digest import canonical, plain_bytes
from policy.errors import BadInput, VerificationFailed

LEAF, NODE = b"\x00", b"\x01"
EMPTY_ROOT = sha256(b"").digest()
HASH_BYTES = 32
VERSION = 1
_SIMPLE = frozenset({str, int, bool, type(None)})


def leaf_hash(body: bytes) -> bytes:
    """The hash of one leaf."""
    return sha256(LEAF + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees."""
    return sha256(NODE + left + right).digest()


def leaf_body(kind: str, seq: int, fields: Mapping[str, Any]) -> bytes:
    """The bytes of a leaf: canonical JSON of its fields with `v`, `kind` and `seq`.

    Fractions are refused: a leaf must read the same in every language, and in a hundred years.
    """
    if taken := {"v", "kind", "seq"}.intersection(fields):
        raise BadInput(f"a leaf's fields cannot be called {', '.join(sorted(taken))}")
    body = {"v": VERSION, "kind": kind, "seq": seq, **fields}
    try:
        plain = plain_bytes(body)
    except (UnicodeError, RecursionError):  # canonical says what is wrong with it
        plain = b""
    if plain:
        return plain
    _refuse_fractions(body)
    return canonical(body)


def _refuse_fractions(value: object) -> None:
    if isinstance(value, float):
        raise BadInput(f"a leaf cannot hold the fraction {value}", fix="Write it as text.")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple) and not _SIMPLE.issuperset(map(type, value)):
        for inner in value:
            _refuse_fractions(inner)


class Frontier:
    """The right edge of a growing tree: what is needed to append and to give the root.

    It holds one hash for each one-bit of the size, largest subtree first, so a million leaves need
    at most twenty hashes.
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._peaks: list[bytes] = []

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    def append(self, leaf: bytes) -> None:
        """Add the hash of a leaf; equal subtrees merge as a carry runs through a binary number."""
        size, peaks = self._size, self._peaks
        while size & 1:
            leaf = sha256(NODE + peaks.pop() + leaf).digest()
            size >>= 1
        peaks.append(leaf)
        self._size += 1

    def root(self) -> bytes:
        """The root over all leaves."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def since(self, start: int) -> "Frontier":
        """The edge of the tree over the leaves from `start` on. They must fit into one subtree that
        begins there, which has not been merged with what stands before it."""
        rest = self._size - start
        if not 0 <= rest < (start & -start or rest + 1):
            raise BadInput(f"an edge of {self._size} leaves does not part at {start}")
        part = Frontier()
        part._size, part._peaks = rest, self._peaks[start.bit_count() if start else 0 :]
        return part

    def to_bytes(self) -> bytes:
        """Eight bytes of size, then the hashes."""
        return self._size.to_bytes(8, "big") + b"".join(self._peaks)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Frontier":
        """Read what `to_bytes` wrote."""
        size = int.from_bytes(data[:8], "big")
        if len(data) != 8 + HASH_BYTES * size.bit_count():
            raise BadInput("these bytes are no frontier of a log")
        frontier = cls()
        frontier._size = size
        frontier._peaks = [data[at : at + HASH_BYTES] for at in range(8, len(data), HASH_BYTES)]
        return frontier


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over the hashes of leaves."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


Subtree = Callable[[int, int], bytes]
"""The root over the leaves from the first place up to, and without, the second."""


def subtrees_of(leaves: Sequence[bytes]) -> Subtree:
    """The subtrees of a log whose hashes are all at hand."""
    return lambda start, end: root_of(leaves[start:end])


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """The hashes that lead from one leaf to the root, from the bottom up (PATH of RFC 6962 2.1.1).
    A log that can name its subtrees need not read its leaves."""
    if not 0 <= index < size:
        raise BadInput(f"there is no leaf {index} in a log of {size}")
    proof, start, end = list[bytes](), 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            proof.append(subtree(split, end))
            end = split
        else:
            proof.append(subtree(start, split))
            start = split
    return proof[::-1]


def _split(size: int) -> int:
    """The largest power of two below a size: where RFC 6962 parts a tree."""
    return 1 << (size - 1).bit_length() - 1


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Whether the leaf stands at that index under that root (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, here = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            here = node_hash(sibling, here)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            here = node_hash(here, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and here == root


def consistency_proof(old: int, size: int, subtree: Subtree) -> list[bytes]:
    """The hashes that show that a log of the `old` size is a beginning of this one (SUBPROOF of
    RFC 6962 2.1.2)."""
    if not 0 < old <= size:
        raise BadInput(f"a log of {size} has no beginning of {old} leaves")
    proof, start, end = list[bytes](), 0, size
    while old != end:
        split = start + _split(end - start)
        if old <= split:
            proof.append(subtree(split, end))
            end = split
        else:
            proof.append(subtree(start, split))
            start = split
    if start:  # else the whole old root, which the reader has
        proof.append(subtree(start, end))
    return proof[::-1]


def verify_consistency(
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> bool:
    """Whether the new log only adds to the old one (RFC 9162 2.1.4.2)."""
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # a power of two: the old root is itself a node
        path.insert(0, old_root)
    if not path:
        return False
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and old == old_root and new == new_root


class Checkpoint(NamedTuple):
    """What a checkpoint says."""

    origin: str
    size: int
    root: bytes


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The text that is signed (C2SP tlog-checkpoint, without extension lines)."""
    if not origin or "\n" in origin or size < 0 or len(root) != HASH_BYTES:
        raise BadInput("a checkpoint needs an origin of one line, a size and a root of 32 bytes")
    return f"{origin}\n{size}\n{base64.b64encode(root).decode('ascii')}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's text, without its signatures; only the one written form is accepted."""
    try:
        origin, size, root = text.split("\n")[:3]
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
        if checkpoint_text(*checkpoint) == text:
            return checkpoint
    except (ValueError, BadInput):
        pass
    raise VerificationFailed("this is no checkpoint", where=text[:40])

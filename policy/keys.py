"""Signing keys, and notes that carry a signature (ed25519, C2SP signed-note).

    key = new_key(Path("keys/log.pem"))
    note = sign_note(checkpoint_text(origin, size, root), "spiritsafe.local/demo", key)
    text = verify_note(note, "spiritsafe.local/demo", key.public("spiritsafe.local/demo"))

The public key is one line, "name+hexid+base64", that can be copied anywhere. Whoever holds the
private key can write another history: keep it away from the ledger, and copies of the notes away
from both.
"""

import base64
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from policy.errors import BadInput, VerificationFailed

ED25519 = b"\x01"  # the signature type of C2SP signed-note
ID_BYTES = 4
DASH = "\u2014"  # an em dash begins each signature line


class SigningKey:
    """An ed25519 private key. It never prints itself."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    def sign(self, data: bytes) -> bytes:
        """The 64 bytes of signature."""
        return self._private.sign(data)

    def public(self, name: str) -> str:
        """The line by which others verify: "name+hexid+base64"."""
        return f"{_checked_name(name)}+{self.id(name).hex()}+{_base64(ED25519 + self._raw())}"

    def id(self, name: str) -> bytes:
        """The key id that goes with a name."""
        return _key_id(name, self._raw())

    def _raw(self) -> bytes:
        return self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return "<SigningKey>"


class PublicKey(NamedTuple):
    """What a public key line says."""

    name: str
    id: bytes
    raw: bytes


def new_key(path: Path) -> SigningKey:
    """Make a key and write it, for the owner's eyes only; an existing file is never replaced."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # whole or not at all, and never over another
    except FileExistsError as error:
        raise BadInput("a key is already there", where=str(path), fix="Load that one.") from error
    except OSError as error:
        raise BadInput(f"cannot be written ({error.strerror})", where=str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
    return SigningKey(private)


def load_key(path: Path) -> SigningKey:
    """Read a key that `new_key` wrote."""
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", where=str(path)) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadInput("is no private key in PEM form", where=str(path)) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise BadInput("is not an ed25519 key", where=str(path))
    return SigningKey(private)


def sign_note(text: str, name: str, key: SigningKey) -> str:
    """The text, an empty line, and the signature line."""
    if not text.endswith("\n"):
        raise BadInput("a note's text ends with a new line")
    signed = _base64(key.id(name) + key.sign(text.encode("utf-8")))
    return f"{text}\n{DASH} {_checked_name(name)} {signed}\n"


def cosign_note(note: str, name: str, key: SigningKey) -> str:
    """The note with one more signature line, by somebody else (C2SP signed-note)."""
    text, empty_line, signatures = note.rpartition("\n\n")
    if not empty_line or not signatures.startswith(DASH):
        raise BadInput("this is no signed note", fix="Give a file of checkpoints/.")
    line = sign_note(text + "\n", name, key).rpartition("\n\n")[2]
    return note if line in note else note + line


def verify_note(note: str, name: str, public: str) -> str:
    """The text of a note that this key signed under this name; otherwise VerificationFailed."""
    key = parse_public_key(public)
    text, empty_line, signatures = note.rpartition("\n\n")
    if not empty_line or not signatures.endswith("\n"):
        raise VerificationFailed("this is no signed note", where=name)
    text += "\n"
    data = text.encode("utf-8", "surrogatepass")
    for line in signatures[:-1].split("\n"):
        signature = _signature(line, key) if key.name == name else None
        if signature is not None:
            try:
                Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, data)
            except InvalidSignature as error:
                raise VerificationFailed("the signature does not hold", where=name) from error
            return text
    raise VerificationFailed(f"the note has no signature by {public.split('+')[0]}", where=name)


def verify_note_by(note: str, public: str) -> str:
    """The text of a note that one of these keys signed; one line each, the newest last, as a log
    whose key was changed has them. Raises VerificationFailed."""
    refused = VerificationFailed("there is no key to verify it by")
    for line in reversed(public.split()):
        try:
            return verify_note(note, parse_public_key(line).name, line)
        except VerificationFailed as error:
            refused = error
    raise refused


def parse_public_key(public: str) -> PublicKey:
    """Read a public key line, and check that its id is its own."""
    try:
        name, key_id, encoded = public.strip().split("+", 2)
        data = _from_base64(encoded)
        key = PublicKey(_checked_name(name), bytes.fromhex(key_id), data[1:])
    except ValueError as error:
        raise BadInput("this is no public key line (name+hexid+base64)") from error
    if data[:1] != ED25519 or len(key.raw) != 32 or key.id != _key_id(name, key.raw):
        raise BadInput("this public key line is damaged or not ed25519", where=name)
    return key


def _signature(line: str, key: PublicKey) -> bytes | None:
    """The signature on a line, if the line is by this key."""
    try:
        dash, name, encoded = line.split(" ")
        data = _from_base64(encoded)
    except ValueError:
        return None
    ours = dash == DASH and name == key.name and data[:ID_BYTES] == key.id
    return data[ID_BYTES:] if ours else None


def _key_id(name: str, raw: bytes) -> bytes:
    return hashlib.sha256(name.encode("utf-8") + b"\n" + ED25519 + raw).digest()[:ID_BYTES]


def _checked_name(name: str) -> str:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise BadInput(f'"{name}" cannot name a key', fix="Leave out spaces and plus signs.")
    return name


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _from_base64(text: str) -> bytes:
    """Only the one written form: spare bits in the last character could hide a change."""
    data = base64.b64decode(text, validate=True)
    if _base64(data) != text:
        raise ValueError("not the canonical base64")
    return data

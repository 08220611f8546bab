"""Signed statements about a run that others' tools can check: in-toto, SLSA provenance, DSSE.

    envelope = sign_statement(statement("student/…", files, predicate), key, "acme/log")
    findings = verify_statement(envelope, public_key, Path("runs/sft"))

The envelope is one JSON file. Its signature is over the pre-authentication encoding, so the payload
is read only after it was checked. It imports no writer.

Sources: in-toto Statement v1 and SLSA Provenance v1 (in-toto/attestation, slsa.dev/spec), DSSE
protocol v1 (secure-systems-lab/dsse).
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from policy.digest import PREFIX, canonical, file_digest
from policy.errors import BadInput, SpiritSafeError, VerificationFailed
from policy.keys import PublicKey, SigningKey, parse_public_key
from policy.verify import Finding

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what a DSSE signature is over."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def statement(files: Mapping[str, str], predicate: Mapping[str, Any]) -> dict[str, Any]:
    """A provenance statement about files, given by name with `sha256:<hex>`."""
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": name, "digest": {"sha256": digest.removeprefix(PREFIX)}}
            for name, digest in sorted(files.items())
        ],
        "predicateType": PROVENANCE,
        "predicate": dict(predicate),
    }


def sign_statement(said: Mapping[str, Any], key: SigningKey, name: str) -> str:
    """The statement in its envelope. The same statement and key give the same bytes."""
    payload = canonical(dict(said))
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [
            {
                "keyid": key.id(name).hex(),
                "sig": base64.b64encode(key.sign(pae(PAYLOAD_TYPE, payload))).decode("ascii"),
            }
        ],
    }
    return json.dumps(envelope, indent=1) + "\n"


def open_envelope(text: str, public: str) -> dict[str, Any]:
    """The statement that this key signed, or one of these, a line each. Raises VerificationFailed
    for anything else."""
    keys = [parse_public_key(line) for line in public.split()] or [parse_public_key(public)]
    name = keys[0].name
    try:
        envelope = json.loads(text)
        kind, payload = str(envelope["payloadType"]), _decoded(envelope["payload"])
        signatures = [(str(one.get("keyid", "")), one["sig"]) for one in envelope["signatures"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise VerificationFailed("this is no DSSE envelope", where=name) from error
    if not any(_holds(key, pae(kind, payload), *one) for one in signatures for key in keys):
        raise VerificationFailed("no signature holds", where=f"key {name}")
    return _payload(kind, payload)


def _payload(kind: str, payload: bytes) -> dict[str, Any]:
    try:
        said = json.loads(payload)
    except ValueError as error:
        raise VerificationFailed("the payload is not JSON") from error
    if kind != PAYLOAD_TYPE or not isinstance(said, dict) or said.get("_type") != STATEMENT:
        raise VerificationFailed(f"the payload is no in-toto statement ({kind})")
    return said


def verify_statement(text: str, public: str, folder: Path | None = None) -> list[Finding]:
    """Check the envelope, and with a folder that every subject lies there as the statement says."""
    try:
        said = open_envelope(text, public)
    except BadInput:
        raise
    except SpiritSafeError as error:
        return [Finding("envelope", error.message)]
    subjects = said.get("subject")
    if not isinstance(subjects, list) or not subjects:
        return [Finding("statement", "names no subject")]
    if folder is None:
        return []
    return [finding for one in subjects for finding in _against(folder, one)]


def _against(folder: Path, subject: Any) -> Sequence[Finding]:
    try:
        name, wanted = str(subject["name"]), str(subject["digest"]["sha256"])
    except (KeyError, TypeError):
        return [Finding("statement", "a subject has no name or no sha256")]
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return [Finding(name, "leads out of the directory")]
    if not path.is_file():
        return [Finding(name, "is missing")]
    found = file_digest(path).removeprefix(PREFIX)
    problem = f"is not the file that was signed: sha256 {found}, the statement says {wanted}"
    return [] if found == wanted else [Finding(name, problem)]


def _holds(key: PublicKey, data: bytes, key_id: str, signature: Any) -> bool:
    if key_id not in ("", key.id.hex()):  # a hint only, as DSSE has it: never trusted
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(_decoded(signature), data)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _decoded(value: Any) -> bytes:
    """Standard or URL-safe base64: DSSE wants readers to take both."""
    text = str(value).replace("-", "+").replace("_", "/")
    return base64.b64decode(text, validate=True)

"""One key serves one project: what binds them is a salted fingerprint, never the key.

    check_key(place, key, ledger_id)      # PolicyDenied where another project has it
    bind_key(place, key, owner, today)

The bindings lie beside `guardrails.toml`, where one file serves many projects, else in the user's
own state directory. A project may change its key; two projects may not share one, so that each
one's purpose, spend and breaches can be told apart by the provider and by the organisation.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from policy.errors import BadInput, PolicyDenied
from policy.guardrails import FILE
from synth.secrets import Key

BINDINGS = "key-bindings.json"
_COST = 2**14  # scrypt's n: 30 ms and 16 MiB, so that a short key is not found by trying


class Owner(NamedTuple):
    """The project that a key serves."""

    ledger: str
    """Id of its ledger: it stays when the directory moves."""

    project: str
    """Its file, for people."""

    offering: str


def bindings_of(rails_folder: Path | None, environment: Mapping[str, str]) -> Path:
    """Where the bindings lie: beside the organisation's rails, else in the user's state."""
    if rails_folder is not None:
        return rails_folder / BINDINGS
    home = environment.get("HOME") or str(Path.home())
    state = environment.get("XDG_STATE_HOME") or f"{home}/.local/state"
    return Path(state) / "spiritsafe" / BINDINGS


def fingerprint(key: Key, salt: str) -> str:
    """What stands for a key: scrypt over the salt and the key, in hex (RFC 7914)."""
    salted = bytes.fromhex(salt)
    return hashlib.scrypt(key.reveal().encode(), salt=salted, n=_COST, r=8, p=1, dklen=16).hex()


def check_key(place: Path, key: Key, ledger: str) -> None:
    """Raise PolicyDenied where the key serves another project. An empty `ledger` is a project that
    has none yet."""
    with _locked(place) as bindings:
        _check(place, bindings, key, ledger)


def bind_key(place: Path, key: Key, owner: Owner, today: date) -> None:
    """Bind a key to a project. Raises PolicyDenied where it serves another one."""
    with _locked(place) as bindings:
        bound = _check(place, bindings, key, owner.ledger)
        if bound == owner.ledger:
            return
        bindings["keys"][fingerprint(key, bindings["salt"])] = {
            "ledger": owner.ledger,
            "project": owner.project,
            "offering": owner.offering,
            "since": today.isoformat(),
        }
        partial = place.with_suffix(".partial")
        partial.write_text(json.dumps(bindings, indent=1) + "\n", encoding="utf-8")
        partial.replace(place)


def _check(place: Path, bindings: dict[str, Any], key: Key, ledger: str) -> str:
    found = bindings["keys"].get(fingerprint(key, bindings["salt"]))
    if found is None:
        return ""
    if found["ledger"] != ledger:
        raise PolicyDenied(
            f"this key serves another project since {found['since']}: {found['project']}",
            where="[teacher] api_key_env",
            fix=f"make a key for this project; or, if that one is gone, take its entry out of"
            f" {place}; one_key_per_project = false in {FILE} lets projects share one",
        )
    return str(found["ledger"])


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[dict[str, Any]]:
    """The bindings, held against other processes."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(place.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise BadInput(
            f"the key bindings cannot be kept there: {error.strerror}",
            where=str(place.parent),
            fix="make it writable, or say XDG_STATE_HOME",
        ) from error
    with os.fdopen(handle, "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _read(place)


def _read(place: Path) -> dict[str, Any]:
    try:
        text = place.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {"salt": os.urandom(16).hex(), "keys": {}}
    try:
        found = json.loads(text)
        bytes.fromhex(found["salt"])
        return {"salt": found["salt"], "keys": {k: dict(v) for k, v in found["keys"].items()}}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"is not what was written there: {error}", where=str(place), fix="restore or remove it"
        ) from error

"""A project's side of the register: its own terms, its records, and what an archive showed to move.

    register = register_of(Path("my-bot"))        # ours and theirs, stale entries marked

`terms/` holds entries of the user's own agreements, `records/` what named people said, and
`terms-state.json` what the last look into an archive found. All of it is meant to be reviewed.
"""

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

from policy.archive import Standing, import_archive, stale_of
from policy.config import parse
from policy.digest import file_digest
from policy.errors import BadInput
from policy.records import Record, write_record
from policy.terms import Register, load_register

STATE = "terms-state.json"


def register_of(folder: Path) -> Register:
    """The register as this project must see it."""
    own = folder / "terms"
    register = load_register(own if own.is_dir() else None)
    stale = _read_state(folder / STATE)
    return register.with_stale(stale) if stale else register


def import_into(folder: Path, archive: Path, today: date) -> tuple[Standing, ...]:
    """Look into an archive and remember what went stale. Raises BadInput for no such archive."""
    register = load_register(folder / "terms" if (folder / "terms").is_dir() else None)
    standings = import_archive(register, archive, today)
    path = folder / STATE
    partial = path.with_suffix(".partial")
    state = {"on": today.isoformat(), "stale": stale_of(standings)}
    partial.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
    return standings


def _read_state(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        stale = json.loads(path.read_text(encoding="utf-8"))["stale"]
        return {str(pin): str(why) for pin, why in stale.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"is not what import-archive wrote: {error}",
            where=str(path),
            fix="run `spiritsafe terms import-archive` again",
        ) from error


def put_on_record(kind: str, offering: str, today: date, **said: Any) -> Path:
    """Write one record into the project. Raises BadInput for an unknown offering or a bad scope."""
    folder = Path(said.pop("folder"))
    document = Path(said.pop("document"))
    expires: datetime = said.pop("expires")
    entry = register_of(folder).find(offering, today)
    if entry is None:
        raise BadInput(f"no offering {offering!r} is registered", fix="see `spiritsafe terms list`")
    values = {
        "kind": kind,
        "offering": offering,
        "on": today,
        "expires": expires.date(),
        "document": document.name,
        "document_sha256": file_digest(document),
        "terms_pin": entry.pin,  # it ends when the entry changes: other words were meant
        **{name: value for name, value in said.items() if name != "replace"},
    }
    record = parse(Record, values, where=f"{kind} for {offering}")
    return write_record(folder, record, replace=bool(said.get("replace")))

"""One case of a list, read from its own fields into the words of the engine.

    Case({"off": "openai-api", "purpose": "evaluate"}, "case 1", today).use.purpose

What is left out is taken at its worst. What is said and not understood is refused by name.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from policy.config import nearest
from policy.digest import digest
from policy.errors import BadInput
from policy.records import Kind, Record
from policy.rows import Origin
from policy.terms import Register
from policy.use import STAGES, Distribution, Given, Purpose, Use

COUNTED = re.compile(r"^(?P<offering>.+?)\s+[x×]\s*(?P<rows>\d+)$")
EXPIRED = re.compile(r"expired|past|ended", re.IGNORECASE)
NO = {"", "absent", "none", "no", "missing", "false", "invalid", "revoked"}


class Case:
    """The fields of a case, read once: `use`, `origins`, `given`, `at` and `now`."""

    def __init__(self, case: Mapping[str, Any], where: str, today: date) -> None:
        self._case = case
        self._where = where
        self.at = self._day("at") or self._day("now") or today
        self.now = self._day("now") or self.at
        if self.now < self.at:
            raise self._bad("now", "lies before the day of collection")
        self.use = self._use()
        features = tuple(self._words("feature"))
        stage = self._text("stage").lower()
        if stage in ("preview", "beta", "ga"):  # of the offering, not of the work
            features += ("preview",) * (stage != "ga")
            stage = ""
        if stage and stage not in STAGES:
            raise self._bad("stage", f"is no step; the steps are {', '.join(STAGES)}")
        self.given = Given(stage=stage, name=self._text("name"))
        row = (features, self._text("modality"), self._text("requested"), self._text("served"))
        self.counted = False
        self.origins = Counter[Origin]()
        for offering, count in self._offerings():
            self.origins[Origin(offering, self.at, *row)] += count

    def records(self, register: Register) -> list[Record]:
        """What the case says that people said, as records of this very situation."""
        offerings = {each.id for each in register.all()}
        found = []
        for field, kind in (("ack", Kind.ACKNOWLEDGEMENT), ("permission", Kind.PERMISSION)):
            said = self._case.get(field)
            if said is True or (isinstance(said, str) and said.lower() not in NO):
                said = (
                    {"expires": str(self.now - timedelta(1))} if EXPIRED.search(str(said)) else {}
                )
            if isinstance(said, Mapping) and _is_true(said.get("valid", True)):
                found += [self._record(field, kind, each, said) for each in sorted(offerings)]
            elif said not in (None, False) and not isinstance(said, str | Mapping):
                raise self._bad(field, "says neither that there is one nor its scope")
        return [record for record in found if record is not None]

    def _record(
        self, field: str, kind: Kind, offering: str, said: Mapping[str, Any]
    ) -> Record | None:
        expires = _date(said.get("expires") or said.get("until")) or self.now
        begins = _date(said.get("on") or said.get("from"))
        scope = said.get("scope", said.get("purposes", list(Purpose)))
        spread = said.get("dist", said.get("distributions", list(Distribution)))
        about = said.get("off", said.get("offering", offering))
        gone = _is_true(said.get("expired", False)) or _is_true(said.get("revoked", False))
        if gone or about != offering or expires < self.now:
            return None
        try:
            return Record(
                kind=kind,
                offering=offering,
                by=str(said.get("by", "a named person of this case")),
                on=begins or self.now,
                expires=expires,
                purposes=tuple(Purpose(each) for each in _listed(scope)),
                distributions=tuple(Distribution(each) for each in _listed(spread)),
                reason=f"Assumed for this case: {said.get('reason', 'no reason given')}",
                document="the case itself",
                document_sha256=digest(str(self._case.get("id", ""))),
            )
        except ValueError as error:
            raise self._bad(field, f"has a scope that is not understood: {error}") from error

    def _use(self) -> Use:
        purpose = self._choice("purpose", Purpose, Purpose.TRAIN_COMPETING_GENERAL)
        spread = self._choice("dist", Distribution, Distribution.WEIGHTS_PUBLIC)
        context = self._case.get("context") or ()
        sizes = dict(context) if isinstance(context, Mapping) else {}
        users = sizes.get("monthly_users", sizes.get("mau"))
        revenue = sizes.get("monthly_revenue_usd", sizes.get("revenue"))
        return Use(
            purpose=purpose,
            distribution=spread,
            student_base=self._text("base"),
            region=self._text("org_region"),
            field=self._text("field"),
            context=tuple(_context(context)),
            monthly_users=self._number("context", users),
            monthly_revenue_usd=self._number("context", revenue),
        )

    def _number(self, field: str, value: Any) -> int | None:
        if value is None:
            return None
        try:
            return int(value)
        except (TypeError, ValueError) as error:
            raise self._bad(field, f"holds {value!r}, which is no number") from error

    def _offerings(self) -> Iterator[tuple[str, int]]:
        said = self._case.get("off")
        for each in said if isinstance(said, list) else [said]:
            if isinstance(each, Mapping) and len(each) == 1:
                each = " x".join(str(part) for part in next(iter(each.items())))
            if each is not None and not isinstance(each, str):
                raise self._bad("off", f"holds {each!r}, which names no offering")
            match = COUNTED.match(each or "")
            self.counted |= match is not None
            yield (match["offering"], int(match["rows"])) if match else (each or "not stated", 1)

    def _choice(self, field: str, kind: Any, worst: Any) -> Any:
        said = self._case.get(field)
        if said in (None, ""):
            return worst
        try:
            return kind(said)
        except ValueError as error:
            guess = nearest(str(said), [each.value for each in kind])
            fix = f'Did you mean "{guess}"?' if guess else f"One of: {', '.join(kind)}."
            raise BadInput(
                f'{field} = "{said}" is not known', where=self._where, fix=fix
            ) from error

    def _text(self, field: str) -> str:
        said = self._case.get(field)
        if said is None:
            return ""
        if isinstance(said, list | Mapping):
            raise self._bad(field, "is not one word")
        return str(said)

    def _words(self, field: str) -> list[str]:
        return [str(word) for word in _listed(self._case.get(field) or ()) if word]

    def _day(self, field: str) -> date | None:
        said = self._case.get(field)
        try:
            return _date(said)
        except ValueError as error:
            raise self._bad(field, "is no day; write 2026-11-24") from error

    def _bad(self, field: str, what: str) -> BadInput:
        said = json.dumps(self._case.get(field), default=str, ensure_ascii=False)
        return BadInput(f"{field} = {said} {what}", where=self._where)


def _is_true(said: Any) -> bool:
    return said is True or (isinstance(said, str) and said.lower() not in NO)


def _date(said: Any) -> date | None:
    if said in (None, ""):
        return None
    if isinstance(said, datetime):
        return said.date()
    return said if isinstance(said, date) else date.fromisoformat(str(said))


def _listed(said: Any) -> list[Any]:
    return list(said) if isinstance(said, list | tuple | set) else [said]


def _context(said: Any) -> Iterator[str]:
    """ "unpaid tier"; ["unpaid"]; {"tier": "unpaid", "own_student": true}: words to match."""
    if isinstance(said, Mapping):
        for key, value in said.items():
            if value is True:
                yield str(key)
            elif value not in (False, None):
                yield f"{key} {value}"
    else:
        yield from (str(word) for word in _listed(said) if word)

"""One case of a list, read from its own fields into the words of the engine.

    Case({"off": "openai-api", "purpose": "evaluate"}, "case 1", today).use.purpose

What is left out is taken at its worst. What is said and not understood is refused by name.
"""

import json
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

from policy.config import nearest
from policy.errors import BadInput
from policy.records import Record
from policy.regions import is_region, is_unsaid
from policy.rows import Origin
from policy.said import KINDS, Asked, records_said
from policy.use import STAGES, Distribution, Given, Purpose, Use

COUNTED = re.compile(r"^(?P<offering>.+?)\s+[x×]\s*(?P<rows>\S+)$")
MOST_ROWS = 10**15  # more than any store holds, and well inside the integers of JSON
AMOUNT = re.compile(r"(?P<more>>|\bover\b|\babove\b|\bmore than\b)?\s*(?P<number>\d[\d_,.]*)\s*")
UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "thousand": 1e3, "million": 1e6, "billion": 1e9}
SIZES = {
    "monthly_users": ("monthly_users", 1),
    "monthly_active_users": ("monthly_users", 1),
    "mau": ("monthly_users", 1),
    "monthly_revenue_usd": ("monthly_revenue_usd", 1),
    "monthly_revenue": ("monthly_revenue_usd", 1),
    "revenue": ("monthly_revenue_usd", 1),
    "annual_revenue_usd": ("monthly_revenue_usd", 12),
    "arr": ("monthly_revenue_usd", 12),
}
"""The keys of `context` that are numbers, with the months that they count."""
OF_USERS = re.compile(r"\bmau\b|monthly[ _](active[ _])?users|users (a|per) month")


class Case:
    """The fields of a case, read once: `use`, `origins`, `given`, `at` and `now`."""

    def __init__(self, case: Mapping[str, Any], where: str, today: date) -> None:
        self._case = case
        self._where = where
        self.at = self._day("at") or self._day("now") or today
        self.now = self._day("now") or self.at
        if self.now < self.at:
            wrong = f"lies before the day of collection, at = {self.at}"
            raise self._bad("now", wrong, "Exchange them, or leave now out.")
        self.use = self._use()
        features = tuple(self._words("feature"))
        stage = self._text("stage").lower()
        if stage in ("preview", "beta", "ga"):  # of the offering, not of the work
            features += ("preview",) * (stage != "ga")
            stage = ""
        if stage and stage not in STAGES:
            raise self._bad("stage", "is no step", f"The steps are {', '.join(STAGES)}.")
        self.given = Given(stage=stage, name=self._text("name"))
        row = (features, self._modality(), self._text("requested"), self._text("served"))
        self.counted = False
        self.origins = Counter[Origin]()
        for offering, count in self._offerings():
            self.origins[Origin(offering, self.at, *row)] += count
        if self.speaks_of_people:
            self.records(["any"])

    @property
    def speaks_of_people(self) -> bool:
        """Whether it says anything about what people said."""
        return any(self._case.get(field) is not None for field in KINDS)

    def records(self, offerings: Iterable[str]) -> list[Record]:
        """What the case says that people said about these offerings."""
        asked = Asked(str(self._case.get("id", "")), self.now, self._where)
        about = list(offerings)
        return [
            record
            for field in KINDS
            for record in records_said(field, self._case.get(field), about, asked)
        ]

    def _use(self) -> Use:
        region = self._text("org_region")
        if not is_region(region) and not is_unsaid(region):
            fix = "Write EU, EEA or a country's two letters (ISO 3166), or leave it out."
            raise self._bad("org_region", "is no region", fix)
        sizes = self._sizes()
        return Use(
            purpose=self._choice("purpose", Purpose, Purpose.TRAIN_COMPETING_GENERAL),
            distribution=self._choice("dist", Distribution, Distribution.WEIGHTS_PUBLIC),
            student_base=self._text("base"),
            region=region,
            field=self._text("field"),
            context=tuple(self._context()),
            monthly_users=sizes.get("monthly_users"),
            monthly_revenue_usd=sizes.get("monthly_revenue_usd"),
        )

    def _modality(self) -> str:
        """One word; several together are multimodal, unless all of them are text."""
        words = sorted({word.lower() for word in self._words("modality")})
        return "multimodal" if len(words) > 1 else "".join(words)

    def _context(self) -> Iterator[str]:
        """ "unpaid tier"; ["unpaid"]; {"tier": "unpaid", "own_student": true}: words to match."""
        said = self._case.get("context")
        if not isinstance(said, Mapping):
            yield from self._words("context")
            return
        for key, value in said.items():
            if value is True or value == "true":
                yield str(key)
            elif isinstance(value, str | int | float) and value not in (False, "false"):
                yield f"{key} {value}"
            elif value not in (None, False, "false"):
                raise self._bad("context", f"holds {_shown(value)} under {_shown(key)}", _WORDS)

    def _sizes(self) -> dict[str, int]:
        """Monthly users and revenue: of a table, or of words such as "over 700M MAU"."""
        said = self._case.get("context")
        if isinstance(said, Mapping):
            pairs = [(str(key).lower(), value) for key, value in said.items()]
        else:
            words = (word.lower() for word in self._words("context"))
            pairs = [("mau", word) for word in words if OF_USERS.search(word)]
        sizes: dict[str, int] = {}
        for key, value in pairs:
            if key in SIZES and value is not None:
                name, months = SIZES[key]
                size = self._number(value) // months
                sizes[name] = max(size, sizes.get(name, 0))
        return sizes

    def _number(self, value: Any) -> int:
        """A number as people write it: 800000000, 8e8, "800 million", ">700M"."""
        try:
            plain = not isinstance(value, bool)
            number = float(value) if plain else -1.0
        except (TypeError, ValueError):
            match = AMOUNT.search(value.lower()) if isinstance(value, str) else None
            number = -1.0
            if match:
                unit = re.match(r"[a-z]*", value.lower()[match.end() :])
                scale = UNITS.get(unit[0] if unit else "", 1)
                digits = re.sub(r"[_,]", "", match["number"]).rstrip(".")
                number = (
                    float(digits) * scale + bool(match["more"]) if digits.count(".") < 2 else -1
                )
        except OverflowError:
            number = -1.0
        if not 0 <= number < MOST_ROWS:
            raise self._bad("context", f"holds {_shown(value)}, which is no number", _NUMBER)
        return int(number)

    def _offerings(self) -> Iterator[tuple[str, int]]:
        said = self._case.get("off")
        listed = said if isinstance(said, list | tuple) else [said]
        if not listed or said == {}:
            raise self._bad("off", "names no offering", "Name one, e.g. deepseek-api.")
        for each in listed:
            if isinstance(each, Mapping) and each:
                for name, rows in each.items():
                    yield self._counted(name, rows)
            elif each is not None and not isinstance(each, str):
                wrong = f"holds {_shown(each)}, which names no offering"
                raise self._bad("off", wrong, "Write a name, or a list of names.")
            elif match := COUNTED.match(each or ""):
                yield self._counted(match["offering"], match["rows"])
            else:
                yield (each or "not stated").strip() or "not stated", 1

    def _counted(self, name: Any, rows: Any) -> tuple[str, int]:
        self.counted = True
        count = int(rows) if re.fullmatch(r"\d{1,16}", str(rows)) else 0
        if not isinstance(name, str) or not 0 < count < MOST_ROWS:
            fix = "Write deepseek-api x990, with 1 row or more."
            raise self._bad("off", f"counts {_shown(rows)} rows of {_shown(name)}", fix)
        return name.strip(), count

    def _choice(self, field: str, kind: Any, worst: Any) -> Any:
        said = self._text(field)
        if not said:
            return worst
        try:
            return kind(said)
        except ValueError as error:
            guess = nearest(said, [each.value for each in kind])
            fix = f'Did you mean "{guess}"?' if guess else f"One of: {', '.join(kind)}."
            raise self._bad(field, "is not known", fix) from error

    def _text(self, field: str) -> str:
        said = self._case.get(field)
        if said is None:
            return ""
        if not isinstance(said, str):
            raise self._bad(field, "is not text", "Write one word or name, in quotes.")
        return said.strip()

    def _words(self, field: str) -> list[str]:
        said = self._case.get(field)
        words = list(said) if isinstance(said, list | tuple | set) else [said]
        if any(word is not None and not isinstance(word, str) for word in words):
            raise self._bad(field, "is neither a word nor a list of words", _WORDS)
        return [word for word in words if word]

    def _day(self, field: str) -> date | None:
        said = self._case.get(field)
        if said in (None, ""):
            return None
        if isinstance(said, date):
            return said.date() if isinstance(said, datetime) else said
        try:
            return date.fromisoformat(said if isinstance(said, str) else "")
        except ValueError as error:
            raise self._bad(field, "is no day", "Write it as 2026-11-24.") from error

    def _bad(self, field: str, wrong: str, fix: str = "") -> BadInput:
        said = _shown(self._case.get(field))
        return BadInput(f"{field} = {said} {wrong}", where=self._where, fix=fix)


_WORDS = "Write a word, or a list of words."
_NUMBER = "Write it in figures, e.g. 800000000."


def _shown(value: Any) -> str:
    """A short form of any value, cycles and depths included."""
    if isinstance(value, str):
        return json.dumps(value[:60], ensure_ascii=False)
    return reprlib.repr(value)

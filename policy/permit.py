"""The proof of a decision. What could break a promise takes a Permit, and only `require` makes one.

    permit = require(decision, Action.COLLECT)     # PolicyDenied if it is not allowed
    Permit.must_be(permit, Action.COLLECT)         # the first line of every function that takes one

There is no flag, environment variable or subclass that makes one without a decision that allows it.
Its seal is a keyed digest (HMAC, RFC 2104) of the action and of the whole decision, under a key
that lives as long as the process: what is altered afterwards, on either, no longer fits the seal.
"""

import hmac
import operator
import secrets
import textwrap
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import NoReturn

from policy.decision import Decision, Reason
from policy.digest import digest
from policy.errors import BadInput, PolicyDenied
from policy.terms import Level

WIDTH = 100
REMEMBERED = 64  # seals whose decision was judged in this process


class Action(StrEnum):
    """What a permit is for; one made for another action does not serve."""

    COLLECT = "collect"
    FREEZE = "freeze"
    TRAIN = "train"
    PUBLISH = "publish"
    EVALUATE = "evaluate"


Parts = tuple[object, ...]


def _sealer() -> tuple[Callable[[Decision, Action], str], Callable[[Decision, Action, str], bool]]:
    """The one maker of seals, and the one judge. Its key cannot be reached by name, and it seals no
    denial. The judge computes a seal once; afterwards the very same values need no second look,
    since a permit is shown for every request that is sent."""
    key = secrets.token_bytes(32)
    judged: dict[str, Parts] = {}

    def seal(decision: Decision, action: Action) -> str:
        if not _allows(decision):
            raise PolicyDenied("this decision does not allow it", decision=decision)
        said = f"{Action(action)} {digest(decision.model_dump(mode='json', warnings=False))}"
        return hmac.new(key, said.encode(), "sha256").hexdigest()

    def fits(decision: Decision, action: Action, shown: str) -> bool:
        parts = _parts(decision, action)
        before = judged.get(shown, ())
        if len(parts) == len(before) and all(map(operator.is_, parts, before)):
            return True
        if not hmac.compare_digest(seal(decision, action), shown):
            return False
        if len(judged) >= REMEMBERED:
            judged.clear()
        judged[shown] = parts
        return True

    return seal, fits


_OF_DECISION = operator.itemgetter(*Decision.model_fields)
_OF_REASON = operator.itemgetter(*Reason.model_fields)


def _parts(decision: Decision, action: Action) -> Parts:
    """Every value of a decision, those of its reasons and caps too. None of them can change in
    place, so the same objects are the same decision."""
    values = [action, decision, *_OF_DECISION(decision.__dict__)]
    values += [*decision.caps.keys(), *decision.caps.values()]
    for reason in decision.reasons:
        values += _OF_REASON(reason.__dict__)
    return tuple(values)


_seal_of, _fits = _sealer()


class Permit:
    """A decision that allows an action. It cannot be made by hand, changed, copied or stored."""

    __slots__ = ("_action", "_decision", "_seal")
    _action: Action
    _decision: Decision
    _seal: str

    def __new__(cls, *arguments: object, **named: object) -> "Permit":
        raise TypeError("a Permit is made only by require(decision, action)")

    def __init_subclass__(cls, **named: object) -> NoReturn:
        raise TypeError("a Permit has no subclasses")

    @property
    def decision(self) -> Decision:
        """The whole decision."""
        return self._decision

    @property
    def action(self) -> Action:
        """What it permits."""
        return self._action

    @property
    def level(self) -> Level:
        """The level of the decision, ALLOW or ALLOW_WITH."""
        return self._decision.level

    @property
    def obligations(self) -> tuple[str, ...]:
        """Names of what must be done in return."""
        return self._decision.obligations

    @property
    def decision_digest(self) -> str:
        """The digest of the decision it is bound to."""
        return self._decision.digest

    def must_be(self, action: Action) -> None:
        """Refuse a permit for another action, one that `require` did not make, or one altered.

        Call it through the class, `Permit.must_be(permit, action)`: then nothing passes that has a
        method of this name and is no permit.
        """
        if type(self) is not Permit or not _is_sealed(self):
            raise PolicyDenied("this permit was not made by require(decision, action), or altered")
        if self._action != action:
            raise PolicyDenied(
                f"this permit is for {self._action}, not for {action}",
                fix=f"Require one for {action}.",
                decision=self._decision,
            )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Permit does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Permit does not change")

    def __copy__(self) -> "Permit":
        return self

    def __deepcopy__(self, memo: object) -> "Permit":
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Permit is not stored; keep the decision and require it again")

    def __repr__(self) -> str:
        return f"<Permit {self._action} {self.level.name} {self.decision_digest[:19]}>"


def require(decision: Decision, action: Action, *, alternatives: Iterable[str] = ()) -> Permit:
    """The only maker of permits; raises with the first reason where the level needs more."""
    if not _allows(decision):
        worst = decision.reasons[0]
        cited = f" ({worst.document}, {worst.clause})" if worst.clause else ""
        others = tuple(alternatives)
        allowed = f" Allowed here: {', '.join(others)}." if others else ""
        raise PolicyDenied(
            f"{action} is {decision.level.name} for {decision.purpose}: {worst.text}{cited}",
            where=decision.offering,
            fix=decision.fix + allowed,
            decision=decision,
            alternatives=others,
        )
    permit = object.__new__(Permit)
    object.__setattr__(permit, "_seal", _seal_of(decision, action))
    object.__setattr__(permit, "_action", Action(action))
    object.__setattr__(permit, "_decision", decision)
    return permit


def _allows(decision: Decision) -> bool:
    strictest = max((reason.level for reason in decision.reasons), default=Level.DENY)
    return max(decision.level, strictest) < Level.NEEDS_ACK


def _is_sealed(permit: Permit) -> bool:
    """Whether the seal fits what the permit holds now; a value that has no digest does not fit."""
    try:
        return _fits(permit._decision, permit._action, permit._seal)
    except (AttributeError, LookupError, TypeError, ValueError, BadInput, PolicyDenied):
        return False


def refusal(decision: Decision, alternatives: Iterable[str] = ()) -> str:
    """The screen for a person who has to understand it, a lawyer for example."""
    lines = [
        f"{decision.level.name}  {decision.offering}",
        "",
        *_wrapped("Asked", f"{decision.purpose}, distribution {decision.distribution}"),
        *_wrapped("On", decision.date),
        *_wrapped("Terms", decision.terms_pin or "none registered"),
        "",
        "Because",
    ]
    for number, reason in enumerate(decision.reasons, start=1):
        lines += _reason_lines(number, reason)
    if decision.obligations:
        lines += ["", *_wrapped("Duties", ", ".join(decision.obligations))]
    lines += ["", *_wrapped("Next", decision.fix or "Nothing is needed.")]
    if others := ", ".join(alternatives):
        lines += _wrapped("Or", f"ask a teacher whose terms allow this use: {others}")
    lines += ["", *_fill("These are facts from public documents, not legal advice.", "")]
    return "\n".join(lines) + "\n"


def _reason_lines(number: int, reason: Reason) -> Iterator[str]:
    source = ", ".join(part for part in (reason.clause, reason.document) if part)
    dated = f" ({reason.document_date})" if reason.document_date else ""
    head = (
        f"{reason.level.name}, {reason.offering}: {source}{dated}"
        if source
        else (f"{reason.level.name}, {reason.offering}: {reason.code}")
    )
    yield from _fill(head, f"  {number}. ")
    yield from _fill(reason.text, "     ")
    if reason.applies:
        yield from _fill(reason.applies, "     Here: ")
    if reason.lifted_by:
        yield from _fill(f"lowered by the record {reason.lifted_by}", "     ")
    if reason.address:
        yield f"     {reason.address}"


def _wrapped(label: str, text: str) -> list[str]:
    return _fill(text, f"{label:<8}")


def _fill(text: str, first: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )

"""Who must retrain, and how everything stands that was taken down."""

from collections.abc import Sequence

from synth.audits.answer import Answer
from synth.audits.basis import when
from synth.ledger import Ledger
from synth.takedown import Effect


def planned(effects: Sequence[Effect], words: str) -> Answer:
    """What a takedown reaches."""
    rows = [
        {"what": one.what, "name": one.name, "state": one.state, "rows": one.rows,
         "why": one.why, "digest": one.digest}
        for one in effects
    ]  # fmt: skip
    models = sum(one.what in ("run", "published") for one in effects)
    return Answer(
        f"What a takedown of {words} reaches",
        ("what", "name", "state", "rows", "why"),
        rows,
        (f"{models} students are reached; the log keeps who decided it and why",),
    )


def standing(ledger: Ledger) -> Answer:
    """The newest entry about each thing."""
    rows = [
        {"entry": seq, "what": what, "name": name, "state": state, "when": when(at), "by": by,
         "because": because, "digest": digest}
        for seq, what, name, digest, state, at, by, because in ledger.rows(
            "SELECT seq, what, name, digest, state, at_ms, said_by, because FROM standing"
            " ORDER BY seq"
        )
    ]  # fmt: skip
    return Answer(
        "What was taken down, by whom and why",
        ("what", "name", "state", "when", "by", "because"),
        rows,
    )

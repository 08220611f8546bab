"""What would change a decision: the file to write, who writes it, or the choice to make instead.

>>> record_file("permission", "aws-bedrock/nova")
'records/permission-aws-bedrock--nova.toml'
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from policy.clauses import Level

if TYPE_CHECKING:
    from policy.decision import Reason


def record_file(kind: str, offering: str) -> str:
    """Where the record that lifts a level lies in the user's project."""
    return f"records/{kind}-{offering.replace('/', '--')}.toml"


def fix_for(reasons: Sequence["Reason"], families: tuple[str, ...] | None) -> str:
    """What would change it, for exactly the reasons that set the level; the strictest is first."""
    level = reasons[0].level
    lines = dict.fromkeys(
        reason.fix or _fix_one(reason, families) for reason in reasons if reason.level == level
    )
    return " ".join(line for line in lines if line)


def _fix_one(reason: "Reason", families: tuple[str, ...] | None) -> str:
    offering = reason.offering
    if reason.level == Level.NEEDS_PERMISSION:
        return (
            f"Obtain the written permission of the provider of {offering} for this purpose and "
            f"distribution, and cite the document in {record_file('permission', offering)}; "
            "an acknowledgement does not suffice."
        )
    if reason.level == Level.NEEDS_ACK:
        return (
            f"A named person who may decide it records an acknowledgement, with scope, reason and "
            f"expiry, in {record_file('acknowledgement', offering)}."
        )
    if reason.level == Level.ALLOW_WITH:
        return "Meet the obligations before the result leaves you."
    return _fix_denial(reason, families) if reason.level == Level.DENY else ""


def _fix_denial(reason: "Reason", families: tuple[str, ...] | None) -> str:
    file = f"terms/{reason.offering.replace('/', '--')}.toml"
    match reason.code.value:
        case "no_reviewed_terms" | "silent":
            return f"Add a reviewed entry that cites your agreement, {file}, to your project."
        case "stale":
            return (
                f"Read {reason.document} again; put the entry, with the dates of that review, "
                f"into {file} of your project, or take a newer release."
            )
        case "no_student_base_satisfies_all" | "no_name_satisfies_all":
            return "Leave out one of these offerings."
        case "not_in_force":
            return "Use the terms that are in force today."
        case "student_family":
            allowed = ", ".join(families or ())
            return f"Set [use] student_base to one of: {allowed}." if allowed else ""
        case "served_model":
            return "Quarantine these rows, and pin the channel to one model and one provider."
        case _:
            return "Nothing lifts a denial: choose another teacher, or another purpose."

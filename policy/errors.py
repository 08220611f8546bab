"""Every way this program stops on purpose, each with its documented exit code.

    SpiritSafeError
    ├── BadInput            2   a file, key or value that cannot be used
    ├── PolicyDenied        3   the terms do not allow it (carries the decision)
    ├── BudgetReached       4   a cap on money, tokens or requests is reached
    ├── LedgerBroken        5   the ledger is not what it was when it was last closed
    └── VerificationFailed  5   a signature, digest or proof does not hold

An error says where it happened, what is wrong and what to do next, in one line:

    >>> str(BadInput('unknown key "epoch"', where="a.toml [training]", fix='Say "epochs".'))
    'a.toml [training]: unknown key "epoch". Say "epochs".'
"""

# ruff: noqa: N818  (the names say what happened; the tree above says that they are errors)

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the shell sees."""

    DONE = 0
    FINISHED_WITH_FAILURES = 1
    BAD_INPUT = 2
    DENIED = 3
    BUDGET = 4
    BROKEN = 5
    INTERRUPTED = 130


class SpiritSafeError(Exception):
    """The root: catch this at the front door and nowhere else."""

    exit_code: ClassVar[ExitCode] = ExitCode.FINISHED_WITH_FAILURES

    def __init__(self, message: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        line = f"{self.where}: {self.message}" if self.where else self.message
        if self.fix:
            line = f"{line.rstrip('.')}. {self.fix}"
        return " ".join(line.split())


class BadInput(SpiritSafeError):
    """A file, key or value that cannot be used."""

    exit_code = ExitCode.BAD_INPUT


class PolicyDenied(SpiritSafeError):
    """The terms do not allow it: `decision` says why, `alternatives` what would be allowed."""

    exit_code = ExitCode.DENIED

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        fix: str = "",
        decision: object | None = None,
        alternatives: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, where=where, fix=fix)
        self.decision = decision
        self.alternatives = alternatives


class BudgetReached(SpiritSafeError):
    """A cap that the project set is reached; nothing more is sent."""

    exit_code = ExitCode.BUDGET


class LedgerBroken(SpiritSafeError):
    """The ledger is not what it was when it was last closed."""

    exit_code = ExitCode.BROKEN


class VerificationFailed(SpiritSafeError):
    """A signature, digest or proof does not hold."""

    exit_code = ExitCode.BROKEN

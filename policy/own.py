"""Models that one serves oneself: open weights, and one's own students.

>>> is_own_server("qwen3@self-host"), is_own_server("student-of(deepseek-api)")
(True, True)
>>> student_offering("deepseek-api, qwen3@self-host")
'student-of(deepseek-api, qwen3@self-host)'
"""

STUDENT_OF = "student-of("
SELF_HOST = "@self-host"


def is_own_server(offering: str) -> bool:
    """Whether no provider stands behind it: no price, no host and no key of anybody else."""
    return offering.endswith(SELF_HOST) or offering.startswith(STUDENT_OF)


def student_offering(teachers: str) -> str:
    """The offering that a student is when it teaches: what binds its teachers binds its answers.
    `teachers` is what a joined decision calls its offering, its student's base included."""
    return f"{STUDENT_OF}{teachers})"

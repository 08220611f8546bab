"""Progress is plain lines where nobody watches, and a model's words are never markup."""

import io
import re
from contextlib import suppress

import pytest
from rich.console import Console

from synth.display import PLAIN_SECONDS, Display
from tests.synth.parts import Time

HOSTILE = "[red]alarm[/red] [link=http://evil.test]x[/link] [/nonsense] \\[bold]"


def display(time_: Time, *, terminal: bool = False) -> tuple[Display, io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120)
    return Display(console, time_), file


def test_off_a_terminal_a_step_ends_in_one_plain_line(time_: Time) -> None:
    shown, file = display(time_)
    with shown.step("collect", 10) as step:
        for _ in range(10):
            time_.now += 0.1
            step.advance(1, "3 kept, $0.10")
    assert file.getvalue() == "collect: 10/10 in 1 s (10.0/s), 3 kept, $0.10\n"


def test_a_long_step_says_now_and_then_how_far_it_is(time_: Time) -> None:
    shown, file = display(time_)
    with shown.step("collect", 100) as step:
        for _ in range(100):
            time_.now += 0.3
            step.advance()
    lines = file.getvalue().splitlines()
    assert 30 / PLAIN_SECONDS - 1 <= len(lines) <= 30 / PLAIN_SECONDS + 1
    assert re.fullmatch(r"collect: 17/100 in 5 s \(3\.3/s\), about 25 s left", lines[0])


def test_a_step_that_fails_still_says_how_far_it_came(time_: Time) -> None:
    shown, file = display(time_)
    with suppress(ValueError), shown.step("collect", 9) as step:
        step.advance(4)
        raise ValueError
    assert file.getvalue().startswith("collect: 4/9")


def test_nothing_done_and_no_total_is_no_division_by_zero(time_: Time) -> None:
    shown, file = display(time_)
    with shown.step("train", 0) as step:
        step.reach(2, 0)
    assert file.getvalue().startswith("train: 2 in 0 s")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_model_s_words_are_text(time_: Time, *, terminal: bool) -> None:
    shown, file = display(time_, terminal=terminal)
    shown.say(HOSTILE)
    assert file.getvalue().rstrip("\n") == HOSTILE


def test_a_model_s_control_characters_do_not_reach_the_terminal(time_: Time) -> None:
    shown, file = display(time_, terminal=True)
    shown.say("a\x1b[2Jb\x07c\x9bd\u202ee\rf")
    assert not set("\x1b\x07\x9b\u202e\r") & set(file.getvalue())


def test_a_note_is_text_too(time_: Time) -> None:
    shown, file = display(time_, terminal=True)
    with shown.step("[bold]collect", 1) as step:
        step.advance(1, "[red]note")
    assert "[bold]collect" in file.getvalue()
    assert "[red]note" in file.getvalue()


def test_a_line_is_not_broken_in_a_pipe(time_: Time) -> None:
    shown, file = display(time_)
    shown.say("word " * 60)
    assert file.getvalue().count("\n") == 1


@pytest.mark.parametrize("terminal", [False, True])
def test_details_are_asked_when_drawn_and_not_for_every_unit(
    time_: Time, *, terminal: bool
) -> None:
    asked = 0

    def details() -> list[str]:
        nonlocal asked
        asked += 1
        return ["3 kept", HOSTILE + "\x1b[2J"]

    shown, file = display(time_, terminal=terminal)
    with shown.step("collect", 5000, details) as step:
        for _ in range(5000):
            step.advance()
    assert 0 < asked < 500
    assert "3 kept" in file.getvalue()
    assert "[red]alarm[/red]" in file.getvalue()
    assert "\x1b[2J" not in file.getvalue()

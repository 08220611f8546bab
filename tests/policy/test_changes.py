from datetime import date

from policy.changes import diff
from policy.terms import Register, Terms

TODAY = date(2026, 11, 24)


def versions(register: Register, offering: str) -> tuple[Terms, Terms]:
    new, old = register.history(offering)[:2]
    return old, new


def test_what_changed_is_told_by_clause_and_by_level(register: Register) -> None:
    changes = diff(*versions(register, "aws-bedrock/nova"))
    assert ("clause changed", "50.5") in {(each.kind, each.name) for each in changes}
    raised = {each.name: each for each in changes if each.kind == "level raised"}
    change = raised["research_noncommercial, internal_only"]
    assert (change.before, change.after) == ("NEEDS_ACK", "NEEDS_PERMISSION")
    assert "NEEDS_ACK -> NEEDS_PERMISSION" in change.text


def test_terms_move_in_both_directions(register: Register) -> None:
    new, old = register.history("mistral-api")[0], register.history("mistral-api")[-1]
    kinds = {each.kind for each in diff(old, new)}
    assert {"level lowered", "clause added", "clause removed", "obligation added"} <= kinds
    assert {each.kind for each in diff(new, old)} >= {"level raised", "obligation removed"}


def test_an_entry_does_not_differ_from_itself(register: Register) -> None:
    assert [each for terms in register.all() for each in diff(terms, terms)] == []


def test_the_same_text_in_other_words_is_no_change(register: Register) -> None:
    terms = register.find("openai-api", TODAY)
    assert terms
    words = terms.clauses[0].model_copy(update={"paraphrase": "The same said otherwise here."})
    other = terms.model_copy(update={"clauses": (words, *terms.clauses[1:])})
    assert other.pin != terms.pin
    assert diff(terms, other) == ()

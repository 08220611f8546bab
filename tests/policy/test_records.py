import re
import tomllib
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from policy.config import parse
from policy.decide import Decision, decide, decide_offering
from policy.digest import sha256
from policy.errors import BadInput
from policy.fixes import record_file
from policy.permit import Action, require
from policy.records import (
    LONGEST,
    Kind,
    Record,
    due,
    read_record,
    read_records,
    record_text,
    write_record,
)
from policy.terms import Level, Register
from policy.use import Distribution, Purpose, Use

TODAY = date(2026, 11, 24)
S = Purpose.TRAIN_SPECIALIST_GENERATIVE
USE = Use(purpose=S, distribution=Distribution.INTERNAL_ONLY, organisation="Acme")


def values(**changes: Any) -> dict[str, Any]:
    data = {
        "kind": "acknowledgement",
        "offering": "openai-api",
        "by": "Ada Lovelace",
        "role": "general counsel",
        "organisation": "Acme",
        "on": date(2026, 11, 1),
        "expires": date(2027, 1, 31),
        "purposes": ["train_specialist_generative"],
        "distributions": ["internal_only"],
        "reason": 'It answers our own staff "only" and competes with nobody.',
        "document": "Counsel's note 17",
        "document_sha256": sha256(b"note 17"),
    }
    return {key: value for key, value in (data | changes).items() if value is not None}


def record(**changes: Any) -> Record:
    return parse(Record, values(**changes), where="records/x.toml")


def ask(
    register: Register, *records: Record, offering: str = "openai-api", **changes: Any
) -> Decision:
    use = USE.model_copy(update=changes)
    terms = register.find(offering, TODAY)
    return decide(use, terms, TODAY, offering=offering, records=records)


def test_an_acknowledgement_lifts_what_needs_one(register: Register) -> None:
    given = record()
    decision = ask(register, given)
    assert ask(register).level == Level.NEEDS_ACK
    assert decision.level == Level.ALLOW
    assert decision.records == (given.digest,)
    assert [reason.lifted_by for reason in decision.reasons] == [given.digest]
    assert require(decision, Action.TRAIN).level == Level.ALLOW


def test_what_is_lifted_keeps_its_duties(register: Register) -> None:
    given = record(kind="permission", offering="xai-enterprise")
    decision = ask(register, given, offering="xai-enterprise")
    assert decision.level == Level.ALLOW_WITH
    assert "xai_keep_provenance" in decision.obligations


@pytest.mark.parametrize(
    "changes",
    [
        {"expires": date(2026, 11, 23)},
        {"on": date(2026, 11, 25)},
        {"offering": "gemini-api"},
        {"offering": "openai-api@2020-01-01"},
        {"organisation": "Another"},
        {"purposes": ["evaluate"]},
        {"distributions": ["weights_public"]},
        {"terms_pin": sha256(b"another version of the entry")},
        {"kind": "permission"},
        {"kind": "attestation"},
    ],
    ids=str,
)
def test_a_record_that_does_not_fit_is_none(register: Register, changes: dict[str, Any]) -> None:
    assert ask(register, record(**changes)) == ask(register)


@pytest.mark.parametrize("kind", ["acknowledgement", "permission"])
def test_nothing_lifts_a_denial(register: Register, kind: str) -> None:
    whole = record(kind=kind, purposes=list(Purpose), distributions=list(Distribution))
    use = {"purpose": Purpose.TRAIN_COMPETING_GENERAL}
    assert ask(register, whole, **use).level == Level.DENY
    assert ask(register, whole, **use).records == ()


def test_an_acknowledgement_never_lifts_what_needs_permission(register: Register) -> None:
    given = record(offering="anthropic-api")
    assert ask(register, given, offering="anthropic-api").level == Level.NEEDS_PERMISSION
    given = record(offering="anthropic-api", kind="permission")
    assert ask(register, given, offering="anthropic-api").level == Level.ALLOW


def test_a_dataset_for_everybody_needs_that_in_the_scope_too(register: Register) -> None:
    public = {"distribution": Distribution.DATASET_PUBLIC}
    narrow = record(distributions=["dataset_public"])
    wide = record(distributions=["dataset_public"], purposes=[S, "publish_dataset"])
    assert ask(register, narrow, **public).level == Level.NEEDS_ACK
    assert ask(register, wide, **public).level == Level.ALLOW


def test_a_record_of_the_entry_as_it_was_read_holds_while_it_stands(register: Register) -> None:
    terms = register.find("openai-api", TODAY)
    assert terms
    assert ask(register, record(terms_pin=terms.pin)).level == Level.ALLOW


def test_a_record_reaches_the_part_of_a_chain_that_it_is_about(register: Register) -> None:
    given = record(kind="permission", offering="aws-bedrock")
    decision = decide_offering(USE, register, "qwen3@aws-bedrock", TODAY, records=[given])
    assert decision.level == Level.ALLOW_WITH
    assert decision.records == (given.digest,)


def test_what_is_written_is_read_back_under_the_name_that_refusals_print(tmp_path: Path) -> None:
    given = record()
    path = write_record(tmp_path, given)
    assert path == tmp_path / record_file("acknowledgement", "openai-api")
    assert path.name == "acknowledgement-openai-api.toml"
    assert read_records(tmp_path) == (given,)
    assert read_records(tmp_path / "elsewhere") == ()


def test_the_text_is_canonical_toml() -> None:
    text = record_text(record())
    assert tomllib.loads(text)["reason"] == values()["reason"]
    assert text == record_text(parse(Record, tomllib.loads(text), where=""))
    assert "terms_pin" not in text


def test_a_record_is_not_written_over_by_accident(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    with pytest.raises(BadInput, match=r"there is such a record already\. Renew it"):
        write_record(tmp_path, record())
    write_record(tmp_path, record(by="Grace Hopper"), replace=True)
    assert read_records(tmp_path)[0].by == "Grace Hopper"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"by": None}, 'the key "by" is missing. Add "by".'),
        ({"by": " "}, 'by = " " names no person. Write the name of who says so.'),
        ({"on": "yesterday"}, 'on = "yesterday" cannot be used. Write a day, e.g. 2026-11-24.'),
        ({"expires": None}, 'the key "expires" is missing. Add "expires".'),
        (
            {"purposes": ["evalute"]},
            'purposes[1] = "evalute" cannot be used. Did you mean "evaluate"?',
        ),
        ({"reason": "ok"}, 'reason = "ok" cannot be used. Expected: Why, in a sentence'),
        ({"terms_pin": "abc"}, 'terms_pin = "abc" cannot be used. Expected: The entry it was'),
        (
            {"kind": "attestation", "expires": date(2028, 11, 1)},
            "expires = 2028-11-01 is too late: an attestation lasts 366 days at most",
        ),
        ({"kind": "waiver"}, 'kind = "waiver" cannot be used'),
        (
            {"purposes": []},
            "purposes = () is no scope, and a record of kind acknowledgement has one",
        ),
        ({"expires": date(2020, 1, 1)}, "expires = 2020-01-01 lies before on"),
        ({"expires": date(2026, 11, 1) + LONGEST + timedelta(1)}, "lasts 366 days at most"),
        ({"document_sha256": "17"}, 'document_sha256 = "17" cannot be used'),
        ({"kind": "acceptance"}, "an acceptance says how, and of which terms_pin"),
        ({"expiry": "2027"}, 'unknown key "expiry" (value "2027"). Did you mean "expires"?'),
    ],
)
def test_a_record_that_is_not_whole_is_refused_in_one_line(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        record(**changes)
    line = str(caught.value)
    assert line.startswith("records/x.toml: ")
    assert said in line
    assert "\n" not in line


def test_a_record_under_another_name_contradicts_itself(tmp_path: Path) -> None:
    path = tmp_path / "acknowledgement-gemini-api.toml"
    path.write_text(record_text(record()))
    with pytest.raises(BadInput, match="do not fit the file name"):
        read_record(path)


def test_the_document_that_is_cited_must_be_the_one_that_lies_there(tmp_path: Path) -> None:
    path = write_record(tmp_path, record(document_file="note.txt"))
    (path.parent / "note.txt").write_bytes(b"note 17")
    assert read_record(path).document == "Counsel's note 17"
    (path.parent / "note.txt").write_bytes(b"another note")
    with pytest.raises(BadInput, match=re.escape("is not that of note.txt")):
        read_record(path)


def test_what_ends_soon_is_listed_the_most_urgent_first(register: Register) -> None:
    soon, later = record(expires=date(2026, 11, 20)), record(expires=date(2027, 6, 1))
    terms = register.find("openai-api", TODAY)
    assert terms
    found = due([later, soon], [terms], TODAY, timedelta(days=100))
    assert [(each.kind, each.days) for each in found] == [("acknowledgement", -4), ("review", 90)]
    assert "Ada Lovelace renews records/acknowledgement-openai-api.toml" in found[0].fix
    assert due([later], [terms], TODAY, timedelta(days=30)) == []


def test_an_acceptance_pins_what_was_accepted() -> None:
    given = record(kind="acceptance", how="order_form", terms_pin=sha256(b"entry"), purposes=[])
    assert given.kind == Kind.ACCEPTANCE


def test_a_record_about_what_is_not_registered_is_refused(
    tmp_path: Path, register: Register
) -> None:
    """It would lift nothing, while somebody relies on it."""
    write_record(tmp_path, record(offering="opnai-api"))
    assert len(read_records(tmp_path)) == 1
    with pytest.raises(BadInput, match=r'"opnai-api" is not in .* mean "openai-api"'):
        read_records(tmp_path, register)


def test_a_record_about_no_version_is_refused(tmp_path: Path, register: Register) -> None:
    write_record(tmp_path, record(offering="openai-api@2020-01-01"))
    with pytest.raises(BadInput, match=r"names a version .* There are: 2026-01-01, 2025-05-31"):
        read_records(tmp_path, register)

"""Every dialect on golden bodies: what goes out, what comes back, what an error proves, and that no
bytes at all can crash a parser."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import BadInput
from synth.client import classify_status
from synth.error_bodies import read_error
from synth.project import load
from synth.teachers import ADAPTERS
from synth.wire import Completion, Failure, OutcomeClass
from tests import golden
from tests.synth.parts import project, sampling

REQUESTS = [(dialect, case) for dialect in golden.DIALECTS for case in golden.requests(dialect)]
REPLIES = [(dialect, case) for dialect in golden.DIALECTS for case in golden.replies(dialect)]
NOW = 1_795_500_000.0


def named(cases: list[Any]) -> list[str]:
    return [f"{one[0]}: {one[1]['name']}" if isinstance(one, tuple) else one["name"]
            for one in cases]  # fmt: skip


@pytest.mark.parametrize(("dialect", "case"), REQUESTS, ids=named(REQUESTS))
def test_a_request_is_word_for_word_the_golden_one(dialect: str, case: dict[str, Any]) -> None:
    teacher, wanted, messages, sample = golden.parts(case, dialect)
    adapter = ADAPTERS[teacher.adapter]
    expected = case["body"]
    if expected.get("messages") == "as given":
        expected = {**expected, "messages": list(messages)}
    body = adapter.build(teacher, wanted, messages, sample)
    assert body == expected
    assert adapter.path(teacher) == case["path"]
    assert adapter.lacks(teacher, wanted) is None


@pytest.mark.parametrize(("dialect", "case"), REPLIES, ids=named(REPLIES))
def test_a_reply_is_read_as_it_means(dialect: str, case: dict[str, Any]) -> None:
    found = parse(dialect, case["body"], case)
    if "failure" in case:
        assert isinstance(found, Failure), found
        assert (found.outcome, found.kind) == (OutcomeClass.BILLED_BAD, case["failure"]["kind"])
        billed = found.usage.prompt_tokens if found.usage else None
        assert billed == case["failure"].get("prompt_tokens")
        return
    assert isinstance(found, Completion), found
    read = shown(found)
    wanted = case["expect"]
    for name, value in wanted.items():
        if isinstance(value, dict):
            assert {key: read[name][key] for key in value} == value
        else:
            assert read[name] == value, name


def parse(dialect: str, body: Any, case: dict[str, Any]) -> Completion | Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    wanted = sampling(**case.get("sampling", {}))
    return ADAPTERS[dialect].parse(raw, wanted, case.get("headers", {}))


def shown(found: Completion) -> dict[str, Any]:
    """A completion as JSON would show it."""
    signal = found.logprobs
    plain = dataclasses.asdict(found)
    plain["tool_calls"] = json.loads(found.tool_calls) if found.tool_calls else []
    plain["ignored"] = list(found.ignored)
    plain["logprobs"] = {
        "token_bytes": [token.decode() for token in signal.token_bytes],
        "token_logprobs": list(signal.token_logprobs),
        "token_ids": list(signal.token_ids),
        "top_bytes": [[top.decode() for top in tops] for tops in signal.top_bytes],
        "top_logprobs": [list(tops) for tops in signal.top_logprobs],
        "top_ids": [list(ids) for ids in signal.top_ids],
    }
    return plain


@pytest.mark.parametrize("case", golden.errors(), ids=named(golden.errors()))
def test_an_error_proves_what_it_proves(case: dict[str, Any]) -> None:
    body = case["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    found = dataclasses.asdict(classify_status(case["status"], raw, case.get("headers", {}), NOW))
    assert {name: found[name] for name in case["expect"]} == case["expect"]


@given(raw=st.binary(max_size=300))
def test_any_bytes_of_an_error_give_one_failure(raw: bytes) -> None:
    assert isinstance(classify_status(400, raw, {}, NOW), Failure)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_json_anywhere_in_an_error_gives_one_too(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from([one for one in golden.errors() if one["body"] != ""]))
    body = spoilt(case["body"], data)
    found = read_error(json.dumps(body).encode())
    assert found.code.encode() + found.message.encode() is not None


@pytest.mark.parametrize("dialect", golden.DIALECTS)
@given(raw=st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_give_a_completion_or_a_failure(dialect: str, raw: bytes) -> None:
    found = parse(dialect, raw, {"sampling": {"logprobs": 2}})
    assert isinstance(found, Completion | Failure)


@pytest.mark.parametrize("dialect", golden.DIALECTS)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_json_anywhere_gives_one_too(dialect: str, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(golden.replies(dialect)))
    found = parse(
        dialect,
        spoilt(case["body"], data),
        {"sampling": {"logprobs": 2, "schema": {"type": "object"}}},
    )
    assert isinstance(found, Completion | Failure)
    texts = dataclasses.astuple(found)
    assert all(text.encode() is not None for text in texts if isinstance(text, str))
    assert "\0" not in str(getattr(found, "served_model", ""))


def spoilt(body: Any, data: st.DataObject) -> Any:
    """The body with one value anywhere replaced by any other."""
    copied = json.loads(json.dumps(body))
    places = list(spots(copied))
    if places:
        holder, key = data.draw(st.sampled_from(places))
        holder[key] = data.draw(JSON)
    return copied


def spots(value: Any) -> Any:
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in list(keys):
        yield value, key
        yield from spots(value[key])


@pytest.mark.parametrize("dialect", golden.DIALECTS)
def test_no_depth_of_nesting_crashes_it(dialect: str) -> None:
    whole = json.dumps(golden.replies(dialect)[0]["body"])
    names = {key for _, key in spots(json.loads(whole)) if isinstance(key, str)}
    for name in sorted(names):
        for depth in (150, 400, 900, 3000):
            deep = whole.replace(f'"{name}": ', f'"{name}": {"[" * depth}{"]" * depth}, "x": ')
            assert isinstance(parse(dialect, deep.encode(), {}), Completion | Failure)


@pytest.mark.parametrize("dialect", golden.DIALECTS)
def test_blank_lines_that_keep_a_connection_alive_are_not_the_answer(dialect: str) -> None:
    body = b"\n\n  \r\n" + json.dumps(golden.replies(dialect)[0]["body"]).encode()
    assert isinstance(parse(dialect, body, golden.replies(dialect)[0]), Completion)


@pytest.mark.parametrize("dialect", golden.DIALECTS)
def test_a_lone_surrogate_is_repaired_and_said(dialect: str) -> None:
    case = golden.replies(dialect)[0]
    word = case["expect"]["text"].split()[0].rstrip(".")
    body = json.dumps(case["body"]).replace(f'"{word}', '"\\ud800 ' + word)
    found = parse(dialect, body.encode(), case)
    assert isinstance(found, Completion)
    assert found.repaired
    assert found.text.startswith("\ufffd")


@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        ("openai", {"authorization": "Bearer sk-1"}),
        ("responses", {"authorization": "Bearer sk-1"}),
        ("local", {"authorization": "Bearer sk-1"}),
        ("azure", {"api-key": "sk-1"}),
        ("anthropic", {"x-api-key": "sk-1", "anthropic-version": "2023-06-01"}),
        ("gemini", {"x-goog-api-key": "sk-1"}),
    ],
)
def test_the_key_goes_out_in_the_dialect_s_own_header(
    adapter: str, expected: dict[str, str]
) -> None:
    assert dict(ADAPTERS[adapter].credentials("sk-1")) == expected


def test_an_access_token_of_google_is_a_bearer_token() -> None:
    assert ADAPTERS["gemini"].credentials("ya29.x") == (("authorization", "Bearer ya29.x"),)


HOSTED = {"offering": "anthropic-api", "base_url": "https://api.anthropic.com", "model": "m"}


@pytest.mark.parametrize(
    ("teacher", "settings", "says"),
    [
        ({"adapter": "anthropic"}, {"logprobs": 5}, "logprobs = 5.*no token prob.*remove"),
        ({"adapter": "anthropic"}, {"seed": 7}, "seed = 7.*no seed.*remove"),
        ({"adapter": "anthropic"}, {"temperature": 1.5}, "temperature = 1.5.*stops at 1.0"),
        ({"adapter": "anthropic"}, {"temperature": 0.5, "top_p": 0.5}, "temperature or top_p"),
        ({"adapter": "anthropic"}, {"schema": {"type": "object"}, "response_format": "json_object"},
         "json_object.*json_schema or none"),
        ({"adapter": "responses", "offering": "openai-api"}, {"seed": 7}, "seed = 7.*no seed"),
        ({"adapter": "azure", "offering": "azure-openai"}, {}, "api_version.*dated version"),
        ({"adapter": "openai", "offering": "groq"}, {"logprobs": 1}, "groq has no token prob"),
        ({"adapter": "gemini", "offering": "gemini-api"},
         {"extra": {"generationConfig": {"candidateCount": 4}}}, "candidateCount.*use samples"),
    ],
)  # fmt: skip
def test_a_setting_that_a_dialect_lacks_is_refused_where_it_stands(
    tmp_path: Any, teacher: dict[str, Any], settings: dict[str, Any], says: str
) -> None:
    path = project(tmp_path, "", teacher={**HOSTED, **teacher}, sampling=settings)
    with pytest.raises(BadInput, match=says) as raised:
        load(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("adapter", ["openai", "responses", "anthropic", "gemini"])
def test_at_home_one_project_file_loads_in_every_dialect(tmp_path: Any, adapter: str) -> None:
    path = project(tmp_path, "http://127.0.0.1:9/v1", sampling={"logprobs": 5, "seed": 7})
    assert load(path, [f"teacher.adapter={adapter}"]).sections.teacher.adapter == adapter

"""What a 200 means, on golden bodies of real servers, and that no bytes at all can crash it.

The bodies follow the OpenAI API reference (openapi.yaml, 2026-11), DeepSeek's "Create Chat
Completion" page and OpenRouter's "Errors" and "Reasoning tokens" pages.
"""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.teachers.openai import build, parse
from synth.wire import Completion, Failure, OutcomeClass
from tests.synth.parts import sampling, teacher

OPENAI: dict[str, Any] = {
    "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
    "object": "chat.completion",
    "created": 1741570283,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi é", "refusal": None, "annotations": []},
            "logprobs": {
                "content": [
                    {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": [
                        {"token": "Hi", "logprob": -0.25, "bytes": [72, 105]},
                        {"token": "Yo", "logprob": -1.5, "bytes": [89, 111]}]},
                    {"token": " \\xc3", "logprob": -9999.0, "bytes": [32, 195], "top_logprobs": [
                        {"token": "!", "logprob": -0.5, "bytes": [33]},
                        {"token": "?", "logprob": -9999.0, "bytes": [63]}]},
                    {"token": "\\xa9", "logprob": 0.0, "bytes": [169], "top_logprobs": []},
                ],
                "refusal": None,
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 1117,
        "completion_tokens": 46,
        "total_tokens": 1163,
        "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 0},
    },
    "service_tier": "default",
    "system_fingerprint": "fp_fc9f1d7035",
}  # fmt: skip
DEEPSEEK: dict[str, Any] = {
    "id": "930c60df-bf64-41c9-a88e-3ec75f81e00e",
    "model": "deepseek-reasoner",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {
        "role": "assistant", "content": "9.8", "reasoning_content": "Compare the digits."}}],
    "usage": {"prompt_tokens": 16, "completion_tokens": 10, "total_tokens": 26,
              "prompt_cache_hit_tokens": 12, "prompt_cache_miss_tokens": 4,
              "completion_tokens_details": {"reasoning_tokens": 5}},
}  # fmt: skip


def read(body: Any, **wanted: Any) -> Completion | Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(raw, sampling(**wanted), {})


def answered(body: Any, **wanted: Any) -> Completion:
    found = read(body, **wanted)
    assert isinstance(found, Completion), found
    return found


def failed(body: Any) -> Failure:
    found = read(body)
    assert isinstance(found, Failure), found
    assert found.outcome is OutcomeClass.BILLED_BAD
    assert (found.retry, found.fatal) == (False, False)
    return found


def with_message(**message: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
    return {"model": "m", "choices": [choice],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2}}  # fmt: skip


def test_an_openai_reply_is_read_whole() -> None:
    found = answered(OPENAI, logprobs=2)
    assert (found.text, found.finish_reason, found.served_model) == (
        "Hi é", "stop", "gpt-4o-2024-08-06")  # fmt: skip
    usage = found.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (1117, 46)
    assert (usage.cached_tokens, usage.reasoning_tokens) == (1024, 7)
    assert (found.fingerprint, found.service_tier) == ("fp_fc9f1d7035", "default")
    assert found.ignored == ()


def test_tokens_are_bytes_and_the_sentinel_is_no_candidate() -> None:
    signal = answered(OPENAI, logprobs=2).logprobs
    assert b"".join(signal.token_bytes).decode() == "Hi é"
    assert signal.top_bytes == ((b"Hi", b"Yo"), (b"!",), ())
    assert signal.top_logprobs == ((-0.25, -1.5), (-0.5,), ())


def test_deepseek_reasons_beside_its_answer_and_counts_its_cache() -> None:
    found = answered(DEEPSEEK)
    assert (found.text, found.reasoning) == ("9.8", "Compare the digits.")
    assert (found.usage.cached_tokens, found.usage.reasoning_tokens) == (12, 5)


def test_openrouter_reasons_in_a_field_of_its_own() -> None:
    found = answered(with_message(content="4", reasoning="Two and two."))
    assert (found.text, found.reasoning) == ("4", "Two and two.")


def test_inline_thought_is_reasoning_not_answer() -> None:
    found = answered(with_message(content="\n<think>\nHmm.\n</think>\n\n4"))
    assert (found.text, found.reasoning) == ("4", "Hmm.")


def test_thought_that_does_not_close_stays_for_the_filter() -> None:
    assert answered(with_message(content="<think>Hmm. 4")).text == "<think>Hmm. 4"


def test_a_refusal_and_a_tool_call_are_answers_without_text() -> None:
    assert answered(with_message(content=None, refusal="I can't.")).refusal == "I can't."
    tool = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert json.loads(answered(with_message(content=None, tool_calls=[tool])).tool_calls) == [tool]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"message": "overloaded", "code": 502}}, "error_in_200"),
        ({**OPENAI, "error": {"code": 429, "message": "later"}}, "error_in_200"),
        ({**OPENAI, "choices": []}, "no_choices"),
        ({**OPENAI, "choices": None}, "no_choices"),
        ({**OPENAI, "choices": [None]}, "no_choices"),
        ({**OPENAI, "choices": [{"index": 0, "message": None}]}, "no_choices"),
        ({}, "no_choices"),
        ([], "bad_shape"),
        (b"7", "bad_shape"),
        (b"", "bad_json"),
        (b'{"choices": [{"message": {"content": "cut', "bad_json"),
        (b"<!doctype html><title>Sign in</title>", "html"),
        (b"  <html>", "html"),
        (b'{"usage": NaN}', "bad_json"),
        (b'{"usage": -Infinity}', "bad_json"),
        (b"[" * 200_000, "bad_json"),
        (b'{"usage": ' + b"9" * 5000 + b"}", "bad_json"),
        (b'{"choices":[{"message":{"content":"caf\xe9"}}]}', "bad_utf8"),
        (with_message(content=""), "empty"),
        (with_message(content=None), "empty"),
        (with_message(content=["parts"]), "empty"),
        (with_message(content="a\0b"), "nul_in_text"),
    ],
)
def test_what_cannot_be_used_was_perhaps_paid(body: Any, kind: str) -> None:
    found = failed(body)
    assert found.kind == kind
    assert found.status == 200


def test_an_unusable_answer_is_still_settled_by_its_usage() -> None:
    found = failed({**OPENAI, "choices": []})
    assert found.usage is not None
    assert found.usage.prompt_tokens == 1117
    assert found.served_model == "gpt-4o-2024-08-06"


def test_a_lone_surrogate_is_repaired_and_said() -> None:
    found = answered(b'{"choices":[{"message":{"content":"a\\ud800b \\ud83d\\ude00"}}]}')
    assert (found.text, found.repaired) == ("a\ufffdb \U0001f600", True)


@pytest.mark.parametrize("where", ["model", "id", "system_fingerprint", "service_tier"])
def test_a_lone_surrogate_reaches_no_column(where: str) -> None:
    body = json.dumps({**with_message(content="a", tool_calls=[{"id": "\ud800"}]), where: "\ud800"})
    found = answered(body.encode())
    texts = (found.served_model, found.fingerprint, found.service_tier, found.finish_reason,
             found.provider_request_id, found.tool_calls)  # fmt: skip
    assert "".join(texts).encode()


@pytest.mark.parametrize(
    "usage",
    [
        None, {}, [], "many",
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 10**30, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": None},
    ],
)  # fmt: skip
def test_usage_that_cannot_be_believed_is_none(usage: Any) -> None:
    assert answered({**OPENAI, "usage": usage}).usage.estimated


def test_a_part_that_cannot_be_believed_counts_as_zero() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "prompt_cache_hit_tokens": -3}
    assert answered({**OPENAI, "usage": usage}).usage.cached_tokens == 0


@pytest.mark.parametrize(
    "entry",
    [
        {"token": "Hi"},
        {"token": "Hi", "logprob": 0.5},
        {"token": "Hi", "logprob": "x"},
        {"token": "Hi", "logprob": -(10**400)},
        {"token": "\ud800", "logprob": -1},
        {"token": "Hi", "logprob": -1, "bytes": 10**10},
        {"token": "Hi", "logprob": -1, "bytes": [300]},
        {"token": "Hi", "logprob": -1, "top_logprobs": 3},
        "Hi",
        None,
    ],
)
def test_one_malformed_token_and_the_row_has_no_signal(entry: Any) -> None:
    body = with_message(content="Hi")
    body["choices"][0]["logprobs"] = {"content": [entry]}
    found = answered(body, logprobs=1)
    assert found.logprobs.token_bytes == ()
    assert found.ignored == ("logprobs",)


def test_what_the_server_did_not_do_is_named() -> None:
    schema = {"type": "object", "required": ["intent"]}
    found = answered(with_message(content="No JSON"), logprobs=5, schema=schema)
    assert found.ignored == ("logprobs", "response_format")


def test_json_that_was_cut_off_is_not_the_server_s_fault() -> None:
    body = with_message(content='{"intent": "lo')
    body["choices"][0]["finish_reason"] = "length"
    assert answered(body, schema={"type": "object"}).ignored == ()


def test_the_body_asks_for_what_the_project_says() -> None:
    wanted = sampling(logprobs=5, seed=3, schema={"type": "object"}, extra={"service_tier": "flex"})
    body = build(teacher(), wanted, ({"role": "user", "content": "Hi"},), 2)
    assert (body["seed"], body["top_logprobs"], body["service_tier"]) == (5, 5, "flex")
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "n" not in body


@pytest.mark.parametrize("field", ["error", "tool_calls", "content", "usage"])
def test_no_depth_of_nesting_crashes_it(field: str) -> None:
    body = json.dumps(with_message(content="a", tool_calls="[]") | {"error": 0, "usage": 0})
    for depth in range(100, 1100, 10):
        deep = "[" * depth + "]" * depth
        found = read(body.replace(f'"{field}": 0', f'"{field}": {deep}').replace(
            f'"{field}": "', f'"{field}": {deep}, "x": "').encode())  # fmt: skip
        assert isinstance(found, Completion | Failure)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = ("message", "content", "logprobs", "usage", "prompt_tokens", "finish_reason", "model",
          "tool_calls", "refusal", "reasoning", "top_logprobs", "bytes", "token",
          "logprob")  # fmt: skip


@given(raw=st.binary(max_size=200))
def test_any_bytes_give_a_completion_or_a_failure(raw: bytes) -> None:
    assert isinstance(read(raw, logprobs=2), Completion | Failure)


@given(data=st.data(), field=st.sampled_from(FIELDS), value=JSON)
@settings(max_examples=300, deadline=None)
def test_any_json_anywhere_gives_one_too(data: st.DataObject, field: str, value: Any) -> None:
    body = json.loads(json.dumps(OPENAI))
    for place in _places(body, field):
        place[field] = value
    found = read(json.dumps(body).encode(), logprobs=2, schema={"type": "object"})
    assert isinstance(found, Completion | Failure)
    if isinstance(found, Completion):
        assert found.text.encode() or found.refusal.encode() or found.tool_calls.encode()


def _places(value: Any, field: str) -> list[dict[str, Any]]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [value] if isinstance(value, dict) and field in value else []
    return own + [place for one in list(inner) for place in _places(one, field)]

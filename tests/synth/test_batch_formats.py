"""The four batch APIs without a socket: what goes out, and that any bytes can come back."""

from __future__ import annotations

import email.parser
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.batching import FORMATS
from synth.batching.parts import Line, Order, Page, State, custom_id, tag_of
from synth.config import Price as OwnPrice
from synth.pricing import price_of
from tests.batch_servers import MODEL, TEACHERS
from tests.synth.batching_parts import APIS
from tests.synth.parts import call, teacher

every = pytest.mark.parametrize("api", APIS)
WORDS = ("id", "name", "status", "processing_status", "metadata", "state", "custom_id", "response",
         "error", "result", "data", "operations", "errors", "request_counts", "key", "total",
         "created_at", "output", "type", "code", "status_code", "body")  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["batch_1", "batches/b1", "completed", "ended", "errored", "SUCCESS"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner),
    max_leaves=12,
)  # fmt: skip
RAW = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())


@every
@given(raw=RAW)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_state_a_page_a_line_or_nothing(api: str, raw: bytes) -> None:
    form, its = FORMATS[api], teacher(**TEACHERS[api])
    assert isinstance(form.state(its, raw), State | None)
    assert isinstance(form.page(its, raw, ""), Page | None)
    assert isinstance(form.line(raw), Line | None)
    for line in form.whole(raw) if form.whole else ():
        assert isinstance(form.line(line), Line | None)


@every
def test_a_line_stays_one_line_and_names_its_attempt(api: str) -> None:
    text = "a\u2028b\u2029c\x85d\ne"
    body = json.dumps({"model": MODEL, "x": text}, ensure_ascii=False).encode()
    name = custom_id(call(1, body).key, 12)
    line = FORMATS[api].line_of(teacher(**TEACHERS[api]), name, body)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name)
    assert len(line.decode().splitlines()) == 1
    found = json.loads(line)
    assert name in (found.get("custom_id"), found.get("metadata", {}).get("key"))
    sent = next(found[key] for key in ("body", "params", "request") if key in found)
    assert sent["x"] == text


def order(**its: Any) -> Order:
    lines = [("a" * 40 + "-1", b'{"model": "m", "messages": []}')]
    return Order("b01", teacher(**its), lines, 24, file="file-1")


@pytest.mark.parametrize("api", ["openai", "mistral"])
def test_an_upload_is_a_form_with_its_length(api: str) -> None:
    upload = FORMATS[api].upload
    assert upload is not None
    ask = upload(order(**TEACHERS[api]))
    head = f"content-type: {ask.content_type}\r\n\r\n".encode()
    form = email.parser.BytesParser().parsebytes(head + b"".join(ask.pieces))
    _, purpose, file = form.walk()
    assert purpose.get_payload(decode=True) == b"batch"
    assert file.get_filename() == "b01.jsonl"
    content = file.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert [json.loads(line)["custom_id"] for line in content.splitlines()] == ["a" * 40 + "-1"]


@pytest.mark.parametrize(
    ("its", "files", "batches", "url"),
    [
        ({}, "/files", "/batches", "/v1/chat/completions"),
        ({"adapter": "responses"}, "/files", "/batches", "/v1/responses"),
        ({"adapter": "azure", "base_url": "https://a.example", "api_version": "2024-10-21"},
         "/openai/files?api-version=2024-10-21", "/openai/batches?api-version=2024-10-21",
         "/chat/completions"),
    ],
)  # fmt: skip
def test_openai_s_paths_in_its_three_dialects(
    its: dict[str, str], files: str, batches: str, url: str
) -> None:
    form = FORMATS["openai"]
    assert form.upload is not None
    assert form.upload(order(**its)).path == files
    made = form.create(order(**its))
    assert made.path == batches
    assert json.loads(b"".join(made.pieces))["endpoint"] == url
    assert json.loads(form.line_of(teacher(**its), "a-1", b"{}"))["url"] == url


def test_a_window_in_the_words_of_groq() -> None:
    for hours, word in ((24, "24h"), (36, "36h"), (48, "2d"), (168, "7d")):
        made = FORMATS["groq"].create(order()._replace(hours=hours))
        assert json.loads(b"".join(made.pieces))["completion_window"] == word


def test_an_id_that_would_leave_its_path_is_no_id() -> None:
    form, its = FORMATS["openai"], teacher()
    assert form.state(its, b'{"id": "../../v1/files", "status": "completed"}') is None
    assert FORMATS["gemini"].state(
        teacher(adapter="gemini"),
        b'{"name": "batches/../x", "metadata": {"state": "BATCH_STATE_RUNNING"}}',
    ) is None  # fmt: skip
    state = form.state(its, b'{"id": "b", "status": "completed", "output_file_id": "a/../b"}')
    assert state is not None
    assert state.results == ()


def test_two_batches_of_the_same_requests_have_two_names() -> None:
    calls = [call(n) for n in range(3)]
    assert tag_of(calls, 1) != tag_of(calls, 2)
    assert re.fullmatch(r"b[0-9a-f]{24}", tag_of(calls, 1))


@pytest.mark.parametrize(
    ("offering", "model", "named", "share"),
    [
        ("openai-api", "gpt-4o-mini", "batch", 2),
        ("anthropic-api", "claude-sonnet-4-5", "batch", 2),
        ("gemini-api", "gemini-2.5-flash", "batch", 2),
        ("mistral-api", "mistral-small-latest", "batch", 2),
        ("anthropic-api", "claude-3-5-haiku-latest", "0.5 in a batch", 2),
        ("groq", "llama-3.3-70b-versatile", "0.5 in a batch", 2),
        ("deepseek-api", "deepseek-chat", "1 in a batch", 1),
    ],
)
def test_a_batch_s_price_is_the_list_s_or_the_documented_share(
    offering: str, model: str, named: str, share: int
) -> None:
    price = price_of(offering, model, None)
    assert price.named_in_batch == f"{price.named}, {named}"
    whole = price.cost_nano(10_000, 10_000)
    assert price.cost_nano(10_000, 10_000, batch=True) * share == whole
    assert price.reserve_nano(10_000, 10_000, batch=True) * share == price.reserve_nano(
        10_000, 10_000
    )


def test_the_user_s_own_word_on_batches_counts() -> None:
    own = OwnPrice(input=1.0, output=2.0, batch=0.25)
    price = price_of("deepseek-api", "x", own)
    assert price.cost_nano(1_000_000, 1_000_000, batch=True) == 750_000_000
    assert price.named_in_batch == "own 1.0/2.0/1.0/1.0/0.25, 0.25 in a batch"
    silent = OwnPrice(input=1.0, output=2.0)
    for offering, nano in (("deepseek-api", 3_000_000_000), ("openai-api", 1_500_000_000)):
        price = price_of(offering, "x", silent)
        assert price.cost_nano(1_000_000, 1_000_000, batch=True) == nano
    given = price_of("openai-api", "x", OwnPrice(input=1.0, output=2.0, batch=0))
    assert given.cost_nano(1_000_000, 1_000_000, batch=True) == 0

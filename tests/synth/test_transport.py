"""An address is refused before anything is sent to it, if it is unsafe or another contract's."""

import asyncio

import pytest

from policy.errors import BadInput, PolicyDenied
from policy.terms import load_register
from synth.secrets import Key
from synth.transport import check_base_url, open_client
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import MODEL, OFFERING

OWNER = load_register().offering_of_host

EVIL = [
    "", "api.openai.com", "//api.openai.com/v1", "ftp://127.0.0.1/v1", "file:///etc/passwd",
    "https://", "https:///v1", "http:127.0.0.1", "javascript:alert(1)",
    "https://user@example.com/v1", "https://user:pass@example.com/v1", "https://:pass@example.com",
    "https://api.openai.com@evil.test/v1", "https://api.openai.com\\@evil.test/v1",
    "https://example.com/v1?key=1", "https://example.com/v1#x", "https://example.com?",
    "http://example.com/v1", "http://8.8.8.8/v1", "http://127.0.0.1.evil.test/v1",
    "http://localhost.evil.test/v1", "http://[2001:4860:4860::8888]/v1",
    "http://169.254.169.254/latest", "https://169.254.169.254/latest", "https://[fe80::1]/v1",
    "https://[::ffff:169.254.169.254]/v1", "https://2852039166/v1", "https://0xa9fea9fe/v1",
    "https://0251.0376.0251.0376/v1", "https://169.16689662/v1", "https://169.254.169.254./v1",
    "https://[fe80::1%25eth0]/v1", "http://2130706433.evil.test",
    "https://exa mple.com/v1", "https://exa\nmple.com/v1", "https://example.com/v1\r\nX: y",
    "https://example.com/\0", "https://example.com\t/v1", " https://example.com/v1",
    "https://[::1/v1", "https://example.com:99999/v1", "https://example.com:port/v1",
    "https://api．openai．com/v1", "https://аpi.openai.com/v1", "https://１２７.0.0.1/v1",
]  # fmt: skip


@pytest.mark.parametrize("url", EVIL)
def test_an_evil_address_is_refused_in_one_line(url: str) -> None:
    with pytest.raises((BadInput, PolicyDenied)) as raised:
        check_base_url(url, OFFERING, OWNER)
    assert "base_url" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "pass@" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/v1", "http://localhost:8080/v1", "http://[::1]:8080/v1",
        "http://192.168.1.20:8000/v1", "http://10.0.0.7/v1", "https://llm.example.com/v1",
        "https://llm.example.com:8443", "HTTPS://LLM.example.com/v1/",
    ],
)  # fmt: skip
def test_a_server_of_ones_own_is_fine(url: str) -> None:
    check_base_url(url, OFFERING, OWNER)


@pytest.mark.parametrize(
    ("url", "offering"),
    [
        ("https://api.openai.com/v1", OFFERING),
        ("https://api.openai.com./v1", OFFERING),
        ("https://API.OpenAI.com/v1", OFFERING),
        ("https://eu.api.openai.com/v1", OFFERING),
        ("https://api.openai.com/v1", "deepseek-api"),
        ("https://chatgpt.com/backend-api", "openai-api"),
        ("https://api.openai.com.evil.test/v1", "openai-api"),
        ("https://evil-api.openai.com.test/v1", "openai-api"),
        ("https://llm.example.com/v1", "openai-api"),
        ("http://127.0.0.1:8080/v1", "openai-api"),
    ],
)
def test_a_host_of_another_contract_is_denied(url: str, offering: str) -> None:
    with pytest.raises(PolicyDenied, match=r"answers|known address"):
        check_base_url(url, offering, OWNER)


@pytest.mark.parametrize(
    ("url", "offering"),
    [("https://api.openai.com/v1", "openai-api"), ("https://eu.api.openai.com/v1", "openai-api"),
     ("https://api.deepseek.com", "deepseek-api"), ("https://api.mistral.ai/v1", "mistral-api")],
)  # fmt: skip
def test_an_offering_answers_on_its_own_hosts(url: str, offering: str) -> None:
    check_base_url(url, offering, OWNER)


def test_only_our_own_headers_leave() -> None:
    with FakeTeacher() as server:
        asyncio.run(_send(server.base_url, {"x-secret": "a", "cookie": "b", "authorization": "c"}))
    sent = server.seen[0].headers
    assert set(sent) <= {"host", "accept", "accept-encoding", "connection", "content-type",
                         "content-length", "authorization", "user-agent"}  # fmt: skip
    assert sent["authorization"] == "Bearer sk-canary"
    assert sent["user-agent"].startswith("spiritsafe/")


def test_the_client_does_not_print_its_key() -> None:
    client = open_client("http://127.0.0.1:9", Key("sk-canary"), limit=1024)
    assert "canary" not in repr(client)


async def _send(base_url: str, headers: dict[str, str]) -> None:
    client = open_client(base_url, Key("sk-canary"), limit=2**20)
    messages = [{"role": "user", "content": "Hi"}]
    await client.post(
        "/chat/completions", body={"model": MODEL, "messages": messages}, cast_to=object,
        options={"headers": headers},
    )  # fmt: skip
    await client.close()


@pytest.mark.parametrize("offering", ["aws-bedrock", "aws-bedrock/nova", "deepseek-r1@aws-bedrock"])
def test_a_channel_s_host_answers_for_the_models_it_passes_on(offering: str) -> None:
    check_base_url("https://bedrock.example.com/v1", offering, lambda host: "aws-bedrock")


def test_a_channel_s_host_does_not_answer_for_others() -> None:
    with pytest.raises(PolicyDenied):
        check_base_url("https://bedrock.example.com/v1", "nova", lambda host: "aws-bedrock")

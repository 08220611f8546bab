"""The providers' own SDKs take our batches as theirs, and we read what their models write."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from synth.batching import FORMATS
from synth.batching.parts import Order, dumped, loaded
from synth.config import Sampling, Teacher
from synth.plan import render
from synth.prompts import Prompt
from tests.batch_servers import EXPIRED, LINES, MODEL, SHOWN, TEACHERS, Batch, BatchServer, refused
from tests.batch_servers import Result as Outcome
from tests.peers import INSTALL
from tests.sdk_models import SDKS, again, complaints
from tests.synth.batching_parts import APIS
from tests.test_sdk_models import PYTHON

MODULES = {"anthropic": "anthropic", "gemini": "google/genai", "mistral": "mistralai"}
PEERS = [pytest.param(api, marks=pytest.mark.servers) for api in MODULES]
EVERY = ["openai", *PEERS]


def bodies(api: str) -> dict[str, list[Any]]:
    """What we send to make a batch, and what our server shows of one and in it."""
    teacher = Teacher(
        offering="x@self-host", model=MODEL, base_url="http://127.0.0.1/v1", **TEACHERS[api]
    )
    prompt = Prompt("p", "train", ({"role": "user", "content": "Hi\u2028there"},), (), {}, "")
    call = render(teacher, Sampling(), prompt, 0, "base")
    order = Order("b0123", teacher, [("a" * 40 + "-1", call.body)], 24, file="file-0")
    made = FORMATS[api].create(order)
    shown = [Batch("batches/b0" if api == "gemini" else "batch_0", [], "b0123")]
    shown.append(Batch(shown[0].id, [("a", {})], "b0123"))
    server = BatchServer(api)
    results = [Outcome(), refused(429), EXPIRED]
    lines = [LINES[api](f"r{n}", one, server.reply({"messages": []}, one))
             for n, one in enumerate(results)]  # fmt: skip
    server._work(shown[1])
    return {
        "requests": [json.loads(b"".join(made.pieces))],
        "states": [SHOWN[api](one) for one in shown],
        "lines": lines,
    }


@pytest.mark.parametrize("api", EVERY)
def test_the_sdk_takes_what_makes_a_batch_and_what_our_server_shows(api: str) -> None:
    assert judged(api, bodies(api)) == []


@pytest.mark.parametrize("api", EVERY)
def test_the_judges_do_complain(api: str) -> None:
    wrong = {"requests": [{"metadata": 3, "requests": 3, "batch": 3}], "states": [{"id": 3}]}
    assert len(judged(api, wrong)) == 2


@pytest.mark.parametrize("api", [one for one in EVERY if one not in PEERS[1:2]])
def test_we_read_what_the_sdk_s_models_write(api: str) -> None:
    """Every field that the model has, also those that our server leaves out. (Gemini's model is
    not its form on the wire.)"""
    given, form = bodies(api), FORMATS[api]
    teacher = Teacher(
        offering="x@self-host", model=MODEL, base_url="http://127.0.0.1/v1", **TEACHERS[api]
    )
    written = rewritten(api, given)
    ours = [form.state(teacher, dumped(body)) for body in given["states"]]
    theirs = [form.state(teacher, dumped(body)) for body in written["states"]]
    assert None not in ours
    assert theirs == ours
    for line, body in zip(written["lines"], given["lines"], strict=bool(written["lines"])):
        read, known = form.line(dumped(line)), form.line(dumped(body))
        assert read is not None
        assert known is not None
        assert (read.custom_id, read.status, read.unprocessed) == (
            known.custom_id, known.status, known.unprocessed,
        )  # fmt: skip
        if read.reply:
            assert (loaded(read.reply) or {})["content"][0]["text"] == "A short answer."


def judged(api: str, given: dict[str, list[Any]]) -> list[str]:
    known = {"openai": ("requests", "states"), "anthropic": ("requests", "states", "lines")}
    kinds = known.get(api, ("requests", "states"))
    given = {kind: given[kind] for kind in kinds if kind in given}
    if api == "openai":
        return list(complaints(SDKS["openai-batch"](), given))
    found: list[str] = in_its_venv(api, given)
    return found


def rewritten(api: str, given: dict[str, list[Any]]) -> dict[str, list[Any]]:
    given = given if api == "anthropic" else given | {"lines": []}
    if api == "openai":
        return again(SDKS["openai-batch"]() | {"lines": lambda _: None}, given)
    found: dict[str, list[Any]] = in_its_venv(api, given, "--again")
    return found


def in_its_venv(api: str, given: dict[str, list[Any]], *options: str) -> Any:
    if not list(PYTHON.parent.parent.glob(f"lib/python3*/site-packages/{MODULES[api]}")):
        pytest.skip(f"no {MODULES[api]}: {INSTALL}")
    script = PYTHON.parent.parent.parent / "tests" / "sdk_models.py"
    done = subprocess.run(
        [PYTHON, "-W", "ignore", script, f"{api}-batch", *options],
        input=json.dumps(given), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_api_is_judged() -> None:
    assert set(APIS) == {"openai", *MODULES}

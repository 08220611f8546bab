"""The same project file against other people's servers: what they drop is noticed and said."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests import peers
from tests.command import spiritsafe
from tests.synth.parts import asked

PYTHON = Path(__file__).parent.parent / ".venv-peers" / "bin" / "python"
SMALL = ("prompts.limit=8", "sampling.samples=1", "sampling.max_tokens=48")

pytestmark = [pytest.mark.timeout(600), pytest.mark.servers]


def options(peer: peers.Peer, *more: str) -> list[str]:
    """The demo's project file, with another address."""
    changed = (f"teacher.base_url='{peer.base_url}'", f"teacher.model='{peer.model}'")
    return [part for one in (*SMALL, *changed, *more) for part in ("--set", one)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    home = tmp_path / "bot"
    spiritsafe("init", home, "--template", "quickstart")
    return home / "project.toml"


def test_transformers_serve_drops_logprobs_and_schema_and_we_say_so(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from train.students import find_base

    base = find_base("smollm2", tmp_path_factory.mktemp("cache"))
    with peers.skip_if_missing(), peers.transformers_serve(base.path) as peer:
        slow = ("limits.concurrency=1", "limits.deadline_seconds=300")
        done = spiritsafe("collect", project, *options(peer, *slow), timeout=500)
    assert "the server said yes to logprobs and did not do it in 8 of 8 answers" in done.out
    shown = spiritsafe("filter", project, *options(peer, *slow), "--json").json
    assert sum(one["answered"] for one in shown["coverage"]) > 0
    with_signal = spiritsafe("freeze", project, *options(peer, *slow), code=None)
    if with_signal.code == 0:
        refused = spiritsafe(
            "train", project, *options(peer, *slow, "training.max_steps=1"), code=1
        )
        assert "objective top_k needs token probabilities" in refused.err


@pytest.fixture(scope="module")
def llama() -> Iterator[peers.Peer]:
    with peers.skip_if_missing(), peers.llama_server(peers.smollm2()) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(llama: peers.Peer) -> Iterator[peers.Peer]:
    if not PYTHON.exists():
        pytest.skip("no .venv-peers: make servers")
    with peers.skip_if_missing(), peers.litellm_proxy(llama, python=PYTHON) as server:
        yield server


@pytest.mark.parametrize(
    ("adapter", "dropped"),
    [
        ("openai", {"response_format"}),  # the tokens of its JSON are not always the whole text
        ("responses", {"logprobs", "response_format"}),
        ("anthropic", {"logprobs", "response_format"}),
    ],
)
def test_llama_cpp_runs_the_demo_in_each_of_its_shapes(
    project: Path, llama: peers.Peer, adapter: str, dropped: set[str]
) -> None:
    named = options(llama, f"teacher.adapter='{adapter}'")
    done = spiritsafe("collect", project, *named, "--json").json
    again = spiritsafe("collect", project, *named, "--json").json
    assert (done["answers"], again["sent"]) == (8, 0)
    assert set(done["ignored_by_server"]) <= dropped
    assert ("logprobs" in done["ignored_by_server"]) == ("logprobs" in dropped)
    assert spiritsafe("verify", project).code == 0


@pytest.mark.parametrize("adapter", ["openai", "responses", "anthropic"])
def test_the_litellm_proxy_passes_everything_through_and_agrees_on_the_money(
    project: Path, proxy: peers.Peer, adapter: str
) -> None:
    """Its own spend, in the header of each reply, is what our ledger says, to the nano-dollar.

    In the Responses shape it takes `logprobs` out of the body and leaves `top_logprobs` in, which
    llama.cpp behind it refuses; so there none are asked for.
    """
    key = {"TEACHER_KEY": proxy.api_key}
    price = "limits.price={input=0.15, output=0.60}"
    named = options(proxy, "teacher.api_key_env='TEACHER_KEY'", f"teacher.adapter='{adapter}'",
                    price, "limits.budget_usd=1",
                    *(["sampling.logprobs=0"] if adapter == "responses" else []))  # fmt: skip
    done = spiritsafe("collect", project, *named, "--json", env=key)
    again = spiritsafe("collect", project, *named, "--json", env=key)
    assert done.json["answers"] == 8
    assert ("logprobs" in done.json["ignored_by_server"]) == (adapter == "anthropic")
    assert again.json["sent"] == 0
    rows = asked(project, "SELECT o.cost_nano, r.headers FROM outcome o JOIN raw r"
                          " ON r.attempt = o.attempt")  # fmt: skip
    theirs = [Decimal(json.loads(headers)["x-litellm-response-cost"]) for _, headers in rows]
    assert all(cost > 0 for cost in theirs)
    assert [nano for nano, _ in rows] == [round(cost * 10**9) for cost in theirs]


@pytest.mark.parametrize("status", [429, 503, 529])
def test_llmock_finds_our_client_well_behaved(project: Path, status: int) -> None:
    """500, 502 and 504 are held as unknown and not asked again, which llmock calls giving up."""
    if not PYTHON.exists():
        pytest.skip("no .venv-peers: make servers")
    with peers.llmock(python=PYTHON, error_rates={status: 0.2}) as server:
        many = ("prompts.limit=60", "sampling.samples=2", "limits.concurrency=4", "limits.tries=8")
        spiritsafe("collect", project, *options(server, *many), timeout=300)
        well_behaved, verdict = peers.llmock_verdict(server, python=PYTHON)
    assert well_behaved, verdict

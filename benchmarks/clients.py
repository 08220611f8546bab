"""One client in a process of its own: what a request costs it, as one line of JSON.

    python benchmarks/clients.py openai http://127.0.0.1:8000/v1 3000 64

Each runs in an environment of its own (`make bench-peers`); all send the same 1 KB prompts and read
the same replies. Every client is used as its documentation shows, with its defaults, telemetry and
look-ups on the network off.
"""

import asyncio
import dataclasses
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

MODEL = "gpt-4o-mini"
INSTRUCTION = "Classify the message. " * 45


def prompt(number: int) -> str:
    """1 KB, each different."""
    return f"{INSTRUCTION}Message {number}."


class Meter:
    """CPU and wall clock between two moments of this process."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._cpu, self._wall = self._used(), time.monotonic()

    def stop(self, requests: int) -> dict[str, float]:
        seconds = time.monotonic() - self._wall
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu_ms": (self._used() - self._cpu) * 1000 / requests,
            "per_second": requests / seconds,
            "seconds": seconds,
            "rss_mb": used.ru_maxrss / 1024,
        }

    @staticmethod
    def _used() -> float:
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, who))


async def _in_flight(requests: int, concurrency: int, ask: Callable[[str], Awaitable[Any]]) -> None:
    left = iter(range(requests))

    async def worker() -> None:
        for number in left:
            await ask(prompt(number))

    await asyncio.gather(*(worker() for _ in range(concurrency)))


def ours(base_url: str, requests: int, concurrency: int) -> dict[str, float]:
    """The whole of `spiritsafe collect`: plan, policy, money, pacing, parsing, durable rows."""
    from synth.steps import collect_step, get_ready
    from synth.stop import Stop
    from tests.synth.parts import bench_of, project

    samples = 20 if "samples" in sys.argv else 1
    sampling = {"max_tokens": 256, "samples": samples}
    if "logprobs" in sys.argv:
        sampling["logprobs"] = 20
    with tempfile.TemporaryDirectory() as folder:
        path = project(
            Path(folder),
            base_url,
            rows=0,
            teacher={"model": MODEL},
            sampling=sampling,
            prompts={"system": INSTRUCTION},
            limits={"concurrency": concurrency, "deadline_seconds": 120},
        )
        with (Path(folder) / "prompts.jsonl").open("w") as file:
            for number in range(requests // samples):
                row = {"id": f"p{number:06}", "message": f"Message {number}.", "intent": "a"}
                file.write(json.dumps(row) + "\n")
        bench = bench_of(path)
        ready = get_ready(bench)
        meter = Meter()
        with bench.open(create=True) as ledger:
            collected = asyncio.run(collect_step(bench, ledger, ready, Stop()))
            rate = meter.stop(collected.summary.answers)["per_second"]
        assert not collected.summary.failures, collected.summary
        found = meter.stop(collected.summary.answers)
        return found | {"answers": collected.summary.answers, "collected_per_second": rate}


def durable(_: str, requests: int, concurrency: int) -> dict[str, float]:
    """The ledger alone: an attempt and its outcome, each awaited until it is on the disk."""
    from benchmarks.teacher import body
    from synth.ledger import Ledger
    from synth.teachers import ADAPTERS
    from tests.synth.parts import attempt_row, call, outcome_row, sampling

    raw = body()
    reply = ADAPTERS["openai"].parse(raw, sampling(), {})
    ready = [attempt_row(call(number)) for number in range(requests)]
    model = dataclasses.replace(outcome_row(ready[0]), completion=reply, raw=raw)
    waits: list[float] = []

    async def ask(ledger: Ledger, number: int) -> None:
        attempt = ready[number]
        outcome = dataclasses.replace(model, attempt=attempt.id, key=attempt.call.key)
        for row in (attempt, outcome):
            since = time.monotonic()
            await ledger.append(row)
            waits.append(time.monotonic() - since)

    async def run(ledger: Ledger) -> None:
        left = iter(range(requests))

        async def worker() -> None:
            for number in left:
                await ask(ledger, number)

        await asyncio.gather(*(worker() for _ in range(concurrency)))

    with tempfile.TemporaryDirectory() as folder:
        with Ledger.open(Path(folder, "ledger.duckdb"), clock=time.time) as ledger:
            meter = Meter()
            asyncio.run(run(ledger))
        found = meter.stop(2 * requests)
    waits.sort()
    return found | {"ack_p99_ms": 1000 * waits[int(0.99 * len(waits))]}


def openai_defaults(base_url: str, requests: int, concurrency: int) -> dict[str, float]:
    """AsyncOpenAI as it comes: typed call, its own connection pool. Nothing is stored."""
    import openai

    return _sdk(openai.AsyncOpenAI(api_key="none", base_url=base_url), requests, concurrency)


def openai_aiohttp(base_url: str, requests: int, concurrency: int) -> dict[str, float]:
    """The same over aiohttp, which its documentation recommends for many requests."""
    import openai

    client = openai.AsyncOpenAI(
        api_key="none", base_url=base_url, http_client=openai.DefaultAioHttpClient()
    )
    return _sdk(client, requests, concurrency)


def _sdk(client: Any, requests: int, concurrency: int) -> dict[str, float]:
    extra = {"logprobs": True, "top_logprobs": 20} if "logprobs" in sys.argv else {}

    async def ask(text: str) -> None:
        messages = [{"role": "user", "content": text}]
        reply = await client.chat.completions.create(
            model=MODEL, messages=messages, max_tokens=256, **extra
        )
        assert reply.choices[0].message.content

    async def run() -> None:
        async with client:
            await _in_flight(requests, concurrency, ask)

    meter = Meter()
    asyncio.run(run())
    return meter.stop(requests)


def litellm(base_url: str, requests: int, concurrency: int) -> dict[str, float]:
    """litellm.acompletion. Nothing is stored."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm as library

    library.telemetry = False

    async def ask(text: str) -> None:
        reply = await library.acompletion(
            model=f"openai/{MODEL}",
            messages=[{"role": "user", "content": text}],
            max_tokens=256,
            api_base=base_url,
            api_key="none",
        )
        assert reply.choices[0].message.content

    meter = Meter()
    asyncio.run(_in_flight(requests, concurrency, ask))
    return meter.stop(requests)


def curator(base_url: str, requests: int, concurrency: int) -> dict[str, float]:
    """curator.LLM, its viewer and telemetry off; it writes JSONL and a dataset. `paced`: it finds
    the limits by itself."""
    os.environ |= {
        "TELEMETRY_ENABLED": "0",
        "CURATOR_DISABLE_RICH_DISPLAY": "1",
        "OPENAI_API_KEY": "none",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HF_HUB_OFFLINE": "1",
    }
    tokens = next(Path(sys.prefix).glob("lib/*/site-packages/litellm/**/tokenizers"), None)
    if tokens:
        os.environ["TIKTOKEN_CACHE_DIR"] = str(tokens)
    from bespokelabs import curator as library

    unlimited = {
        "max_requests_per_minute": 10_000_000,
        "max_tokens_per_minute": 100_000_000_000,
    }
    with tempfile.TemporaryDirectory() as folder:
        model = library.LLM(
            model_name=MODEL,
            backend="openai",
            backend_params={
                "base_url": base_url,
                "api_key": "none",
                "max_concurrent_requests": concurrency,
                **({} if "paced" in sys.argv else unlimited),
            },
            generation_params={"max_tokens": 256},
        )
        meter = Meter()
        found = model([prompt(number) for number in range(requests)], working_dir=folder)
        rows = getattr(found, "dataset", found)
        assert len(rows) == requests
        assert all(rows["response"])
        return meter.stop(requests)


def distilabel(base_url: str, requests: int, concurrency: int) -> dict[str, float]:
    """A pipeline of one TextGeneration step, batches as large as requests in flight."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    from distilabel.models import OpenAILLM
    from distilabel.pipeline import Pipeline
    from distilabel.steps import LoadDataFromDicts
    from distilabel.steps.tasks import TextGeneration

    rows = [{"instruction": prompt(number)} for number in range(requests)]
    with tempfile.TemporaryDirectory() as folder, Pipeline(name="bench", cache_dir=folder) as line:
        load = LoadDataFromDicts(data=rows, batch_size=concurrency)
        model = OpenAILLM(model=MODEL, base_url=base_url, api_key="none")
        load >> TextGeneration(llm=model, input_batch_size=concurrency)
        meter = Meter()
        found = line.run(use_cache=False)
        assert len(found["default"]["train"]) == requests
        return meter.stop(requests)


def data_designer(base_url: str, requests: int, concurrency: int) -> dict[str, float]:
    """One text column over a seed of prompts, as many at once as asked; it writes Parquet."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"NEMO_TELEMETRY_ENABLED": "false", "DATA_DESIGNER_HOME": folder}
        os.environ["BENCH_KEY"] = "none"
        import data_designer.config as settings
        import pandas
        from data_designer.interface import DataDesigner

        server = settings.ModelProvider(
            name="bench", endpoint=base_url, provider_type="openai", api_key="BENCH_KEY"
        )
        model = settings.ModelConfig(
            alias="teacher",
            model=MODEL,
            provider="bench",
            inference_parameters=settings.ChatCompletionInferenceParams(
                max_tokens=256, max_parallel_requests=concurrency
            ),
        )
        rows = pandas.DataFrame({"text": [prompt(number) for number in range(requests)]})
        columns = settings.DataDesignerConfigBuilder(model_configs=[model])
        columns.with_seed_dataset(settings.DataFrameSeedSource(df=rows))
        columns.add_column(
            settings.LLMTextColumnConfig(name="answer", prompt="{{ text }}", model_alias="teacher")
        )
        designer = DataDesigner(artifact_path=folder, model_providers=[server])
        meter = Meter()
        answers = designer.create(columns, num_records=requests).load_dataset()["answer"]
        assert len(answers) == requests
        assert answers.str.len().all()
        return meter.stop(requests)


CLIENTS: dict[str, Callable[[str, int, int], dict[str, float]]] = {
    "ours": ours,
    "durable": durable,
    "openai": openai_defaults,
    "openai_aiohttp": openai_aiohttp,
    "litellm": litellm,
    "curator": curator,
    "distilabel": distilabel,
    "data_designer": data_designer,
}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    name, address, count, at_once = sys.argv[1:5]
    print(json.dumps(CLIENTS[name](address, int(count), int(at_once))))

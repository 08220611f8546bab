"""How long does a decision take: one, a million rows, and beside general policy engines?

python benchmarks/decide.py [PEERS]

PEERS is a folder with a virtual environment that holds cedarpy and regopy, by default the one that
`make bench` keeps; a peer that is not there is skipped in words. All three answer the same list of
questions in this one run: may answers of each offering serve each purpose with each distribution?
The peers hold the register as a table of facts, parsed or compiled beforehand by the fastest way
that each offers (`cedarpy.PolicySet`, `regopy`'s bundle). Cedar answers allow or deny, Rego a
level; neither returns clauses, duties or what would change it. An answer that differs is an error.
"""

import json
import subprocess
import sys
import time
import timeit
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from policy.decide import decide, decide_offering
from policy.entry import Terms
from policy.rows import Origin, decide_rows
from policy.terms import Level, Register, load_register
from policy.use import Distribution, Purpose, Use

DAY = date(2026, 11, 24)
ROWS = 1_000_000
PEERS = ".venv-policy-peers"
OFFERINGS = ("smollm2@self-host", "openai-api", "anthropic-api", "mistral-api", "gemma-3@self-host")
USE = Use(purpose=Purpose.TRAIN_CLASSIFIER, distribution=Distribution.INTERNAL_ONLY)

CEDAR = """
import importlib.metadata, json, sys, timeit, cedarpy
questions = json.load(sys.stdin)
policies = cedarpy.PolicySet.from_str("".join(
    f'permit(principal, action == Action::"{p}", resource == Offering::"{o}") '
    f'when {{ context.distribution == "{d}" }};'
    for o, p, d, level in questions if level in ("ALLOW", "ALLOW_WITH")
))
entities = cedarpy.Entities.from_json_str("[]")
requests = [
    {"principal": 'User::"a"', "action": f'Action::"{p}"', "resource": f'Offering::"{o}"',
     "context": {"distribution": d}}
    for o, p, d, level in questions
]
def ask():
    return [cedarpy.is_authorized(each, policies, entities).allowed for each in requests]
answers = ask()
seconds = min(timeit.repeat(ask, number=1, repeat=2))
print(json.dumps({"version": importlib.metadata.version("cedarpy"),
                  "us": seconds / len(requests) * 1e6, "allowed": answers}))
"""
REGO = """
import importlib.metadata, json, sys, timeit, regopy
questions = json.load(sys.stdin)
engine = regopy.Interpreter()
engine.add_module("terms", "package terms\\nlevel := data.levels[input.key]")
engine.add_data({"levels": {f"{o}|{p}|{d}": level for o, p, d, level in questions}})
bundle = engine.build("data.terms.level")
def ask(key):
    engine.set_input({"key": key})
    return engine.query_bundle(bundle)
keys = [f"{o}|{p}|{d}" for o, p, d, level in questions]
answers = [ask(key) for key in keys]
seconds = min(timeit.repeat(lambda: [ask(key) for key in keys], number=1, repeat=2))
levels = [json.loads(str(each))["expressions"][0] for each in answers]
print(json.dumps({"version": importlib.metadata.version("regopy"),
                  "us": seconds / len(keys) * 1e6, "levels": levels}))
"""


def main() -> None:
    register = load_register()
    one_decision(register)
    beside_peers(register, Path(sys.argv[1] if len(sys.argv) > 1 else PEERS))
    many_rows(register)


def _digested(terms: Terms | None, offering: str) -> str:
    return decide(USE, terms, DAY, offering=offering).digest


def one_decision(register: Register) -> None:
    print(f"{'offering':<24} {'level':<17} {'decide us':>9} {'with digest us':>15}")
    for offering in OFFERINGS:
        terms = register.find(offering, DAY)
        once = decide(USE, terms, DAY, offering=offering)
        asked = microseconds(partial(decide, USE, terms, DAY, offering=offering))
        digested = microseconds(partial(_digested, terms, offering))
        print(f"{offering:<24} {once.level.name:<17} {asked:>9.1f} {digested:>15.1f}")
    for offering in ("deepseek-r1@aws-bedrock", "student-of(llama-3.1)"):
        level = decide_offering(USE, register, offering, DAY).level.name
        asked = microseconds(partial(decide_offering, USE, register, offering, DAY), number=200)
        print(f"{offering:<24} {level:<17} {asked:>9.1f}   (channel and weights, joined)")


def beside_peers(register: Register, peers: Path) -> None:
    """The same questions to each, and how many answers agree."""
    asked = [
        (name, Use(purpose=purpose, distribution=spread))
        for name in register.names()
        for purpose in Purpose
        for spread in Distribution
    ]
    levels = [decide_offering(use, register, name, DAY).level.name for name, use in asked]
    ours = microseconds(partial(_ask_all, register, asked), number=1) / len(asked)
    questions = [
        [name, use.purpose, use.distribution, level]
        for (name, use), level in zip(asked, levels, strict=True)
    ]
    print(f"\n{'engine':<16} {'us a decision':>13} {'times ours':>11} {'agree':>12}   {DAY}")
    print(f"{'ours':<16} {ours:>13.1f} {1:>11.1f} {len(asked):>6}/{len(asked)}")
    for engine, script in (("cedarpy", CEDAR), ("regopy", REGO)):
        answer = _ask_peer(peers, script, json.dumps(questions))
        if isinstance(answer, str):
            print(f"{engine:<16} skipped: {answer}")
            continue
        same = _agreeing(answer, levels)
        label = f"{engine} {answer['version']}"
        print(
            f"{label:<16} {answer['us']:>13.1f} {answer['us'] / ours:>11.1f} {same:>6}/{len(asked)}"
        )
        if same != len(asked):
            raise SystemExit(f"{engine} answers differently; the comparison is void")


def _ask_all(register: Register, asked: list[tuple[str, Use]]) -> None:
    for name, use in asked:
        decide_offering(use, register, name, DAY)


def _agreeing(answer: dict[str, Any], levels: list[str]) -> int:
    """In how many questions the peer says what we say, as far as it can."""
    if "levels" in answer:
        return sum(one == other for one, other in zip(answer["levels"], levels, strict=True))
    ours = [Level[level] <= Level.ALLOW_WITH for level in levels]
    return sum(one == other for one, other in zip(answer["allowed"], ours, strict=True))


def _ask_peer(peers: Path, script: str, facts: str) -> dict[str, Any] | str:
    python = peers / "bin" / "python"
    if not python.is_file():
        return f"there is no {python}"
    done = subprocess.run(
        [python, "-c", script], input=facts, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def many_rows(register: Register) -> None:
    names = ("deepseek-api", "mistral-api", "deepseek-r1@aws-bedrock", "openrouter")
    days = [DAY - timedelta(number) for number in range(60)]
    rows = [
        Origin(names[n % 4], days[n // 7 % 60], served="deepseek/deepseek-chat" * (n % 4 == 3))
        for n in range(ROWS)
    ]
    started = time.perf_counter()
    counts = Counter(rows)
    grouped = time.perf_counter()
    judged = decide_rows(USE, register, counts, DAY)
    level = judged.decision.level.name
    done = time.perf_counter()
    print(
        f"\n{ROWS:,} rows, {len(counts)} groups: grouped in {grouped - started:.2f} s, decided and"
        f" joined in {done - grouped:.2f} s, together {done - started:.2f} s: {level}"
    )


def microseconds(ask: Callable[[], object], number: int = 5000) -> float:
    return min(timeit.repeat(ask, number=number, repeat=5)) / number * 1e6


if __name__ == "__main__":
    main()

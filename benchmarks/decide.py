"""How long does a decision take: one, a million rows, and beside general policy engines?

python benchmarks/decide.py [PEERS]

PEERS is a folder with a virtual environment that holds cedarpy and regopy; a peer that is not there
is skipped in words. Every engine answers the same question over the same facts in this one run:
may answers of openai-api train an internal classifier? Cedar answers allow or deny; Rego returns
a level; neither returns clauses, duties or what would change it.

    python -m venv .venv-policy-peers && .venv-policy-peers/bin/pip install cedarpy regopy
"""

import json
import subprocess
import sys
import time
import timeit
from collections import Counter
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from policy.decide import decide, decide_offering
from policy.rows import Origin, decide_rows
from policy.terms import Register, load_register
from policy.use import Use

DAY = date(2026, 11, 24)
ROWS = 1_000_000
PEERS = ".venv-policy-peers"
OFFERINGS = ("smollm2@self-host", "openai-api", "anthropic-api", "mistral-api", "gemma-3@self-host")
USE = Use(purpose="train_classifier", distribution="internal_only")

CEDAR = """
import json, sys, timeit, cedarpy
facts = json.load(sys.stdin)
policies = "".join(
    f'permit(principal, action == Action::"{p}", resource == Offering::"{o}") '
    f'when {{ context.distribution == "{d}" }};'
    for o, p, d, level in facts["rows"] if level in ("ALLOW", "ALLOW_WITH")
)
o, p, d = facts["ask"]
request = {"principal": 'User::"a"', "action": f'Action::"{p}"', "resource": f'Offering::"{o}"',
           "context": {"distribution": d}}
ask = lambda: cedarpy.is_authorized(request, policies, [])
n = 200
seconds = min(timeit.repeat(ask, number=n, repeat=3)) / n
print(json.dumps({"level": "ALLOW" if ask().allowed else "DENY", "us": seconds * 1e6}))
"""
REGO = """
import json, sys, timeit, regopy
facts = json.load(sys.stdin)
table = {f"{o}|{p}|{d}": level for o, p, d, level in facts["rows"]}
engine = regopy.Interpreter()
engine.add_module("terms", 'package terms\\nlevel := data.levels[input.key]')
engine.add_data({"levels": table})
key = "|".join(facts["ask"])
def ask():
    engine.set_input({"key": key})
    return str(engine.query("data.terms.level"))
n = 200
seconds = min(timeit.repeat(ask, number=n, repeat=3)) / n
print(json.dumps({"level": "ALLOW" if '"ALLOW"' in ask() else "DENY", "us": seconds * 1e6}))
"""


def main() -> None:
    register = load_register()
    one_decision(register)
    beside_peers(register, Path(sys.argv[1] if len(sys.argv) > 1 else PEERS))
    many_rows(register)


def _digested(terms: object, offering: str) -> str:
    return decide(USE, terms, DAY, offering=offering).digest  # type: ignore[arg-type]


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
    """The same question to each, over the whole register as a table of facts."""
    from policy.use import Distribution, Purpose

    facts = {
        "rows": [
            [name, purpose, spread, _level(register, name, purpose, spread)]
            for name in register.names()
            for purpose in Purpose
            for spread in Distribution
        ],
        "ask": ["openai-api", USE.purpose, USE.distribution],
    }
    terms = register.find("openai-api", DAY)
    ours = microseconds(lambda: decide(USE, terms, DAY, offering="openai-api"))
    print(f"\n{'engine':<10} {'level':<6} {'us':>9} {'times ours':>11}   one question, {DAY}")
    print(f"{'ours':<10} {'ALLOW':<6} {ours:>9.1f} {1:>11.1f}")
    for name, script in (("cedarpy", CEDAR), ("regopy", REGO)):
        answer = _ask_peer(peers, script, json.dumps(facts))
        if isinstance(answer, str):
            print(f"{name:<10} skipped: {answer}")
            continue
        print(f"{name:<10} {answer['level']:<6} {answer['us']:>9.1f} {answer['us'] / ours:>11.1f}")


def _level(register: Register, name: str, purpose: str, spread: str) -> str:
    use = Use(purpose=purpose, distribution=spread)
    return decide_offering(use, register, name, DAY).level.name


def _ask_peer(peers: Path, script: str, facts: str) -> dict[str, float] | str:
    python = peers / "bin" / "python"
    if not python.is_file():
        return f"there is no {python}"
    done = subprocess.run(
        [python, "-c", script], input=facts, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return json.loads(done.stdout)


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


def microseconds(ask: object, number: int = 5000) -> float:
    return min(timeit.repeat(ask, number=number, repeat=5)) / number * 1e6  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

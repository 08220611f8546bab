"""How long a decision takes, beside building its digest. One run.

python benchmarks/decide.py
"""

import timeit
from datetime import date
from functools import partial

from policy.decide import decide
from policy.terms import load_register
from policy.use import Use

DAY = date(2026, 11, 24)


def main() -> None:
    register = load_register()
    use = Use(purpose="train_specialist", distribution="internal")
    print(f"{'offering':<26} {'level':<17} {'decide us':>9}")
    for offering in ("smollm2@self-host", "openai-api", "anthropic-api", "mistral-api"):
        terms = register.find(offering, DAY)
        asked = partial(decide, use, terms, DAY, offering=offering)
        level = asked().level.name
        seconds = min(timeit.repeat(asked, number=2000, repeat=5))
        print(f"{offering:<26} {level:<17} {seconds / 2000 * 1e6:>9.1f}")


if __name__ == "__main__":
    main()

"""A key from a mould is the key of the body that is sent, in every dialect."""

from hypothesis import given
from hypothesis import strategies as st

from synth.config import Sampling, Teacher
from synth.moulds import Moulds, digest_of, sent
from synth.prompts import Message, Prompt
from synth.teachers import ADAPTERS

SYSTEM: Message = {"role": "system", "content": 'Answer in "JSON".'}
BASE = "http://127.0.0.1:9/v1"
OTHER: Message = {"role": "system", "content": "Answer."}
TEXTS = st.lists(
    st.text() | st.sampled_from([" a ", "", "\u2028", '"', "\\", "a\n"]), min_size=4, max_size=9
)


def prompts(texts: list[str], *before: Message) -> list[Prompt]:
    return [
        Prompt(f"p{n}", "test" if n % 5 == 4 else "train",
               (*before, {"role": "user", "content": text}), (), {}, "")
        for n, text in enumerate(texts)
    ]  # fmt: skip


def key(teacher: Teacher, sampling: Sampling, prompt: Prompt, sample: int) -> bytes:
    path, body = sent(teacher, sampling, prompt, sample)
    return digest_of(BASE, path, body.decode(), sample)


@given(TEXTS, st.sampled_from(sorted(ADAPTERS)), st.integers(0, 1))
def test_every_key_is_that_of_the_rendered_body(
    texts: list[str], adapter: str, sample: int
) -> None:
    teacher = Teacher(
        offering="own-server", model="m", base_url="http://127.0.0.1:9/v1", adapter=adapter
    )
    sampling = Sampling(temperature=0.7, held_out_temperature=0.0, seed=3)
    moulds = Moulds(teacher, sampling, BASE)
    for prompt in [*prompts(texts, SYSTEM), *prompts(texts), *prompts(texts, OTHER)]:
        assert moulds.digest(prompt, sample) == key(teacher, sampling, prompt, sample)


def test_an_instruction_that_holds_the_mark_breaks_nothing() -> None:
    teacher = Teacher(offering="own-server", model="m", base_url="http://127.0.0.1:9/v1")
    marked: Message = {"role": "system", "content": "the row's own text stands here 5f1c9b7e"}
    moulds = Moulds(teacher, Sampling(), BASE)
    for prompt in prompts(["a", "b", "c", "d"], marked):
        assert moulds.digest(prompt, 0) == key(teacher, Sampling(), prompt, 0)

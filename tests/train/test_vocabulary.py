"""A narrower vocabulary reads the training rows as before, and still spells everything else."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from policy.errors import BadInput
from policy.permit import Action, Permit
from tests.train import parts
from tests.train.parts import (
    StopError,
    TeacherRow,
    build_model,
    build_tokenizer,
    permit,
    write_dataset,
)
from tests.train.test_chunks import HARD
from train.config import Evaluation, Lora, Student, Training
from train.evaluate import evaluate, trained
from train.rehearsal import rehearse, shown
from train.run import Run
from train.vocabulary import cut, demand_the_same, narrow

BASE = build_tokenizer()


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def rewritten(**changes: Any) -> Any:
    """The small tokenizer with its model changed."""
    written = json.loads(BASE.backend_tokenizer.to_str())
    written["model"].update(changes)
    from tokenizers import Tokenizer

    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(written)),
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
    )
    fast.chat_template = BASE.chat_template
    return fast


def every_split() -> Any:
    """As Llama 3 is converted: every way to merge a token from two others, the nearest first, and
    words that are tokens are taken whole."""
    vocabulary = json.loads(BASE.backend_tokenizer.to_str())["model"]["vocab"]
    merges = [
        [token[:n], token[n:]]
        for token in sorted(vocabulary, key=vocabulary.__getitem__)
        for n in range(1, len(token))
        if token[:n] in vocabulary and token[n:] in vocabulary
    ]
    return rewritten(merges=merges, ignore_merges=True)


SPLITS = every_split()
WORDS = ["card", "rate", "euro", "hello,", "lost", "where", "is", "my", "(7)", '{"intent":', "é"]


@pytest.mark.parametrize("tokenizer", [BASE, SPLITS], ids=["one merge a token", "every split"])
@given(
    st.lists(
        st.sampled_from(
            ["card", "rate", "euro", "hello,", "lost", "where", "is", "my", "(7)", "{intent}:", "é"]
        )
    )
)
@settings(max_examples=60, deadline=None)
def test_what_is_kept_is_cut_as_before(tokenizer: Any, words: list[str]) -> None:
    text = " ".join(words)
    narrowed, kept = narrow(tokenizer, ids(tokenizer, text))
    assert [kept[i] for i in ids(narrowed, text)] == ids(tokenizer, text)
    assert len(set(kept)) == len(kept) == len(narrowed)


@pytest.mark.parametrize("tokenizer", [BASE, SPLITS], ids=["one merge a token", "every split"])
def test_any_other_text_is_still_spelled(tokenizer: Any) -> None:
    narrowed, kept = narrow(tokenizer, ids(tokenizer, "hello"))
    assert len(kept) < len(tokenizer) - 50
    for text in [*HARD, "where is my card?", "日本語 🙂"]:
        assert narrowed.decode(ids(narrowed, text)) == text


def test_special_tokens_stay_special(tokenizer: Any) -> None:
    narrowed, _ = narrow(tokenizer, [])
    found = ids(narrowed, "<|im_start|>a<|im_end|>")
    assert narrowed.convert_ids_to_tokens(found) == ["<|im_start|>", "a", "<|im_end|>"]
    assert narrowed.eos_token == "<|im_end|>"
    assert narrowed.chat_template == tokenizer.chat_template


def test_ids_in_a_post_processor_are_those_of_the_new_tokens() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = rewritten()
    tokenizer.add_tokens(["<|late|>"], special_tokens=True)
    late = tokenizer.convert_tokens_to_ids("<|late|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|late|> $A", special_tokens=[("<|late|>", late)]
    )
    narrowed, kept = narrow(tokenizer, ids(tokenizer, "hello"))
    assert kept[-1] == late == narrowed("a")["input_ids"][0] + len(tokenizer) - len(narrowed)


@pytest.mark.parametrize("tied", [True, False])
def test_the_rows_that_are_kept_score_as_they_did(tied: bool) -> None:
    model = build_model(400)
    if not tied:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(torch.randn(400, 64))
    kept = sorted(random.Random(0).sample(range(3, 400), 150))
    kept = [1, 2, *kept]
    new = torch.tensor([[5, 0, 77, 151]])
    old = torch.tensor(kept)[new]
    with torch.no_grad():
        before = model(old).logits[..., kept]
        cut(model, kept)
        after = model(new).logits
    torch.testing.assert_close(after, before)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    assert model.config.vocab_size == len(model.model.embed_tokens.weight) == 152
    assert model.config.eos_token_id == model.generation_config.eos_token_id == 0
    assert model.config.pad_token_id == model.model.embed_tokens.padding_idx == 1


def other(kind: str) -> Any:
    from tokenizers import Tokenizer, models, processors

    if kind == "unigram":
        made = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))
    elif kind == "characters":
        made = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    elif kind == "chance":
        return rewritten(dropout=0.1)
    else:
        made = Tokenizer.from_str(BASE.backend_tokenizer.to_str())
        made.post_processor = processors.BertProcessing(("<|im_end|>", 1), ("<|im_start|>", 0))
    return PreTrainedTokenizerFast(tokenizer_object=made)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("unigram", "its model is Unigram, whose tokens are not built by merges"),
        ("characters", "its tokens are not spelled in bytes"),
        ("chance", "it merges by chance"),
        ("processor", "its post-processor is BertProcessing"),
    ],
)
def test_another_kind_of_tokenizer_is_refused_with_the_reason(kind: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        narrow(other(kind), [])
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def narrow_student(base_dir: Path) -> Student:
    return Student(base=str(base_dir), vocabulary="data")


def go(
    dataset: Path, student: Student, training: Training, out: Path, at: int = 0, **changes: Any
) -> Run:
    changed = training.model_copy(update=changes)
    return parts.go(dataset, student, changed, permit(Action.TRAIN), out, at)


@pytest.fixture(scope="module")
def run(
    dataset_dir: Path, narrow_student: Student, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    training = Training(
        objective={"top_k": 1.0, "sft": 0.5}, max_steps=12, batch_size=4, learning_rate=3e-3,
        save_steps=5, threads=1,
    )  # fmt: skip
    return go(dataset_dir, narrow_student, training, tmp_path_factory.mktemp("narrow") / "run")


def test_a_run_leaves_a_narrow_student_that_anything_loads(
    run: Run, base_dir: Path, dataset_dir: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(run.student)
    tokenizer = AutoTokenizer.from_pretrained(run.student)
    whole = len(AutoTokenizer.from_pretrained(base_dir))
    cut_to = run.manifest["student"]["vocabulary"]
    assert cut_to == {"rule": "data", "of": whole, "tokens": len(tokenizer)}
    assert len(tokenizer) == model.config.vocab_size < whole
    assert model.num_parameters() == run.manifest["student"]["parameters"]
    assert tokenizer.decode(model.config.eos_token_id) == "<|im_end|>"
    assert f"Of {whole} tokens it keeps {len(tokenizer)}" in (run.path / "README.md").read_text()
    found = evaluate(
        trained(run.path),
        dataset_dir,
        Evaluation(max_new_tokens=20, resamples=100),
        permit(Action.EVALUATE),
    )
    assert len(found["predictions"]) == 12
    assert found["metrics"]["kl"]["tokens"] > 0


def test_no_file_of_the_student_names_a_path(run: Run, base_dir: Path) -> None:
    for file in run.student.glob("*.json"):
        assert str(base_dir) not in file.read_text()
        assert "/tmp" not in file.read_text()


def test_the_dry_run_says_what_the_run_keeps(
    run: Run, narrow_student: Student, training: Training, dataset_dir: Path, may_train: Permit,
    tmp_path: Path,
) -> None:  # fmt: skip
    found = rehearse(dataset_dir, narrow_student, training, may_train, cache_dir=tmp_path)
    cut_to = run.manifest["student"]["vocabulary"]
    assert found.vocabulary == f"vocabulary: {cut_to['tokens']} of {cut_to['of']} tokens"
    assert found.needs.parameters == run.manifest["student"]["parameters"]
    assert found.vocabulary in str(shown(found).renderables[0])


def test_stopped_and_called_again_it_ends_with_the_same_bits(
    run: Run, narrow_student: Student, training: Training, dataset_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(StopError):
        go(dataset_dir, narrow_student, training, tmp_path / "run", at=8)
    again = go(dataset_dir, narrow_student, training, tmp_path / "run")
    name = "student/model.safetensors"
    assert again.manifest["files"][name] == run.manifest["files"][name]


def test_a_run_with_all_tokens_is_another_run(
    narrow_student: Student, training: Training, dataset_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(StopError):
        go(dataset_dir, narrow_student, training, tmp_path / "run", at=1)
    whole = narrow_student.model_copy(update={"vocabulary": "all"})
    with pytest.raises(BadInput, match="vocabulary was data and is unset"):
        go(dataset_dir, whole, training, tmp_path / "run")


def test_lora_ends_in_a_narrow_student_too(
    narrow_student: Student, training: Training, dataset_dir: Path, tmp_path: Path
) -> None:
    lora = {"tune": "lora", "lora": Lora(rank=4), "max_steps": 2}
    found = go(dataset_dir, narrow_student, training, tmp_path / "run", **lora)
    model = AutoModelForCausalLM.from_pretrained(found.student)
    assert len(model.model.embed_tokens.weight) == found.manifest["student"]["vocabulary"]["tokens"]


@pytest.mark.parametrize(
    ("cut_to", "changes"),
    [
        ({"layers": 1}, {"packing": True}),
        ({"scratch": {"hidden_size": 32, "num_hidden_layers": 3}}, {}),
    ],
)
def test_it_goes_with_other_ways_to_be_small(
    cut_to: dict[str, Any], changes: dict[str, Any], narrow_student: Student, training: Training,
    dataset_dir: Path, tmp_path: Path, run: Run,
) -> None:  # fmt: skip
    student = narrow_student.model_copy(update=cut_to)
    found = go(dataset_dir, student, training, tmp_path / "run", max_steps=1, **changes)
    model = AutoModelForCausalLM.from_pretrained(found.student)
    cut_down = found.manifest["student"]["vocabulary"]
    assert cut_down == run.manifest["student"]["vocabulary"]
    assert len(model.model.embed_tokens.weight) == model.config.vocab_size == cut_down["tokens"]
    assert len(model.model.layers) == found.manifest["student"]["layers"] != 2


def test_fewer_rows_than_tokens_are_refused_by_the_dry_run_too(
    narrow_student: Student, training: Training, dataset_dir: Path, may_train: Permit,
    tmp_path: Path,
) -> None:  # fmt: skip
    student = narrow_student.model_copy(update={"scratch": {"vocab_size": 100}})
    with pytest.raises(BadInput, match="embeds 100 tokens and its tokenizer has number") as dry:
        rehearse(dataset_dir, student, training, may_train, cache_dir=tmp_path)
    with pytest.raises(BadInput) as wet:
        go(dataset_dir, student, training, tmp_path / "run")
    assert str(dry.value) == str(wet.value)


def rows(tokenizer: Any, count: int, **changes: Any) -> list[dict[str, Any]]:
    """Every third row, so that none speaks of a card."""
    return [TeacherRow(3 * n + 2, tokenizer, changes).columns() for n in range(count)]


@pytest.fixture(scope="module")
def rates(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    found = rows(tokenizer, 8)
    worse = [{"role": "assistant", "content": '{"intent": "where is my card"}'}]
    splits = {
        "train": found[:6],
        "validation": found[6:7],
        "test": found[7:],
        "rejected": rows(tokenizer, 4, completion=worse, sample=1),
    }
    return write_dataset(tmp_path_factory.mktemp("datasets") / "rates", splits)


def test_candidates_that_are_no_token_any_more_are_in_the_tail(
    rates: Path, narrow_student: Student, tmp_path: Path
) -> None:
    """Of 0.7, 0.1 for ` card`, 0.05 for `e` and 0.05 for no token, a narrow student has two."""
    training = Training(objective={"top_k": 1.0}, max_steps=1, threads=1, coverage_floor=0.7)
    found = go(rates, narrow_student, training, tmp_path / "run")
    coverage = found.manifest["training"]["coverage"]
    assert coverage["positions"] == {"top_k": 1.0}
    assert coverage["mass"]["mean"] == pytest.approx(0.75, abs=1e-4)
    with pytest.raises(BadInput, match=r"hold 75\.0% .* below the floor of 80\.0%"):
        go(rates, narrow_student, training, tmp_path / "other", coverage_floor=0.8)


def test_the_dropped_answers_of_dpo_keep_their_tokens(
    rates: Path, narrow_student: Student, tmp_path: Path, tokenizer: Any
) -> None:
    short = Training(max_steps=1, batch_size=4, threads=1)
    plain = go(rates, narrow_student, short, tmp_path / "sft").student
    pairs = go(rates, narrow_student, short, tmp_path / "dpo", objective={"dpo": 1.0}).student
    card = tokenizer.tokenize(" card")
    assert len(card) == 1
    assert card[0] not in AutoTokenizer.from_pretrained(plain).get_vocab()
    assert card[0] in AutoTokenizer.from_pretrained(pairs).get_vocab()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": {"on_policy": 1.0}}, "a narrowed one is nobody else's"),
        ({"tune": "qlora"}, "narrowed in fp32, and qlora loads the base in 4 bits"),
    ],
)
def test_what_needs_the_whole_vocabulary_is_refused_with_the_reason(
    changes: dict[str, Any], said: str, rates: Path, narrow_student: Student, tmp_path: Path
) -> None:
    scorer = {"teacher": narrow_student.base, "teacher_offering": "smollm2@self-host"}
    with pytest.raises(BadInput, match=said):
        go(rates, narrow_student, Training(**scorer), tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_rows_that_would_be_cut_otherwise_are_refused() -> None:
    demand_the_same([[7, 9], [9]], [[0, 1], [1]], (7, 9))
    with pytest.raises(BadInput, match="1 of 2 rows would be cut into other tokens"):
        demand_the_same([[7, 9], [9]], [[0, 1], [0]], (7, 9))
    with pytest.raises(BadInput, match="1 of 2 rows"):
        demand_the_same([[7, 9], [9]], [[0, 1]], (7, 9))

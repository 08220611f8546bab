"""The contract with TRL at the pinned version: what train/trainer.py leans on."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback
from trl import SFTTrainer

from policy.errors import BadInput
from tests.train.parts import TeacherRow, build_model
from train.checkpoints import newest
from train.config import Training
from train.data import Example, Reader, encode
from train.devices import Hardware
from train.metrics import Metrics
from train.objectives import mix, student
from train.quiet import quiet
from train.scoring import add_scoring
from train.trainer import Collate, Order, Plan, StudentTrainer, Watch, features, positions

OURS = (
    "compute_loss",
    "_set_signature_columns_if_needed",
    "_get_train_sampler",
    "_send_telemetry",
    "_save",
    "_save_checkpoint",
    "_save_optimizer_and_scheduler",
    "_load_optimizer_and_scheduler",
    "_save_rng_state",
    "_load_rng_state",
)


@pytest.fixture(scope="module")
def examples(tokenizer: Any) -> list[Example]:
    rows = [TeacherRow(n, tokenizer, {"signal": n % 3 > 0}).columns() for n in range(8)]
    return encode(rows, Reader(tokenizer), max_length=512)[0]


@pytest.fixture
def model(tokenizer: Any) -> Any:
    return build_model(len(tokenizer))


def make(
    model: Any, tokenizer: Any, examples: list[Example], folder: Path, **changes: Any
) -> tuple[StudentTrainer, Metrics]:
    training = Training(**{"objective": {"top_k": 1.0, "sft": 0.5}, "batch_size": 4, **changes})
    metrics = Metrics(folder / "metrics.jsonl", 2, 1, 1.0, lambda: 0.0, None)
    with quiet():
        trainer = StudentTrainer.of(
            model,
            Reader(tokenizer),
            examples,
            training,
            Plan(2, folder / "checkpoints", Hardware(cuda=False, bf16=False)),
            Watch(metrics, [], training),
        )
    return trainer, metrics


def test_the_pinned_version_still_has_every_method_that_we_replace() -> None:
    assert version("trl") == "1.16.0"
    assert [n for n in OURS if not hasattr(SFTTrainer, n)] == []
    assert hasattr(Trainer, "loss_is_scaled_for_ga")


def test_the_evidence_reaches_the_loss(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    trainer, _ = make(model, tokenizer, examples, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["top_ids"].shape[0] == int(batch["labels"].ne(-100).sum())
    trainer.create_optimizer_and_scheduler(2)
    trainer.compute_loss(trainer.model, batch)
    assert trainer.take_sums()["top_k_tokens"] > 0


def test_the_loss_is_one_token_at_a_time_over_the_whole_accumulated_batch(
    tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    weights = []
    for folder, batch, accumulate in (("whole", 4, 1), ("parts", 1, 4)):
        trainer, _ = make(
            build_model(len(tokenizer)),
            tokenizer,
            examples,
            tmp_path / folder,
            batch_size=batch,
            accumulate=accumulate,
        )
        trainer.order.rows = [0, 1, 2, 3, 4, 5, 6, 7]
        (tmp_path / folder).mkdir(exist_ok=True)
        with quiet():
            trainer.teach(None)
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], atol=2e-5, rtol=1e-3)


def test_padding_changes_neither_loss_nor_gradient(
    model: Any, tokenizer: Any, examples: list[Example]
) -> None:
    add_scoring(model)
    collate, found = Collate(tokenizer.pad_token_id), []
    for groups in ([examples], [[e] for e in examples]):
        model.zero_grad()
        values = [
            mix(
                positions(model, collate([features(e) for e in group])), {"top_k": 1.0, "sft": 0.5}
            ).value
            for group in groups
        ]
        total = torch.stack(values).sum()
        total.backward()  # type: ignore[no-untyped-call]
        found.append((total.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=1e-4)
    assert bool(found[0][1].isfinite().all())


def loss_and_gradient(model: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
    model.zero_grad()
    found = positions(model, batch)
    value = mix(found, {"top_k": 1.0, "sft": 0.5}).value / len(found.labels)
    value.backward()
    return value.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


def test_packed_rows_have_the_loss_and_the_gradient_of_padded_ones(
    model: Any, tokenizer: Any, examples: list[Example]
) -> None:
    add_scoring(model)
    rows = [features(e) for e in examples]
    padded, packed = (
        loss_and_gradient(model, Collate(tokenizer.pad_token_id, packing=packing)(rows))
        for packing in (False, True)
    )
    torch.testing.assert_close(padded, packed, atol=1e-5, rtol=1e-5)


def test_a_packed_row_sees_no_other(model: Any, tokenizer: Any, examples: list[Example]) -> None:
    add_scoring(model)
    collate = Collate(tokenizer.pad_token_id, packing=True)
    other = replace(examples[0], input_ids=[9, 8, *examples[0].input_ids[2:]])
    tail = len(examples[1].completion)
    with torch.no_grad():
        one, two = (
            student(positions(model, collate([features(first), features(examples[1])]))).label
            for first in (examples[0], other)
        )
    assert not torch.allclose(one[:-tail], two[:-tail], atol=1e-4)
    torch.testing.assert_close(one[-tail:], two[-tail:])


def test_packing_trains_along_the_same_curve(
    tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    weights = []
    for packing in (False, True):
        trainer, _ = make(
            build_model(len(tokenizer)), tokenizer, examples, tmp_path, packing=packing
        )
        with quiet():
            trainer.teach(None)
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], atol=2e-5, rtol=1e-3)


def test_checkpointed_layers_are_run_twice(
    tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    runs = []
    for again in (False, True):
        model = build_model(len(tokenizer))
        seen: list[int] = []
        model.model.layers[0].self_attn.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        trainer, _ = make(model, tokenizer, examples, tmp_path, gradient_checkpointing=again)
        with quiet():
            trainer.teach(None)
        runs.append(len(seen))
    assert runs == [2, 4]


class Poison(TrainerCallback):  # type: ignore[misc]
    """A gradient that overflowed: one weight is no number after step 2."""

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.global_step == 2:
            next(rest["model"].parameters()).data[0, 0] = float("nan")


def test_a_weight_that_is_no_number_never_replaces_the_last_good_checkpoint(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    trainer, _ = make(model, tokenizer, examples, tmp_path, save_steps=1)
    trainer.args.max_steps = 3
    trainer.order.rows += trainer.order.rows[:4]
    trainer.add_callback(Poison())
    with quiet(), pytest.raises(BadInput, match=r"after step 2 the weight .* is not a number"):
        trainer.teach(None)
    assert newest(tmp_path / "checkpoints") == tmp_path / "checkpoints" / "checkpoint-1"


def test_each_position_predicts_its_own_label(
    model: Any, tokenizer: Any, examples: list[Example]
) -> None:
    add_scoring(model)
    example = examples[1]
    found = positions(model, Collate(tokenizer.pad_token_id)([features(e) for e in examples[:3]]))
    start = len(examples[0].completion)
    ids = torch.tensor([example.input_ids])
    whole = model(input_ids=ids).logits[0, example.prompt_length - 1 : -1].log_softmax(-1)
    mine = slice(start, start + len(example.completion))
    expected = whole.gather(-1, torch.tensor(example.completion)[:, None]).squeeze(-1)
    torch.testing.assert_close(student(found).label[mine], expected, atol=1e-4, rtol=1e-3)
    assert found.labels[mine].tolist() == example.completion


def test_the_prompt_costs_no_scores(model: Any, tokenizer: Any, examples: list[Example]) -> None:
    add_scoring(model)
    found = positions(model, Collate(tokenizer.pad_token_id)([features(e) for e in examples]))
    assert len(found.scores.chosen) == sum(len(e.completion) for e in examples)


def test_the_order_is_a_function_of_the_seed_and_passes_over_every_row() -> None:
    lengths = [n % 7 for n in range(50)]
    one, two, other = (list(Order(lengths, 25, 4, seed)) for seed in (1, 1, 2))
    assert one == two != other
    assert sorted(one[:50]) == sorted(one[50:]) == list(range(50))


def test_nothing_is_sent_and_nothing_is_pickled(
    model: Any, tokenizer: Any, examples: list[Example], tmp_path: Path
) -> None:
    trainer, _ = make(model, tokenizer, examples, tmp_path, save_steps=1)
    with quiet():
        trainer.teach(None)
    assert StudentTrainer._send_telemetry is not SFTTrainer._send_telemetry
    kinds = {p.suffix for p in (tmp_path / "checkpoints").rglob("*") if p.is_file()}
    assert kinds <= {".safetensors", ".json"}


def test_chunks_of_several_rows_keep_their_tokens_apart(
    tokenizer: Any, examples: list[Example]
) -> None:
    one = replace(examples[0], chunks=[(1, 3, -0.5), (4, 5, -0.25)])
    two = replace(examples[1], chunks=[(0, 2, -2.0)])
    batch = Collate(tokenizer.pad_token_id)([features(e) for e in (one, examples[2], two)])
    numbers = batch["chunk_ids"].tolist()
    start = len(one.completion) + len(examples[2].completion)
    assert numbers[:6] == [-1, 0, 0, -1, 1, -1]
    assert numbers[start : start + 3] == [2, 2, -1]
    assert batch["chunk_logprobs"].tolist() == [-0.5, -0.25, -2.0]

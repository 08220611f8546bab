"""The page a person reads before using a student: what it is, from whom, by what right, how good.

A Hugging Face model card (Mitchell et al., 2019, arXiv:1810.03993). Everything on it is taken from
the run's manifest, so it says nothing that the receipt does not.

    Path("runs/sft/README.md").write_text(render(manifest, evaluation))
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from policy.card import front_matter, licence_fields

NAMES = {
    "exact_match": "exact match",
    "valid": "valid answers",
    "kl": "KL to the teacher a token",
    "top1_agreement": "same top token as the teacher",
}


def render(manifest: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> str:
    """The whole page, front matter first."""
    parts = [
        front_matter(_metadata(manifest)) + "\n",
        f"# {manifest['name']}\n",
        _student(manifest),
        _teachers(manifest),
        _terms(manifest),
        _training(manifest),
        _curve(manifest),
        _figures(evaluation) if evaluation else "",
        _limits(manifest),
    ]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def _metadata(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the hub reads, from the manifest alone."""
    student = manifest["student"]
    return {
        **licence_fields(student.get("license") or ""),
        "base_model": student.get("origin"),
        "datasets": [manifest["dataset"]["name"]],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["synthetic", "distillation"],
    }


def _student(manifest: Mapping[str, Any]) -> str:
    student = manifest["student"]
    return (
        f"A student of {student['parameters']:,} parameters ({student['layers']} layers,"
        f" {student['trainable']:,} of them trained) that starts from"
        f" `{student['origin'] or student['base']}` (`{student['base_digest']}`) and was taught"
        f" on the synthetic dataset `{manifest['dataset']['name']}`"
        f" (`{manifest['dataset']['digest']}`).{_vocabulary(student.get('vocabulary'))}\n"
    )


def _vocabulary(cut: Mapping[str, Any] | None) -> str:
    """What a narrowed vocabulary means for whoever gives the student other text."""
    if not cut:
        return ""
    return (
        f" Of {cut['of']:,} tokens it keeps {cut['tokens']:,}: those of the rows that it was taught"
        " on, every byte and every special token. Other text is spelled in smaller pieces."
    )


def _teachers(manifest: Mapping[str, Any]) -> str:
    data = manifest.get("data", {})
    lines = ["## Teachers\n"]
    for teacher in data.get("teachers", []):
        lines.append(
            f"- `{teacher.get('model', '')}` under `{teacher.get('offering', '')}`, terms"
            f" `{teacher.get('terms_pin', '')}`, {teacher.get('rows', 0)} rows"
        )
    if data.get("sampling"):
        lines.append(f"- Sampling: `{json.dumps(data['sampling'], sort_keys=True)}`")
    if data.get("signal"):
        lines.append(f"- Stored probabilities: `{json.dumps(data['signal'], sort_keys=True)}`")
    if len(lines) == 1:
        lines.append("The dataset's manifest names none.")
    return "\n".join(lines) + "\n"


def _terms(manifest: Mapping[str, Any]) -> str:
    decision = manifest["decision"]
    lines = [
        "## By what right\n",
        f"Decided on {decision['date']} for purpose `{decision['purpose']}`, distribution"
        f" `{decision['distribution']}`: **{_level(decision['level'])}**.\n",
    ]
    lines += [f"- {_reason(reason)}" for reason in decision["reasons"]]
    duties = manifest.get("obligations", [])
    lines.append("\nDuties: " + (", ".join(f"`{duty}`" for duty in duties) or "none") + ".")
    if manifest.get("as_teacher"):
        lines.append(f"\nWhen it teaches in turn, it is the offering `{manifest['as_teacher']}`.")
    return "\n".join(lines) + "\n"


def _level(level: Any) -> str:
    return str(level).replace("_", " ")


def _reason(reason: Mapping[str, Any]) -> str:
    source = ", ".join(str(reason[k]) for k in ("document", "clause") if reason.get(k))
    return f"{reason.get('text', '')}" + (f" ({source})" if source else "")


def _training(manifest: Mapping[str, Any]) -> str:
    training, metrics = manifest["training"], manifest["metrics"]
    mixed = " + ".join(f"{weight} · {name}" for name, weight in training["objective"].items())
    lines = [
        "## Training\n",
        f"- Objective: {mixed}",
        f"- {training['steps']} steps of {training['batch_size'] * training['accumulate']}"
        f" rows, learning rate {training['learning_rate']}, seed {training['seed']}",
    ]
    counts = training["counts"]
    lines.append(
        f"- {counts.get('examples', 0)} rows taught, {counts.get('positions', 0)} tokens,"
        f" {counts.get('signal_positions', 0)} of them with the teacher's probabilities"
        f"{_mass(training.get('coverage', {}))}"
    )
    lines += [
        f"- Left out: {counts[key]} rows ({reason})"
        for key, reason in LEFT_OUT.items()
        if counts.get(key)
    ]
    lines.append(f"- Last loss {metrics['loss']:.4f}" if "loss" in metrics else "")
    if "validation_loss" in metrics:
        lines.append(f"- Validation loss {metrics['validation_loss']:.4f}")
    return "\n".join(line for line in lines if line) + "\n"


def _mass(coverage: Mapping[str, Any]) -> str:
    """How much of the teacher's probability the candidates hold, where there are any."""
    mass = coverage.get("mass")
    return f" (which hold {mass['mean']:.1%} of its mass)" if mass else ""


BLOCKS = "▁▂▃▄▅▆▇█"


def _curve(manifest: Mapping[str, Any]) -> str:
    """The loss from the first step to the last, as a line of blocks, and the picture."""
    curve = manifest.get("curve") or {}
    losses = [value for _, value in curve.get("loss", [])]
    if len(losses) < 2:
        return ""
    low, high = min(losses), max(losses)
    scale = (len(BLOCKS) - 1) / (high - low or 1.0)
    line = "".join(BLOCKS[round((value - low) * scale)] for value in losses)
    picture = f"\n![loss by step]({curve['picture']})\n" if curve["picture"] else ""
    return f"Loss, {losses[0]:.3f} to {losses[-1]:.3f}: `{line}`\n{picture}"


LEFT_OUT = {
    "too_long": "longer than max_length",
    "prompt_not_a_prefix": "the template rewrites the prompt",
    "no_end_of_turn": "the answer is not closed",
}


def _figures(evaluation: Mapping[str, Any]) -> str:
    """The held-out table, each figure with its 95 % interval."""
    lines = [
        "## Held-out figures\n",
        f"{evaluation['rows']} prompts that taught nothing, greedy"
        " answers; 95 % bootstrap intervals over rows.\n",
        "| metric | value | 95 % interval |",
        "|---|--:|---|",
    ]
    for key, name in NAMES.items():
        if key in evaluation["metrics"]:
            found = evaluation["metrics"][key]
            lines.append(
                f"| {name} | {found['value']:.3f} | {found['low']:.3f} to {found['high']:.3f} |"
            )
    for key in ("prompt_tokens", "completion_tokens"):
        if key in evaluation["metrics"]:
            name = key.replace("_", " ")
            lines.append(f"| mean {name} | {evaluation['metrics'][key]} | |")
    return "\n".join(lines) + "\n"


def _limits(manifest: Mapping[str, Any]) -> str:
    notes = list(_notes(manifest))
    return "\n".join(["## Limits\n", *(f"- {note}" for note in notes)]) + "\n"


def _notes(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "It learnt one task from a teacher's answers and repeats the teacher's mistakes; the"
        " figures hold for prompts like the held-out ones."
    )
    if said := manifest["student"].get("quantisation"):
        yield f"Student: {said}; the rounding of that file remains in them."
    if said := manifest.get("data", {}).get("quantisation"):
        yield f"Teacher: {said if isinstance(said, str) else json.dumps(said, sort_keys=True)}"
    unaligned = manifest["training"]["counts"].get("unaligned_positions", 0)
    if unaligned:
        yield (
            f"{unaligned} tokens of rows with stored probabilities did not line up with the"
            " student's tokens and were taught as text."
        )

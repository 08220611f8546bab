"""OpenAI's own files: stored completions, fine-tuning data, and the output of batches.

    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}

Sources: OpenAI API reference, "Chat completions › List" and "Get messages" (stored), "Fine-tuning ›
Training format for chat models", "Batch › The request output object".
"""

from typing import Any

from policy.errors import BadInput
from synth.imports.record import (
    File,
    Row,
    answer,
    lines_of,
    milliseconds,
    table,
    text_answer,
    turns,
    word,
)


def stored(file: File) -> list[Row]:
    """Stored chat completions, each with its messages under `messages`: the list does not give
    them, `/chat/completions/ID/messages` does."""
    rows = []
    for where, value in lines_of(file.path):
        given = table(value, where)
        completion, raw = answer(given, where)
        rows.append(
            Row(
                place=_place(where),
                messages=turns(given.get("messages"), where),
                completion=completion,
                model=file.model or word(given.get("model")),
                collected_ms=milliseconds(given.get("created"), where),
                raw=raw,
            )
        )
    return rows


def finetune(file: File) -> list[Row]:
    """Fine-tuning examples: the last turn is the answer, what stands before it the prompt."""
    rows = []
    for where, value in lines_of(file.path):
        messages = table(value, where).get("messages")
        if not isinstance(messages, list) or len(messages) < 2:
            raise BadInput("it has no list of two messages or more", where=where)
        last = table(messages[-1], where, "last message")
        if last.get("role") != "assistant":
            raise BadInput("the last message is not the assistant's", where=where)
        completion, raw = text_answer(last, where)
        rows.append(
            Row(_place(where), turns(messages[:-1], where), completion, file.model, None, raw)
        )
    return rows


def batch(file: File) -> list[Row]:
    """Output lines of a batch, joined by `custom_id` with the file of its requests."""
    if file.requests is None:
        raise BadInput(
            "a batch's output has no prompts", where=file.path.name, fix="add --requests FILE"
        )
    asked = {}
    for where, value in lines_of(file.requests):
        given = table(value, where)
        asked[str(given.get("custom_id"))] = table(given.get("body"), where, "body")
    rows = []
    for where, value in lines_of(file.path):
        given = table(value, where)
        response = given.get("response")
        if given.get("error") or not _is_answer(response):
            file.skipped += 1
            continue
        name = str(given.get("custom_id"))
        if name not in asked:
            raise BadInput(f"custom_id {name!r} is not in {file.requests.name}", where=where)
        body = table(table(response, where)["body"], where, "body")
        completion, raw = answer(body, where)
        rows.append(
            Row(
                place=_place(where),
                messages=turns(asked[name].get("messages"), where),
                completion=completion,
                model=file.model or word(asked[name].get("model")),
                collected_ms=milliseconds(body.get("created"), where),
                raw=raw,
            )
        )
    return rows


def _is_answer(response: Any) -> bool:
    return isinstance(response, dict) and response.get("status_code") == 200 and "body" in response


def _place(where: str) -> str:
    return " ".join(where.rsplit(" ", 2)[-2:])

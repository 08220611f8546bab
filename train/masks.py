"""Where the student's own words begin in a rendered chat.

Most templates write an answered prompt as they wrote the open one, and the prompt's tokens are then
a prefix of the chat's. Others do not: they close an empty `<think>` in the open prompt, or take old
reasoning out. Such a template says for itself which tokens are the assistant's, between
`{% generation %}` and `{% endgeneration %}`
(https://huggingface.co/docs/transformers/chat_templating, "return_assistant_tokens_mask").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")


def marks_answers(tokenizer: Any) -> bool:
    """Whether its chat template marks the assistant's tokens."""
    return bool(MARK.search(tokenizer.chat_template or ""))


def answer_start(tokenizer: Any, messages: Sequence[Any], whole: list[int]) -> int:
    """The first token of the last answer; 0 where the template marks none, or where its tokens
    are not those of the chat as it is trained."""
    found = tokenizer.apply_chat_template(
        list(messages), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    mask = found["assistant_masks"]
    if found["input_ids"] != whole or 1 not in mask:
        return 0
    end = len(mask) - mask[::-1].index(1)
    before = [n for n in range(end) if not mask[n]]
    return before[-1] + 1 if before else 0

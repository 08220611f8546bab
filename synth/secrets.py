"""The only reader of the environment: keys and logins come in here and never go to a file.

    >>> key_for("OPENAI_API_KEY", {"OPENAI_API_KEY": "sk-example"})
    Key('sk-…')

A key with a stray newline would be printed whole by the HTTP library's own error, so it is
refused before it gets there.
"""

import os
import re
from collections.abc import Mapping
from typing import NoReturn

from policy.errors import BadInput

WHERE = "[teacher] api_key_env"
_KEY = re.compile(r"[!-~]{3,512}")


class Key:
    """An API key that cannot be printed by accident: `reveal` is the only way to its text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The key itself, for the Authorization header and nothing else."""
        return self._text

    def __repr__(self) -> str:
        return "Key('sk-…')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not stored")


def login_for(variable: str, environment: Mapping[str, str]) -> str:
    """A proxy's `user:password`; an empty name means one that wants none.

    Raises BadInput if the variable is unset or holds something else.
    """
    if not variable:
        return ""
    where, text = "[teacher] proxy_auth_env", environment.get(variable, "")
    if not text:
        raise BadInput(
            f"the environment variable {variable} is not set",
            where=where,
            fix=f"export {variable}=USER:PASSWORD and run again",
        )
    if not text.isprintable() or ":" not in text:
        raise BadInput(
            f"the value of {variable} is not user:password on one line",
            where=where,
            fix="set it again",
        )
    return text


def key_for(variable: str, environment: Mapping[str, str] = os.environ) -> Key:
    """The key in `variable`. An empty name means a server that wants none.

    Raises BadInput if the variable is unset or holds something that is not one printable word.
    """
    if not variable:
        return Key("none")
    text = environment.get(variable, "").strip()
    if not text:
        raise BadInput(
            f"the environment variable {variable} is not set",
            where=WHERE,
            fix=f"export {variable}=… and run again",
        )
    if not _KEY.fullmatch(text):
        raise BadInput(
            f"the value of {variable} has spaces, line breaks or other unprintable characters",
            where=WHERE,
            fix="copy the key again, without anything around it",
        )
    return Key(text)

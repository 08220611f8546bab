"""The metadata on top of a Hugging Face card, the same for a dataset and a student.

>>> print(front_matter({"license": "mit", "tags": ["synthetic"]}))
---
license: "mit"
tags: ["synthetic"]
---

Values are written as JSON, which is YAML too: what somebody else wrote can inject nothing.

Source: huggingface/hub-docs, datasetcard.md, modelcard.md and the list of licence identifiers.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_LICENCES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear
c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl
ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0
odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3
llama4 grok2-community gemma unknown other
"""
LICENCES = frozenset(_LICENCES.split())
"""What the hub takes for `license`; anything else is `other`, with a name of its own."""

_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
_FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


def front_matter(fields: Mapping[str, Any]) -> str:
    """The block of metadata; empty fields are left out."""
    lines = [
        f"{name}: {_yaml(value)}"
        for name, value in fields.items()
        if value not in ("", None, [], {})
    ]
    return "\n".join(["---", *lines, "---"])


def _yaml(value: Any) -> str:
    """JSON, less what YAML takes for the end of a line or refuses inside quotes."""
    text = json.dumps(value, ensure_ascii=False)
    return _BREAKS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def body_of(card: str) -> str:
    """A card without its metadata."""
    return _FRONT.sub("", card, count=1).lstrip("\n")


def licence_fields(licence: str, named: Iterable[str] = (), link: str = "") -> dict[str, str]:
    """`license`, and where that is `other` its name and link. `named` are the licences that duties
    ask to be named: where there is one, no standard identifier says enough."""
    wanted = sorted(set(named))
    known = licence.lower()
    if not wanted and known in LICENCES:
        return {"license": known}
    names = [*wanted, *([licence] if licence and known not in wanted else [])]
    return {"license": "other", "license_name": "-".join(names), "license_link": link}


def size_category(rows: int) -> str:
    """The hub's word for so many rows."""
    return next((word for limit, word in _SIZES if rows < limit), "n>1M")

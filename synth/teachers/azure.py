"""Azure OpenAI's deployments API: chat completions under a path and a key header of its own.

    base_url = "https://my-resource.openai.azure.com"
    model = "my-deployment"
    api_version = "2024-10-21"
    # POST …/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21

Azure's newer v1 API needs none of this: adapter `openai` or `responses` with a base URL that ends
in `/openai/v1`.

Source: openai 3.54 (lib/azure.py); Microsoft's "API version lifecycle" page.
"""

from urllib.parse import quote

from synth.config import Sampling, Teacher
from synth.teachers.asking import Lack


def path(teacher: Teacher) -> str:
    """The deployment's path, with the version as its query."""
    deployment = quote(teacher.model, safe="")
    version = quote(teacher.api_version, safe="")
    return f"/openai/deployments/{deployment}/chat/completions?api-version={version}"


def credentials(key: str) -> tuple[tuple[str, str], ...]:
    """A header of its own: as a bearer token Azure takes only what Entra ID issues."""
    return (("api-key", key),)


def lacks(teacher: Teacher, sampling: Sampling) -> Lack | None:
    """The version has no default that lasts."""
    if teacher.api_version:
        return None
    return Lack(
        "[teacher] api_version",
        "adapter 'azure' needs a dated version",
        "set it, or use adapter 'openai' with base_url = \"https://….openai.azure.com/openai/v1\"",
    )

"""`init`: a project directory from one of the annotated examples in configs/.

create(Path("my-bot"), "hosted")     # my-bot/project.toml and the prompts it names
"""

import shutil
from pathlib import Path

import synth
from policy.errors import BadInput
from synth.project import load


def templates() -> Path:
    """Where the examples lie: inside an installed wheel, or beside the packages in a clone."""
    package = Path(synth.__file__).parent
    shipped = package / "configs"
    return shipped if shipped.is_dir() else package.parent / "configs"


def create(folder: Path, template: str) -> Path:
    """Copy a template and its prompts; nothing that exists is ever overwritten."""
    source = templates() / f"{template}.toml"
    if not source.is_file():
        known = ", ".join(sorted(path.stem for path in templates().glob("*.toml")))
        raise BadInput(f"no template {template!r}", where="--template", fix=f"one of {known}")
    target = folder / "project.toml"
    if target.exists():
        raise BadInput(
            "there is a project already", where=str(target), fix="choose another directory"
        )
    prompts = Path(load(source).sections.prompts.file)
    copies = [(source, target), (source.parent / prompts, folder / prompts)]
    notice = (source.parent / prompts).parent / "ATTRIBUTION.md"
    if notice.is_file() and prompts.name in notice.read_text(encoding="utf-8"):
        copies.append((notice, folder / prompts.parent / notice.name))
    for one, other in copies:
        try:
            other.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(one, other)
        except OSError as error:
            raise BadInput(f"cannot be written ({error.strerror})", where=str(other)) from error
    return target

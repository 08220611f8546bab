"""`spiritsafe export`: a dataset or a student in other people's formats.

    spiritsafe export croissant project.toml --out bank-support.croissant.json
    spiritsafe export slsa project.toml --run sft --out sft.intoto.json
    spiritsafe export check sft.intoto.json --key keys/log.pub --folder runs/sft

Without `--out` the document goes to standard output. A file that is there is written over only with
`--replace`, and then it is said.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from synth.emit import emit, json_option

if TYPE_CHECKING:
    from synth.bench import Bench
    from synth.exports import Source

_F = TypeVar("_F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)


def bench_of(project: Path, overrides: tuple[str, ...]) -> "Bench":
    """The workbench of a project file, without keys: nothing is sent from here."""
    from synth.bench import Bench
    from synth.display import Display
    from synth.project import load

    return Bench(load(project, overrides), Display.on(sys.stderr), {})


def of_project(function: _F) -> _F:
    """PROJECT and --set, as every verb has them."""
    function = click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE")(
        function
    )
    return click.argument("project", type=click.Path(path_type=Path), default="project.toml")(
        function
    )


def _out(function: _F) -> _F:
    function = click.option("--replace", is_flag=True, help="Write over a file that is there.")(
        function
    )
    return click.option("--out", type=_FILE, help="Write here, not to standard output.")(function)


def _dataset(function: _F) -> _F:
    return click.option("--dataset", default="", help="Which dataset; default the project's.")(
        function
    )


def _run(function: _F) -> _F:
    function = click.option("--published", default="", help="Of published/NAME, not of a run.")(
        function
    )
    return click.option("--run", "run_name", default="", help="Which run; default the first arm.")(
        function
    )


@click.group()
def export() -> None:
    """Hand on what is known of a dataset or a student, in the formats that others read."""


@export.command()
@of_project
@_dataset
@click.option("--base-url", default="", help="Where the files will be fetched; default beside it.")
@click.option("--language", "languages", multiple=True, help="BCP 47, for instance en.")
@_out
def croissant(
    project: Path,
    overrides: tuple[str, ...],
    dataset: str,
    base_url: str,
    languages: tuple[str, ...],
    out: Path | None,
    replace: bool,
) -> None:
    """Croissant 1.1 of a dataset: files, records, PROV, ODRL, responsible AI."""
    from synth.exports import croissant as render
    from synth.exports import dataset_source

    source = dataset_source(bench_of(project, overrides), dataset)
    _put(render(source, to=_seen_from(source, out, base_url), language=languages), out, replace)


def _seen_from(source: "Source", out: Path | None, base_url: str) -> str:
    """What to put before a file's name, so that it is found from where the document lies."""
    if base_url:
        return base_url.rstrip("/") + "/"
    if out is None:
        return ""
    way = os.path.relpath(source.folder.resolve(), out.resolve().parent)
    return "" if way == "." else Path(way).as_posix() + "/"


@export.command()
@of_project
@_dataset
@_run
@click.option("--name", default="", help="Under which name it will stand on the hub.")
@click.option("--language", "languages", multiple=True, help="BCP 47, for instance en.")
@_out
def card(
    project: Path,
    overrides: tuple[str, ...],
    dataset: str,
    run_name: str,
    published: str,
    name: str,
    languages: tuple[str, ...],
    out: Path | None,
    replace: bool,
) -> None:
    """A Hugging Face card: of the dataset, or with --run or --published of a student."""
    from synth.exports import card as render
    from synth.exports import dataset_source

    bench = bench_of(project, overrides)
    if run_name or published:
        source = _student(bench, run_name, published)
    else:
        source = dataset_source(bench, dataset)
    _put(render(source, name=name, languages=languages), out, replace)


@export.command()
@of_project
@_run
@click.option("--key", type=_FILE, help="A signing key; default the log's, keys/log.pem.")
@click.option("--key-name", default="", help="The name in its public line; default the log's.")
@_out
def slsa(
    project: Path,
    overrides: tuple[str, ...],
    run_name: str,
    published: str,
    key: Path | None,
    key_name: str,
    out: Path | None,
    replace: bool,
) -> None:
    """SLSA provenance of a student: an in-toto statement in a signed DSSE envelope."""
    from policy.errors import BadInput
    from policy.keys import load_key
    from synth.checkpoints import KEY
    from synth.exports import provenance

    bench = bench_of(project, overrides)
    source = _student(bench, run_name, published)
    name = key_name or (source.receipt.ledger if source.receipt else "")
    if not name:
        raise BadInput("no ledger gives the key a name", where="--key-name", fix="name the key")
    signing = load_key(key or bench.project.home / KEY)
    _put(provenance(source, signing, name), out, replace)


_OF_STUDENTS = {
    "cyclonedx": "CycloneDX 1.6: the bill of materials of a student, with its model card.",
    "art53": "A draft of the public summary that Article 53(1)(d) of the EU AI Act asks for.",
    "ab2013": "A draft of the twelve disclosures of California's AB 2013.",
}
"""Commands that differ in what they write about a student: the function of that name renders it."""


def _of_student(name: str, words: str) -> None:
    @export.command(name=name, help=words)
    @of_project
    @_run
    @_out
    def command(
        project: Path,
        overrides: tuple[str, ...],
        run_name: str,
        published: str,
        out: Path | None,
        replace: bool,
    ) -> None:
        from synth import exports

        render = getattr(exports, name)
        _put(render(_student(bench_of(project, overrides), run_name, published)), out, replace)


for _name, _words in _OF_STUDENTS.items():
    _of_student(_name, _words)


@export.command()
@click.argument("envelope", type=_FILE)
@click.option("--key", required=True, type=_FILE, help="The public key, such as keys/log.pub.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="The run.")
@json_option
def check(envelope: Path, key: Path, folder: Path | None, as_json: bool) -> None:
    """Check an envelope's signature, and with --folder each file. Exit 5 if it does not hold."""
    from policy.attestation import verify_statement
    from policy.errors import BadInput

    try:
        said, public = envelope.read_text(encoding="utf-8"), key.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot be read: {error}", where=str(envelope)) from error
    found = verify_statement(said, public, folder)
    if as_json:
        emit([{"object": one.object, "problem": one.problem} for one in found])
    for one in found if not as_json else ():
        click.echo(f"{one.object}: {one.problem}")
    if found:
        sys.exit(5)
    files = " and every file it names" if folder else ""
    click.echo(f"verified: the signature{files}", err=True)


def _student(bench: "Bench", run_name: str, published: str) -> "Source":
    from synth.exports import run_source

    if published:
        return run_source(bench, published, published=True)
    return run_source(bench, run_name)


def _put(text: str, out: Path | None, replace: bool) -> None:
    """To standard output, or whole into a file that is not there yet."""
    from policy.errors import BadInput
    from policy.files import write_whole

    if out is None:
        click.echo(text, nl=False)
        return
    there = out.exists()
    if there and not replace:
        raise BadInput("is there already", where=str(out), fix="--replace writes over it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text.encode())
    except OSError as error:
        raise BadInput(f"cannot be written ({error.strerror})", where=str(out)) from error
    click.echo(f"{out} is {'replaced' if there else 'written'}", err=True)

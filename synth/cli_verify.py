"""`spiritsafe verify`: re-hash everything, or one thing; proofs as files for those outside.

spiritsafe verify project.toml
spiritsafe verify row b77-0007 --checkpoint checkpoints/0000000123.note --out row.tlog-proof
python -m policy.verify row row.tlog-proof --key "$(spiritsafe keys show)"
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synth.cli_audit import Questions, bench_and_words, words_option
from synth.emit import emit, json_option

if TYPE_CHECKING:
    from policy.verify import Finding


@click.group(cls=Questions)
def verify() -> None:
    """Re-hash everything: log, checkpoints, completions, datasets, weights. Exit 5 if not whole."""


def settle(found: "Iterable[Finding]", as_json: bool, whole: str) -> None:
    """Print what does not hold, and exit 5; or say that all does."""
    listed = list(found)
    if as_json:
        emit([{"object": one.object, "problem": one.problem} for one in listed])
    else:
        for one in listed:
            click.echo(f"{one.object}: {one.problem}")
    if listed:
        click.echo(f"{len(listed)} objects do not verify", err=True)
        sys.exit(5)
    click.echo(whole, err=True)


@verify.command(name="walk", hidden=True)
@words_option("")
@json_option
def everything(words: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Everything of a project."""
    from synth.audit import findings

    bench, _ = bench_and_words(words, overrides)
    with bench.open() as ledger:
        ledger.only_read()
        found, size = findings(ledger, bench.project.home), ledger.size
    settle(found, as_json, f"verified: {size} log entries, every dataset and run")


@verify.command()
@words_option("ROW")
@click.option("--checkpoint", "note", type=click.Path(path_type=Path, exists=True),
              help="One that you hold; default: the newest of the project.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Write the proofs there.")
@json_option
def row(
    words: tuple[str, ...],
    overrides: tuple[str, ...],
    note: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Prove that a row was in the log at a checkpoint, and is unchanged."""
    from synth.proving import prove_row

    bench, rest = bench_and_words(words, overrides, 1, 1)
    with bench.open() as ledger:
        found, proofs = prove_row(ledger, bench.project.home, rest[0], note)
    if out and not found:
        out.write_text("".join(proofs), encoding="utf-8")
        click.echo(f"{out}: {len(proofs)} proofs; `python -m policy.verify row {out}` checks them")
    settle(found, as_json, f"row {rest[0]}: {len(proofs)} entries were there and are unchanged")


@verify.command()
@words_option("OLD [NEW]")
@click.option("--out", type=click.Path(path_type=Path), help="Write the proof there.")
@json_option
def consistency(
    words: tuple[str, ...], overrides: tuple[str, ...], out: Path | None, as_json: bool
) -> None:
    """Prove that the log only grew since the checkpoint that you hold."""
    from synth.proving import prove_consistency

    bench, rest = bench_and_words(words, overrides, 1, 2)
    with bench.open() as ledger:
        found, proof = prove_consistency(ledger, bench.project.home, *map(Path, rest))
    if out and not found:
        out.write_text(json.dumps(proof, indent=1) + "\n", encoding="utf-8")
    sizes = f"{proof.get('old_size')} to {proof.get('new_size')}"
    settle(found, as_json, f"the log only grew: from {sizes} entries")


@verify.command()
@words_option("RUN")
@click.option("--manifest", "dataset", default="", help="The dataset that it must be trained on.")
@json_option
def model(words: tuple[str, ...], overrides: tuple[str, ...], dataset: str, as_json: bool) -> None:
    """Prove that a student was trained on exactly these rows: weights, run, dataset, log."""
    from synth.proving import prove_model

    bench, rest = bench_and_words(words, overrides, 1, 1)
    with bench.open() as ledger:
        found, said = prove_model(ledger, bench.project.home, rest[0], dataset)
    settle(found, as_json, said)


@verify.command()
@words_option("NAME")
@json_option
def publish(words: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Whether a published student's name, card, licence and notices meet its duties today."""
    from synth.proving import check_published

    bench, rest = bench_and_words(words, overrides, 1, 1)
    settle(check_published(bench, rest[0]), as_json, f"{rest[0]} meets every duty")

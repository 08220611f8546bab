"""A student leaves with its duties met, or stays."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from policy.errors import BadInput, PolicyDenied, VerificationFailed
from policy.manifest import describe_files, read_manifest, write_manifest
from policy.verify import verify_run
from synth.bench import Bench
from synth.display import Display
from synth.formats import write_parquet
from synth.project import load
from synth.publish import Parcel, publish
from tests.synth.parts import project


def house(tmp_path: Path, offering: str, model: str) -> Bench:
    """A finished run on a dataset of one teacher, whose student will be handed to everybody."""
    path = project(
        tmp_path,
        "http://127.0.0.1:9/v1",
        use={"purpose": "train_specialist", "distribution": "weights_public"},
    )
    bench = Bench(load(path), Display(Console(file=io.StringIO())), {})
    dataset = bench.project.datasets / "bot"
    dataset.mkdir(parents=True)
    write_parquet(dataset / "train.parquet", [])
    teacher: dict[str, Any] = {
        "offering": offering,
        "model": model,
        "served_models": [model],
        "terms_pin": "pin",
        "rows": 1,
        "collected": ["2026-06-01", "2026-06-01"],
    }
    frozen = write_manifest(
        dataset,
        {"kind": "dataset", "name": "bot", "teachers": [teacher], "files": describe_files(dataset)},
    )
    run = bench.project.runs / "sft"
    (run / "student").mkdir(parents=True)
    (run / "student" / "model.safetensors").write_bytes(b"weights")
    (run / "README.md").write_text("# A card\n")
    source = {"name": "bot", "digest": frozen["digest"]}
    write_manifest(
        run, {"kind": "run", "name": "sft", "dataset": source, "files": describe_files(run)}
    )
    return bench


def test_a_student_of_llama_must_bear_its_name(tmp_path: Path) -> None:
    bench = house(tmp_path, "llama-3.1@self-host", "llama-3.1-8b-instruct")
    with pytest.raises(PolicyDenied, match="Publish it as Llama-ClinicBot-1B"):
        publish(bench, Parcel("sft", "ClinicBot-1B", "llama3.1", ()))
    assert not (bench.project.home / "published").exists()


def test_a_free_student_leaves_with_a_manifest_that_verifies(tmp_path: Path) -> None:
    bench = house(tmp_path, "gpt-oss@self-host", "gpt-oss-20b")
    target = publish(bench, Parcel("sft", "clinicbot-1b", "apache-2.0", ()))
    assert (target / "model.safetensors").read_bytes() == b"weights"
    assert verify_run(target, bench.project.datasets) == []
    assert read_manifest(target)["published"]["level"] in ("ALLOW", "ALLOW_WITH")


def test_altered_weights_do_not_leave(tmp_path: Path) -> None:
    bench = house(tmp_path, "gpt-oss@self-host", "gpt-oss-20b")
    (bench.project.runs / "sft" / "student" / "model.safetensors").write_bytes(b"wEights")
    with pytest.raises(VerificationFailed, match="is altered"):
        publish(bench, Parcel("sft", "clinicbot-1b", "apache-2.0", ()))


def test_a_name_is_given_once(tmp_path: Path) -> None:
    bench = house(tmp_path, "gpt-oss@self-host", "gpt-oss-20b")
    publish(bench, Parcel("sft", "clinicbot-1b", "apache-2.0", ()))
    with pytest.raises(BadInput, match="published already"):
        publish(bench, Parcel("sft", "clinicbot-1b", "apache-2.0", ()))


def test_gemma_s_notice_must_come_along(tmp_path: Path) -> None:
    bench = house(tmp_path, "gemma-3@self-host", "gemma-3-4b-it")
    with pytest.raises(PolicyDenied, match="gemma"):
        publish(bench, Parcel("sft", "clinicbot-1b", "gemma", ()))


@pytest.mark.parametrize("name", ["../out", "/etc", "", ".hidden"])
def test_a_name_stays_in_its_directory(tmp_path: Path, name: str) -> None:
    bench = house(tmp_path, "gpt-oss@self-host", "gpt-oss-20b")
    with pytest.raises(BadInput, match="cannot name a directory"):
        publish(bench, Parcel("sft", name, "apache-2.0", ()))

"""A dataset and a student in other people's formats, as other people's validators read them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from policy.attestation import open_envelope
from policy.card import front_matter, licence_fields, size_category
from policy.keys import parse_public_key
from policy.manifest import describe_files, read_manifest, write_manifest
from synth.exports import dataset_source
from synth.freeze import log_receipt
from synth.steps import filter_step, freeze_step
from tests import fake_teacher as fake
from tests.command import Done, spiritsafe
from tests.fake_teacher import FakeTeacher
from tests.synth.parts import ask, bench_of, project
from tests.synth.validators import CROISSANT, CYCLONEDX, DSSE, validate
from tests.train.parts import build_model, build_tokenizer

SPLITS = ("train", "validation", "test")
FORMATS = ("croissant", "card", "slsa", "cyclonedx", "art53", "ab2013")


def some_bad(index: int, request: fake.Json) -> fake.Action:
    return fake.answer(f"Reply {index} — «ö»", finish_reason="length" if index % 3 == 0 else "stop")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a frozen dataset and one trained student, all by the real steps."""
    home = tmp_path_factory.mktemp("exports") / "bot"
    base = home.parent / "tiny-base"
    tokenizer = build_tokenizer()
    build_model(len(tokenizer)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    with FakeTeacher(some_bad) as server:
        path = project(home, server.base_url, rows=40,
                       dataset={"label": "intent", "split": {"validation": 0.15, "test": 0.25}},
                       sampling={"samples": 2, "logprobs": 3},
                       student={"base": str(base)},
                       training={"max_steps": 2, "batch_size": 4, "objective": {"sft": 1.0}},
                       arms={"sft": {"dataset": "bot"}})  # fmt: skip
        ask(path)
    bench = bench_of(path)
    with bench.open() as ledger:
        freeze_step(bench, ledger, filter_step(bench, ledger))
    spiritsafe("train", path)
    return path


@pytest.fixture
def path(tmp_path: Path, trained: Path) -> Path:
    """A copy of it."""
    shutil.copytree(trained.parent, tmp_path / "home")
    return tmp_path / "home" / "project.toml"


def export(kind: str, path: Path, *more: str | Path, code: int = 0) -> Done:
    return spiritsafe("export", kind, path, *more, code=code)


def rows(path: Path, split: str) -> list[dict[str, Any]]:
    file = path.parent / "datasets" / "bot" / f"{split}.parquet"
    found: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    return found


def test_mlcroissant_loads_the_rows_of_each_split(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "bot.croissant.json"
    export("croissant", trained, "--out", out, "--language", "en")
    found = validate(CROISSANT, out)
    assert found["issues"].strip() == ""
    for split in SPLITS:
        loaded, stored = found["records"][split], rows(trained, split)
        assert [one[f"{split}/id"] for one in loaded] == [one["id"] for one in stored]
        for one, row in zip(loaded, stored, strict=True):
            said = [m[f"{split}/completion/content"] for m in one[f"{split}/completion"]]
            assert said == [m["content"] for m in row["completion"]]
            asked = [m[f"{split}/prompt/role"] for m in one[f"{split}/prompt"]]
            assert asked == [m["role"] for m in row["prompt"]]
            for mine, theirs in zip(row["top_logprobs"], one[f"{split}/top_logprobs"], strict=True):
                assert theirs == pytest.approx(mine)


def test_croissant_says_who_made_what_and_what_it_may_be_used_for(trained: Path) -> None:
    said = json.loads(export("croissant", trained).out)
    manifest = read_manifest(trained.parent / "datasets" / "bot")
    assert said["conformsTo"][0] == "http://mlcommons.org/croissant/1.1"
    for level in (said, said["distribution"][0], completion_field(said)):
        assert level["prov:wasGeneratedBy"]["@type"] == "prov:Activity"
    agents = said["prov:wasAttributedTo"]
    assert manifest["teachers"][0]["terms_pin"] in agents[0]["prov:label"]
    permission = said["usageInfo"]["odrl:permission"]
    limits = {one["odrl:leftOperand"]["@id"]: one["odrl:rightOperand"]
              for one in permission["odrl:constraint"]}  # fmt: skip
    assert limits == {"odrl:purpose": "train_specialist_generative",
                      "odrl:recipient": "internal_only"}  # fmt: skip
    assert {f"sha256:{one['sha256']}" for one in said["distribution"]} == {
        entry["sha256"] for name, entry in manifest["files"].items() if name.endswith(".parquet")
    }
    assert said["rai:dataCollectionTimeframe"] == manifest["teachers"][0]["collected"]


def completion_field(said: dict[str, Any]) -> dict[str, Any]:
    fields: list[dict[str, Any]] = said["recordSet"][0]["field"]
    return next(one for one in fields if one["name"] == "completion")


def test_prov_and_odrl_survive_mlcroissant(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "bot.json"
    export("croissant", trained, "--out", out)
    again = json.dumps(validate(CROISSANT, out)["again"])
    assert "prov:wasAttributedTo" in again
    assert "odrl:permission" in again


def test_load_dataset_reads_a_frozen_dataset_as_it_lies(trained: Path, tmp_path: Path) -> None:
    """In a process of its own, offline: `datasets` reads its switches when it is imported."""
    import subprocess
    import sys

    script = (
        "import datasets, json, sys; found = datasets.load_dataset(sys.argv[1]);"
        "print(json.dumps({k: [r['id'] for r in v] for k, v in found.items()}))"
    )
    folder = trained.parent / "datasets" / "bot"
    offline = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", script, str(folder)], env=offline,
                          capture_output=True, text=True, timeout=120, check=True)  # fmt: skip
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded == {split: [row["id"] for row in rows(trained, split)] for split in SPLITS}


def test_the_dataset_s_card_is_complete(trained: Path) -> None:
    card = DatasetCard(export("card", trained, "--language", "en").out)
    data = card.data.to_dict()
    assert data["license"] == "cc0-1.0"
    assert data["language"] == ["en"]
    assert data["annotations_creators"] == ["machine-generated"]
    assert data["source_datasets"] == ["original"]
    assert data["size_categories"] == ["n<1K"]
    assert "synthetic" in data["tags"]
    files = data["configs"][0]["data_files"]
    assert {one["split"]: one["path"] for one in files} == {s: f"{s}.parquet" for s in SPLITS}
    lying = DatasetCard.load(trained.parent / "datasets" / "bot" / "README.md")
    assert lying.data.to_dict()["configs"] == data["configs"]
    assert card.text.count("# bot") == 1


def test_the_student_s_card_is_complete(trained: Path) -> None:
    card = ModelCard(export("card", trained, "--run", "sft", "--name", "acme/bot-1b").out)
    data = card.data.to_dict()
    assert data["base_model"] == "tiny-base"
    assert data["datasets"] == ["bot"]
    assert data["license"] == "other"
    assert data["library_name"] == "transformers"
    assert {"synthetic", "distillation"} <= set(data["tags"])
    digest = read_manifest(trained.parent / "runs" / "sft")["digest"]
    assert f"manifest `{digest}`, entry" in card.text


def bind(path: Path, *duties: str) -> None:
    """The student of somebody whose teacher asks for something in return."""
    folder = path.parent / "runs" / "sft"
    manifest = {**read_manifest(folder), "obligations": list(duties)}
    manifest["files"] = describe_files(folder)
    write_manifest(folder, manifest)
    with bench_of(path).open() as ledger:
        log_receipt(ledger, folder, "train")


def test_duties_stand_on_the_card_and_bind_the_name(path: Path) -> None:
    bind(path, "llama_name_prefix", "llama_licence_copy", "llama_built_with")
    refused = export("card", path, "--run", "sft", "--name", "acme/bot", code=3)
    assert 'must begin with "Llama"' in refused.err
    card = ModelCard(export("card", path, "--run", "sft", "--name", "acme/Llama-bot").out)
    assert card.data.license == "other"
    assert "llama" in card.data.license_name
    assert 'The name begins with "Llama"' in card.text
    assert "These files come along: Notice*" in card.text
    bom = json.loads(export("cyclonedx", path).out)
    named = {one["name"] for one in bom["metadata"]["component"]["modelCard"]["properties"]}
    assert "spiritsafe:duty:llama_licence_copy" in named


def test_cyclonedx_is_strictly_valid(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "bom.json"
    export("cyclonedx", trained, "--out", out)
    assert validate(CYCLONEDX, out) == ""
    bom = json.loads(out.read_text())
    student = bom["metadata"]["component"]
    roles = [one["properties"][0]["value"] for one in student["pedigree"]["ancestors"]]
    assert roles == ["base", "teacher"]
    assert student["modelCard"]["modelParameters"]["datasets"] == [{"ref": "dataset"}]
    assert student["modelCard"]["considerations"]["useCases"]
    weights = read_manifest(trained.parent / "runs" / "sft")["files"]["student/model.safetensors"]
    assert {"name": "spiritsafe:file:student/model.safetensors", "value": weights["sha256"]} in (
        student["properties"]
    )


def test_the_statement_is_verified_by_others_and_names_the_weights(
    trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sft.intoto.json"
    export("slsa", trained, "--run", "sft", "--out", out)
    public = (trained.parent / "keys" / "log.pub").read_text()
    said = open_envelope(out.read_text(), public)
    folder = trained.parent / "runs" / "sft"
    files = read_manifest(folder)["files"]
    subjects = {one["name"]: f"sha256:{one['digest']['sha256']}" for one in said["subject"]}
    assert subjects == {k: v["sha256"] for k, v in files.items() if k.startswith("student/")}
    built = said["predicate"]["buildDefinition"]
    assert built["externalParameters"]["purpose"] == "train_specialist_generative"
    names = [one["name"] for one in built["resolvedDependencies"]]
    assert names[:3] == ["datasets/bot/manifest.json", names[1], "base/tiny-base"]
    assert names[1].startswith("log/spiritsafe.local/")
    raw = parse_public_key(public).raw.hex()
    judged = validate(DSSE, out, raw)
    assert len(judged["verified"]) == 1
    assert sorted(subjects) == judged["subjects"]
    assert validate(DSSE, out, "00" * 32)["verified"] == []


def test_an_envelope_is_checked_against_key_and_files(path: Path, tmp_path: Path) -> None:
    out, run = tmp_path / "sft.json", path.parent / "runs" / "sft"
    export("slsa", path, "--run", "sft", "--out", out)
    against = ("--key", path.parent / "keys" / "log.pub", "--folder", run)
    assert "verified" in spiritsafe("export", "check", out, *against).err
    weights = run / "student" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(bytes(changed))
    assert "student/model.safetensors" in spiritsafe("export", "check", out, *against, code=5).out
    envelope = json.loads(out.read_text())
    envelope["payload"] = "A" + envelope["payload"][1:]
    out.write_text(json.dumps(envelope))
    assert "no signature holds" in spiritsafe("export", "check", out, *against, code=5).out


def test_the_article_53_draft_has_the_template_s_sections(trained: Path) -> None:
    said = export("art53", trained).out
    for section in ("1. General information", "1.1 Provider identification", "1.2 Model",
                    "1.3 Modalities", "2. List of data sources", "2.1 Publicly available",
                    "2.2 Private", "2.3 Data crawled", "2.4 User data", "2.5 Synthetic data",
                    "2.6 Other sources", "3. Data processing aspects", "3.1 Respect",
                    "3.2 Removal of illegal content", "3.3 Other information"):  # fmt: skip
        assert f"# {section}" in said
    rows_ = read_manifest(trained.parent / "datasets" / "bot")["teachers"][0]["rows"]
    assert "Draft, not a legal statement" in said
    assert f"{rows_} rows are answers of `smollm2-135m`" in said
    assert said.count("*To be filled by a person.*") >= 8


def test_the_californian_draft_has_its_twelve_answers(trained: Path) -> None:
    said = export("ab2013", trained).out
    assert all(f"**({number}) " in said for number in range(1, 13))
    assert "**(13)" not in said


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_input_gives_the_same_bytes(kind: str, trained: Path) -> None:
    assert export(kind, trained).out == export(kind, trained).out


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("file", ["train.parquet", "manifest.json", "README.md"])
def test_an_altered_dataset_is_not_exported(kind: str, file: str, path: Path) -> None:
    altered = path.parent / "datasets" / "bot" / file
    altered.write_bytes(altered.read_bytes().replace(b"smollm2", b"smollm3") + b" ")
    refused = export(kind, path, "--out", path.parent / "out.json", code=5)
    assert "datasets/bot" in refused.err
    assert not (path.parent / "out.json").exists()


def test_an_altered_student_is_not_exported(path: Path) -> None:
    (path.parent / "runs" / "sft" / "student" / "config.json").write_text("{}")
    for kind in ("slsa", "cyclonedx", "art53", "ab2013"):
        assert "student/config.json" in export(kind, path, code=5).err


def test_a_manifest_written_anew_has_no_receipt(path: Path) -> None:
    """Its own digest holds, and yet the log knows better."""
    folder = path.parent / "datasets" / "bot"
    manifest = read_manifest(folder)
    manifest["teachers"][0]["model"] = "another"
    write_manifest(folder, manifest)
    assert "is not one that the log has a receipt of" in export("croissant", path, code=5).err


def test_nothing_is_written_over_without_a_word(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "bot.json"
    out.write_text("mine")
    assert "is there already" in export("croissant", trained, "--out", out, code=2).err
    assert out.read_text() == "mine"
    assert "is replaced" in export("croissant", trained, "--out", out, "--replace").err
    assert json.loads(out.read_text())["name"] == "bot"


def test_no_ledger_beside_it_no_receipt_in_it(path: Path) -> None:
    """A machine that only trains has none: what lies there is exported by its manifest alone."""
    for file in path.parent.glob("ledger*"):
        file.unlink()
    assert dataset_source(bench_of(path)).receipt is None
    assert "timestamp" not in json.loads(export("cyclonedx", path).out)["metadata"]


def test_what_was_published_is_exported_under_its_name(path: Path, tmp_path: Path) -> None:
    """Its own directory, its own receipt; a byte that changed since is named."""
    spiritsafe("publish", path, "--run", "sft", "--name", "clinic-1b", "--licence", "apache-2.0")
    card = ModelCard(export("card", path, "--published", "clinic-1b").out)
    assert (card.data.license, card.data.to_dict()["model_name"]) == ("apache-2.0", "clinic-1b")
    out, folder = tmp_path / "s.json", path.parent / "published" / "clinic-1b"
    export("slsa", path, "--published", "clinic-1b", "--out", out)
    against = ("--key", path.parent / "keys" / "log.pub", "--folder", folder)
    spiritsafe("export", "check", out, *against)
    (folder / "config.json").write_text("{}")
    refused = export("cyclonedx", path, "--published", "clinic-1b", code=5)
    assert "published/clinic-1b/config.json" in refused.err


def test_a_name_that_is_not_there_is_said(trained: Path) -> None:
    assert "there are bot" in export("croissant", trained, "--dataset", "bto", code=2).err


@pytest.mark.parametrize(
    "text", ['x"\nlicense: mit\n---', "\u2028- a", "\x85b: c", "a\x7f", "😀 ö", "- [x]: {y}"]
)
def test_metadata_reads_back_as_it_was_written(text: str) -> None:
    block = front_matter({"pretty_name": text, "tags": [text], "empty": ""})
    assert yaml.safe_load(block.strip("-\n ") + "\n") == {"pretty_name": text, "tags": [text]}


def test_licences_and_sizes_are_the_hub_s_words() -> None:
    assert licence_fields("MIT") == {"license": "mit"}
    assert licence_fields("Own 1.0")["license_name"] == "Own 1.0"
    named = licence_fields("apache-2.0", ["llama"], "https://example.org")
    assert named == {"license": "other", "license_name": "llama-apache-2.0",
                     "license_link": "https://example.org"}  # fmt: skip
    assert [size_category(n) for n in (0, 999, 1000, 10**6)] == [
        "n<1K", "n<1K", "1K<n<10K", "n>1M",
    ]  # fmt: skip

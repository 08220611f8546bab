import copy
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from policy.config import load_toml, parse
from policy.errors import BadInput
from policy.terms import (
    REVIEW_LASTS,
    SHIPPED,
    Confidence,
    Level,
    Register,
    Terms,
    file_name,
    load_register,
    read_terms,
    split_version,
)
from policy.use import Distribution, Purpose

FILES = sorted(SHIPPED.glob("*.toml"))
CONTEXT = {
    "3.3(d)", "2.2(d)-(e)", "4", "50.11", "50.12.1", "50.12.2", "(i)", "2.6", "AUP 3.4", "II.2(k)",
    "5.7", "Available regions", "3", "3.2",
}  # fmt: skip
"""Clauses that a reader should know and that no rule follows from."""
LISTED = """
openai-api openai-finetune openai-chatgpt-consumer anthropic-api claude-consumer gemini-api
google-consumer vertex vertex/preview-model azure-openai microsoft-consumer aws-bedrock/nova
mistral-api xai-enterprise deepseek-api meta-model-api meta-llama-api qwen-studio dashscope
kimi-consumer kimi-api zai-api minimax-api perplexity-api cohere-api together fireworks openrouter
groq replicate llama-2 llama-3 llama-3.1 llama-3.2 llama-3.3 llama-4 llama-3.2-multimodal
llama-4-multimodal qwen3 qwen-2024 tongyi-2023 gemma-3 gemma-4 deepseek-r1 deepseek-v2-licence
deepseek-r1-distill-llama-70b gpt-oss phi-4 granite-4 glm-5 kimi-k2 minimax-m2 minimax-m2.5
minimax-m2.7 nemotron smollm2
"""
"""The offering ids of the compiled facts; those of weights are written without `@self-host`."""
UNREAD = {
    "vertex", "azure-openai", "dashscope", "kimi-api", "zai-api", "minimax-api", "cohere-api",
    "groq",
}  # fmt: skip
ISSUE_TWO = {
    "anthropic-api",
    "deepseek-api",
    "gemma-3@self-host",
    "llama-3.1@self-host",
    "mistral-api",
    "openai-api",
    "openai-chatgpt-consumer",
    "smollm2@self-host",
}


def entry(**changes: Any) -> dict[str, Any]:
    """A sound entry with some keys changed, or left out where None."""
    data = copy.deepcopy(load_toml(SHIPPED / "deepseek-api.toml")) | changes
    return {key: value for key, value in data.items() if value is not None}


def refused(**changes: Any) -> str:
    with pytest.raises(BadInput) as caught:
        parse(Terms, entry(**changes), where="terms/x.toml")
    line = str(caught.value)
    assert line.startswith("terms/x.toml: ")
    assert "\n" not in line
    return line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_is_a_sound_entry_named_by_its_offering(path: Path) -> None:
    terms = read_terms(path)
    name = file_name(terms.id)
    assert path.stem in (name, f"{name}@{terms.version}")
    assert terms.review.expires - terms.review.on == REVIEW_LASTS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_entry_speaks_of_every_purpose_and_distribution(path: Path) -> None:
    terms = read_terms(path)
    for purpose in Purpose:
        for distribution in Distribution:
            assert any(
                purpose in rule.purposes and distribution in (rule.distributions or Distribution)
                for rule in terms.rules
            ), (purpose, distribution)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_clause_or_obligation_of_an_entry_is_idle(path: Path) -> None:
    terms = read_terms(path)
    cited = {ref for rule in terms.rules for ref in rule.clauses}
    cited |= {duty.clause for duty in terms.obligations.values()}
    cited |= {limit.clause for limit in terms.retention} | {terms.forbids_sensitive}
    asked = {name for rule in terms.rules for name in rule.obligations}
    assert asked | set(terms.base_obligations) == set(terms.obligations)
    assert {clause.ref for clause in terms.clauses} - cited <= CONTEXT


def test_the_register_has_the_first_teachers(register: Register) -> None:
    assert {terms.id for terms in register.all()} >= ISSUE_TWO


def test_the_register_has_every_offering_of_the_facts(register: Register) -> None:
    names = set(register.names())
    assert [each for each in LISTED.split() if not {each, f"{each}@self-host"} & names] == []
    assert len(names) >= 45


def test_what_could_not_be_read_says_so(register: Register) -> None:
    unread = {
        terms.id for terms in register.all() if terms.review.confidence == Confidence.UNREVIEWED
    }
    assert unread == UNREAD


@pytest.mark.parametrize(
    ("offering", "days"),
    [
        ("aws-bedrock/nova", ["2026-08-20", "2025-08-01"]),
        ("aws-bedrock", ["2026-08-20", "2025-08-01"]),
        ("mistral-api", ["2026-08-05", "2025-12-15", "2024-02-08"]),
        ("xai-enterprise", ["2026-08-14", "2025-08-01"]),
        ("meta-model-api", ["2026-08-21", "2025-08-25"]),
        ("phi-4@self-host", ["2025-01-08", "2024-12-13"]),
        ("openai-api", ["2026-01-01", "2025-05-31"]),
        ("openai-finetune", ["2026-01-01", "2025-05-31"]),
    ],
)
def test_the_history_of_terms_that_changed_is_kept(
    register: Register, offering: str, days: list[str]
) -> None:
    assert [terms.version for terms in register.history(offering)] == days


def test_a_version_that_ended_ends_before_the_next_begins(register: Register) -> None:
    for name in register.names():
        versions = register.history(name)
        for newer, older in pairwise(versions):
            assert older.until
            assert older.until < newer.effective


@pytest.mark.parametrize(
    ("model", "offering"),
    [
        ("qwen/qwen3-32b", "qwen3@self-host"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.3@self-host"),
        ("meta-llama/Llama-3.2-11B-Vision-Instruct", "llama-3.2-multimodal@self-host"),
        ("deepseek/deepseek-chat", "deepseek-api"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-r1@self-host"),
        ("deepseek-r1-distill-llama-70b", "deepseek-r1-distill-llama-70b@self-host"),
        ("anthropic/claude-sonnet-4", "anthropic-api"),
        ("openai/gpt-4o", "openai-api"),
        ("openai/gpt-oss-20b", "gpt-oss@self-host"),
        ("nobody/nothing-7b", None),
        ("openai/gpt-oss-120b:free", "gpt-oss@self-host"),
        ("gpt-oss:20b", "gpt-oss@self-host"),
        ("qwen3-max", None),
        ("qwen/qwen-2.5-72b-instruct", "qwen-2024@self-host"),
        ("deepseek-r1:70b", "deepseek-r1-distill-llama-70b@self-host"),
        ("deepseek/deepseek-r1:free", "deepseek-r1@self-host"),
        ("us.meta.llama3-1-70b-instruct-v1:0", "llama-3.1@self-host"),
        ("us.meta.llama4-maverick-17b-instruct-v1:0", "llama-4-multimodal@self-host"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "anthropic-api"),
        ("codellama-34b-instruct", "llama-2@self-host"),
        ("somebody/My-Llama-Thing", None),
        ("openrouter", None),
    ],
)
def test_a_model_behind_a_channel_is_traced_to_its_own_terms(
    register: Register, model: str, offering: str | None
) -> None:
    found = register.licence_of(model, date(2026, 11, 24))
    assert (found.id if found else None) == offering


def test_the_local_teacher_is_covered_by_its_licence(register: Register) -> None:
    terms = register.find("smollm2@self-host", date(2026, 11, 24))
    assert terms
    assert terms.covers("SmolLM2-135M-Instruct")
    assert terms.covers("smollm2-135m")
    assert not terms.covers("gpt-4o")


@pytest.mark.parametrize(
    ("host", "offering"),
    [
        ("api.openai.com", "openai-api"),
        ("EU.api.openai.com:443", "openai-api"),
        ("api.anthropic.com.", "anthropic-api"),
        ("api.deepseek.com", "deepseek-api"),
        ("api.mistral.ai", "mistral-api"),
        ("chatgpt.com", "openai-chatgpt-consumer"),
        ("api.openai.com.example.org", None),
        ("localhost", None),
    ],
)
def test_a_host_tells_whose_offering_it_is(
    register: Register, host: str, offering: str | None
) -> None:
    assert register.offering_of_host(host) == offering


def test_terms_hold_from_their_effective_date(register: Register) -> None:
    before = register.find("deepseek-api", date(2026, 4, 28))
    after = register.find("deepseek-api", date(2026, 4, 29))
    assert before
    assert after
    assert (before.version, after.version) == ("2025-04-13", "2026-04-29")
    assert register.find("deepseek-api", date(2025, 4, 12)) is None


def test_of_two_versions_the_one_in_force_on_the_day_is_found() -> None:
    old = parse(Terms, entry(version="2025-01-01", effective=date(2025, 1, 1)), where="old")
    new = parse(Terms, entry(), where="new")
    register = Register((new, old))
    assert register.find("deepseek-api", date(2026, 1, 1)) == old
    assert register.find("deepseek-api", date(2026, 5, 1)) == new
    assert register.find("deepseek-api@2025-01-01", date(2026, 5, 1)) == old


def test_an_offering_that_was_renamed_is_found_under_both_names(register: Register) -> None:
    for name in ("meta-model-api", "meta-llama-api"):
        old, new = (register.find(name, date(2026, month, 1)) for month in (3, 9))
        assert old
        assert new
        assert (old.id, new.id) == ("meta-llama-api", "meta-model-api")


def test_a_version_may_be_named_by_its_month(register: Register) -> None:
    found = register.find("aws-bedrock/nova@2025-08", date(2026, 11, 24))
    assert found
    assert found.version == "2025-08-01"


def test_a_version_is_split_from_an_id_and_a_channel_is_not() -> None:
    assert split_version("aws-bedrock/nova@2026-08-20") == ("aws-bedrock/nova", "2026-08-20")
    assert split_version("gemma-3@self-host") == ("gemma-3@self-host", "")


def test_an_agreement_of_ones_own_comes_first_and_shows_as_ones_own(
    tmp_path: Path, register: Register
) -> None:
    text = (SHIPPED / "deepseek-api.toml").read_text()
    (tmp_path / "deepseek-api.toml").write_text(text.replace('"Open Platform API"', '"Ours"'))
    both = load_register(tmp_path)
    found = both.find("deepseek-api", date(2026, 11, 24))
    assert found
    assert found.product == "Ours"
    assert both.is_own(found)
    assert not register.is_own(register.all()[0])


def test_one_letter_changes_the_pin() -> None:
    one, other = entry(), entry(product="Open Platform APl")
    assert parse(Terms, one, where="").pin == parse(Terms, entry(), where="").pin
    assert parse(Terms, one, where="").pin != parse(Terms, other, where="").pin


@pytest.mark.parametrize("key", ["clauses", "documents", "review", "rules", "models"])
def test_an_entry_without_clause_document_or_review_is_refused(key: str) -> None:
    assert f'the key "{key}" is missing. Add "{key}".' in refused(**{key: None})


@pytest.mark.parametrize("key", ["clauses", "documents", "rules"])
def test_an_empty_list_does_not_pass_for_one(key: str) -> None:
    assert f"{key} = [] cannot be used" in refused(**{key: []})


def test_an_unknown_key_suggests_the_nearest_name() -> None:
    assert 'unknown key "efective"' in refused(efective=1)
    assert 'Did you mean "effective"?' in refused(efective=1)


def test_a_misspelt_level_is_refused_with_the_levels() -> None:
    rules = [{**entry()["rules"][0], "level": "PERMIT"}]
    assert 'rules[1].level = "PERMIT" is no level. The levels are ALLOW, ALLOW_WITH,' in refused(
        rules=rules
    )


def test_a_rule_that_cites_no_known_clause_is_refused() -> None:
    rules = [{**entry()["rules"][0], "clauses": ["9.9"]}]
    assert (
        'rules[1].clauses = "9.9" names no clause of this entry. There are: 4.2(3), 5.2-5.4.'
        in refused(rules=rules)
    )


def test_allow_with_nothing_to_do_is_refused() -> None:
    rules = [{**entry()["rules"][0], "obligations": []}]
    assert "names no obligation" in refused(rules=rules)


def test_a_review_that_lasts_too_long_is_refused() -> None:
    review = entry()["review"] | {"expires": date(2028, 1, 1)}
    assert "review.expires = 2028-01-01 must be 1 to 90 days" in refused(review=review)
    assert "Write 2027-02-22 at the latest" in refused(review=review)


def test_a_document_without_a_public_address_is_refused() -> None:
    documents = [{**entry()["documents"][0], "address": "/home/me/terms.pdf"}]
    assert 'documents[1].address = "/home/me/terms.pdf" cannot be used' in refused(
        documents=documents
    )


def test_a_digest_without_the_words_to_find_it_by_is_refused() -> None:
    clauses = [{**entry()["clauses"][0], "starts": ""}]
    assert "stand together or not at all" in refused(clauses=clauses)


def test_terms_that_end_before_they_begin_are_refused() -> None:
    assert "until = 2020-01-01 lies before effective" in refused(until=date(2020, 1, 1))


def test_a_clause_about_sensitive_data_must_be_there() -> None:
    assert 'forbids_sensitive = "9" names no clause' in refused(forbids_sensitive="9")


def test_the_same_clause_twice_is_refused() -> None:
    assert "stands there twice" in refused(clauses=[entry()["clauses"][0]] * 2)


def test_two_files_with_the_same_version_contradict(tmp_path: Path) -> None:
    text = (SHIPPED / "deepseek-api.toml").read_text()
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text(text)
    with pytest.raises(BadInput, match=r'b\.toml: id = "deepseek-api" .* is also in a\.toml'):
        load_register(tmp_path)


def test_two_offerings_on_one_host_contradict(tmp_path: Path) -> None:
    text = (SHIPPED / "deepseek-api.toml").read_text()
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text(text.replace('id = "deepseek-api"', 'id = "other"'))
    with pytest.raises(BadInput, match=r'hosts = "api\.deepseek\.com" is already the host'):
        load_register(tmp_path)


GUIDE = (Path(__file__).parents[2] / "docs/guides/terms.md").read_text(encoding="utf-8")
ACME = GUIDE.split("```toml")[1].split("```")[0]


def own_register(tmp_path: Path, old: str, new: str, **files: str) -> Register:
    """A register with the guide's entry, one place of it changed, and further files."""
    assert old in ACME
    (tmp_path / "acme-inference.toml").write_text(ACME.replace(old, new, 1))
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return load_register(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "effective = 2026",
            "effective = 'soon' #",
            'effective = "soon" cannot be used. Write a day',
        ),
        (
            'version = "2026-11-01"',
            'version = "v1"',
            'version = "v1" cannot be used. Expected: The',
        ),
        ('version = "2026-11-01"', 'version = "2026-13-45"', 'version = "2026-13-45" is no day. W'),
        ("effective", 'supersedes = "2020-01-01"\neffective', 'supersedes = "2020-01-01" names no'),
        ("effective", 'supersedes = "2026-11-01"\neffective', 'supersedes = "2026-11-01" is this'),
        ("effective", 'inherits = ["nobody"]\neffective', 'inherits = "nobody" names no entry'),
        ("effective", 'inherits = ["acme-inference"]\neffective', "leads back to acme-inference"),
        ("effective", 'base_obligations = ["x"]\neffective', 'base_obligations = "x" names no obl'),
        ("effective", 'stage = "beta"\neffective', 'stage = "beta" cannot be used. Input should'),
        ('["api.acme.example"]', '["https://api.acme.example"]', "without https://"),
        (
            '["api.acme.example"]',
            '"api.acme.example"',
            "cannot be used. Write a list, in brackets.",
        ),
        ("https://acme.example/", "http://acme.example/", "begins with https://"),
        ("https://acme.example/", "https://acme example/", "begins with https://"),
        ("https://acme.example/legal/master-agreement", "https://", "begins with https://"),
        ('["acme-*"]', '[""]', 'models[1] = "" cannot be used. Expected: Patterns'),
        ('["acme-*"]', "[]", "models = [] cannot be used. Name at least one."),
        (
            '["acme_named"]',
            '["acme_name"]',
            'rules[2].obligations = "acme_name" names no obligation',
        ),
        (
            '["3.2"]',
            '["9"]',
            'rules[1].clauses = "9" names no clause of this entry. There are: 3.2',
        ),
        ('clause = "3.4"', 'clause = "x"', 'obligations.acme_named.clause = "x" names no clause'),
        ('ref = "3.4"', 'ref = "3.2"', 'clauses[2].ref = "3.2" stands there twice. Keep one'),
        (
            'document = "order-form"',
            'document = "x"',
            'clauses[1].document = "x" names no document',
        ),
        ('"ALLOW"', '"ALOW"', 'rules[1].level = "ALOW" is no level. Did you mean ALLOW?'),
        (
            '"ALLOW_WITH"',
            '"ALLOW"',
            'level = "ALLOW" has obligations or families. Write ALLOW_WITH',
        ),
        ('"train_classifier"', '"train_clasifier"', 'Did you mean "train_classifier"?'),
        (
            'features = ["*search*"]',
            'regions = ["Bavaria"]',
            'rules[3].regions = "Bavaria" is no re',
        ),
        (
            "expires = 2027-02-22",
            "expires = 2026-11-24",
            "review.expires = 2026-11-24 must be 1 to 9",
        ),
        ("expires = 2027-02-22", "expires = 2027-02-23", "Write 2027-02-22 at the latest"),
        ('by = "Ada Lovelace, general counsel"', 'by = " "', 'review.by = " " names no person'),
        (
            'confidence = "primary"',
            'confidence = "sure"',
            'review.confidence = "sure" cannot be used',
        ),
        (
            "[review]",
            "[[retention]]\ndays = -1\ntext = 'x'\nclause = '5'\n[review]",
            "retention[1].days = -1 cannot be used",
        ),
    ],
)
def test_an_entry_that_is_not_sound_gets_one_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        own_register(tmp_path, old, new)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'acme-inference.toml'}: ")
    assert said in line
    assert "\n" not in line


def test_on_no_day_do_two_versions_hold(tmp_path: Path) -> None:
    newer = ACME.replace("2026-11-01", "2026-12-01")
    with pytest.raises(
        BadInput, match=r"acme-inference\.toml: until = nothing lets .* to the day b"
    ):
        own_register(tmp_path, "effective", "effective", newer=newer)
    until = "until = 2026-12-01\neffective"
    with pytest.raises(BadInput, match=r"until = 2026-12-01 lets .* day before, 2026-11-30"):
        own_register(tmp_path, "effective", until, newer=newer)
    until = "until = 2026-11-30\neffective"
    found = own_register(tmp_path, "effective", until, newer=newer).history("acme-inference")
    assert [each.version for each in found] == ["2026-12-01", "2026-11-01"]


def test_a_file_from_windows_and_a_version_without_quotes_are_read(tmp_path: Path) -> None:
    text = ACME.replace('"2026-11-01"', "2026-11-01", 1).replace("\n", "\r\n")
    (tmp_path / "acme-inference.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = load_register(tmp_path).find("acme-inference@2026-11-01", date(2026, 11, 24))
    assert found


def test_an_obligation_is_explained(register: Register) -> None:
    found = register.obligation("llama_name_prefix")
    assert found
    assert "begin with 'Llama'" in found.text
    assert register.obligation("nothing") is None


def test_levels_are_ordered_from_free_to_forbidden() -> None:
    assert sorted(Level) == [
        Level.ALLOW,
        Level.ALLOW_WITH,
        Level.NEEDS_ACK,
        Level.NEEDS_PERMISSION,
        Level.DENY,
    ]

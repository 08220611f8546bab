"""The truth table: what the engine must answer, written from the compiled facts and not from it.

The first list holds the rows that facts/policy.md section 7 shows, in their own fields. The second
was derived from its tables 1a and 1b and its rules 1c.
"""

from datetime import date
from typing import Any

import pytest

from policy.cases import evaluate
from policy.terms import Level, Register

TODAY = date(2026, 11, 24)
S, C, K = "train_specialist_generative", "train_competing_general", "train_classifier"
E, P, B, R = "evaluate", "publish_dataset", "publish_benchmark", "research_noncommercial"
ALLOW, WITH, ACK, PERMISSION, DENY = (level.name for level in Level)
INTERNAL, PUBLIC = "internal_only", "weights_public"

SHOWN: list[dict[str, Any]] = [
    {"id": "T01", "off": "openai-api", "at": "2026-06-01", "purpose": S, "dist": INTERNAL,
     "want": ACK},
    {"id": "T02", "off": "openai-api", "at": "2026-06-01", "purpose": K, "dist": INTERNAL,
     "want": ALLOW},
    {"id": "T04", "off": "openai-chatgpt-consumer", "at": "2026-06-01", "purpose": E,
     "dist": INTERNAL, "want": DENY},
    {"id": "T06", "off": "anthropic-api", "at": "2026-06-01", "purpose": C, "dist": PUBLIC,
     "ack": "present", "want": DENY},
    {"id": "T07a", "off": "deepseek-r1@aws-bedrock", "at": "2026-03-01", "purpose": S,
     "dist": INTERNAL, "want": PERMISSION},
    {"id": "T07b", "off": "deepseek-r1@self-host", "at": "2026-03-01", "purpose": S,
     "dist": INTERNAL, "want": ALLOW},
    {"id": "T07c", "off": "deepseek-api", "at": "2026-05-01", "purpose": C, "dist": PUBLIC,
     "want": WITH, "oblig": ["no_deepseek_branding"]},
    {"id": "T08", "off": "aws-bedrock/nova", "at": "2025-12-15", "now": "2026-11-24",
     "purpose": S, "dist": INTERNAL, "want": PERMISSION, "with_basis_at_collection": ACK},
    {"id": "T11a", "off": "xai-enterprise", "at": "2026-09-01", "purpose": S, "dist": INTERNAL,
     "want": PERMISSION},
    {"id": "T11b", "off": "xai-enterprise", "at": "2026-09-01", "purpose": S,
     "permission": {"scope": [S], "valid": True}, "want": WITH},
    {"id": "T11c", "off": "xai-enterprise", "at": "2026-09-01", "purpose": C,
     "permission": {"scope": [S], "valid": True}, "want": DENY},
    {"id": "T12a", "off": "llama-3.1@self-host", "base": "qwen3", "purpose": S, "dist": PUBLIC,
     "name": "ClinicBot-1B", "stage": "publish", "want": DENY, "fix": "Llama-ClinicBot-1B"},
    {"id": "T12b", "off": "llama-3.1@self-host", "base": "qwen3", "purpose": S,
     "dist": INTERNAL, "name": "ClinicBot-1B", "want": ALLOW},
    {"id": "T14", "off": ["llama-2@self-host", "tongyi-2023@self-host"], "base": "any",
     "purpose": S, "want": DENY, "reason": "no_student_base_satisfies_all"},
    {"id": "T15b", "off": "gemma-3@self-host", "base": "qwen3", "purpose": S, "dist": PUBLIC,
     "want": WITH,
     "oblig": ["gemma_tou_copy", "gemma_notice_file", "gemma_use_restrictions_flowdown"]},
    {"id": "T20", "off": "openrouter", "requested": "deepseek/deepseek-chat",
     "served": "unknown-or-other", "purpose": S, "want": DENY, "reason": "served_model"},
    {"id": "T22", "off": ["deepseek-api x990", "anthropic-api x10"], "purpose": S,
     "want": PERMISSION, "drop_blocking": {"rows": 990, "level": ALLOW, "new_root": True}},
    {"id": "T24", "off": "unknown-provider", "purpose": E, "want": DENY,
     "reason": "no_reviewed_terms"},
]  # fmt: skip


def row(case: str, off: object, purpose: str, want: str, **more: Any) -> dict[str, Any]:
    return {"id": case, "off": off, "purpose": purpose, "want": want, **more}


DERIVED = [
    # 1: the exception for classifiers dies on distribution; research that is open competes
    row("openai-k-public", "openai-api", K, ACK, dist=PUBLIC),
    row("openai-k-saas", "openai-api", K, ACK, dist="saas_to_third_parties"),
    row("openai-c", "openai-api", C, DENY, dist=INTERNAL),
    row("openai-e", "openai-api", E, ALLOW, dist=INTERNAL),
    row("openai-p", "openai-api", P, ACK, dist="dataset_public"),
    row("openai-p-ack", "openai-api", P, ALLOW, dist="dataset_public", ack="present"),
    row("openai-r-open", "openai-api", R, DENY, dist=PUBLIC),
    row("openai-ack", "openai-api", S, ALLOW, dist=INTERNAL, ack="present"),
    row("openai-ack-expired", "openai-api", S, ACK, dist=INTERNAL, ack="expired"),
    row("openai-ack-scope", "openai-api", S, ACK, dist=INTERNAL, ack={"scope": [K]}),
    row("openai-permission-is-no-ack", "openai-api", S, ACK, dist=INTERNAL,
        permission={"scope": [S], "valid": True}),
    # 2, 3
    row("finetune-c", "openai-finetune", C, WITH, oblig=["openai_student_stays"]),
    row("finetune-other-base", "openai-finetune", S, DENY, base="qwen3"),
    row("finetune-p", "openai-finetune", P, ACK, dist="dataset_public"),
    row("chatgpt-ack", "openai-chatgpt-consumer", S, DENY, ack="present"),
    # 4, 5
    row("anthropic-s", "anthropic-api", S, PERMISSION, dist=INTERNAL),
    row("anthropic-s-ack", "anthropic-api", S, PERMISSION, dist=INTERNAL, ack="present"),
    row("anthropic-k-listed", "anthropic-api", K, ACK, dist=INTERNAL, field="sentiment"),
    row("anthropic-k-other", "anthropic-api", K, PERMISSION, dist=INTERNAL, field="reward_model"),
    row("anthropic-s-listed", "anthropic-api", S, ACK, dist=INTERNAL, field="summarisation"),
    row("anthropic-s-field", "anthropic-api", S, PERMISSION, field="customer_support"),
    row("anthropic-e", "anthropic-api", E, ALLOW, dist=INTERNAL),
    row("anthropic-p", "anthropic-api", P, PERMISSION, dist="dataset_public"),
    row("anthropic-c-permission", "anthropic-api", C, DENY, permission={"valid": True}),
    row("anthropic-permission", "anthropic-api", S, ALLOW, dist=INTERNAL,
        permission={"scope": [S], "valid": True}),
    row("anthropic-permission-void", "anthropic-api", S, PERMISSION, dist=INTERNAL,
        permission={"scope": [S], "valid": False}),
    row("claude-consumer", "claude-consumer", S, DENY),
    row("claude-consumer-e", "claude-consumer", E, ACK, dist=INTERNAL),
    # 6, 6b, 7
    row("gemini-s", "gemini-api", S, ACK, dist=INTERNAL),
    row("gemini-c", "gemini-api", C, DENY),
    row("gemini-grounded-s", "gemini-api", S, DENY, feature="grounding", ack="present"),
    row("gemini-grounded-e", "gemini-api", E, DENY, feature="grounding_google_search"),
    row("gemini-search", "gemini-api", K, DENY, feature=["google_search"], dist=INTERNAL),
    row("gemini-unpaid-eu", "gemini-api", E, DENY, context="unpaid tier", org_region="DE"),
    row("gemini-unpaid-us", "gemini-api", E, ALLOW, context="unpaid", org_region="US",
        dist=INTERNAL),
    row("gemini-paid-eu", "gemini-api", E, ALLOW, context="paid tier", org_region="DE",
        dist=INTERNAL),
    row("google-consumer", "google-consumer", K, DENY, dist=INTERNAL),
    row("google-consumer-e", "google-consumer", E, ACK, dist=INTERNAL),
    # 8, 9
    row("vertex", "vertex", E, DENY, reason="no_reviewed_terms"),
    row("vertex-preview-p", "vertex/preview-model", P, DENY, dist="dataset_public"),
    row("vertex-preview-stage", "vertex", P, DENY, stage="preview"),
    row("azure", "azure-openai", S, DENY, reason="no_reviewed_terms", ack="present"),
    row("microsoft", "microsoft-consumer", E, DENY),
    # 10
    row("nova-p", "aws-bedrock/nova", P, ACK, dist="dataset_public", at="2026-08-21"),
    row("nova-e", "aws-bedrock/nova", E, ALLOW, dist=INTERNAL),
    row("nova-c", "aws-bedrock/nova", C, DENY),
    row("nova-old-only", "aws-bedrock/nova", S, ACK, at="2025-12-15", dist=INTERNAL),
    row("nova-old-c", "aws-bedrock/nova", C, DENY, at="2025-12-15"),
    row("nova-version", "aws-bedrock/nova@2026-08-20", S, PERMISSION),
    row("nova-other-way", "nova@aws-bedrock", S, PERMISSION, dist=INTERNAL),
    row("nova-distillation", "aws-bedrock/nova", S, WITH, feature="model_distillation"),
    row("qwen3-bedrock", "aws-bedrock/qwen3", S, PERMISSION, dist=INTERNAL),
    row("llama-bedrock-e", "llama-3.1@aws-bedrock", E, ALLOW, dist=INTERNAL),
    row("claude-bedrock", "claude-sonnet-4-5@aws-bedrock", C, DENY),
    row("claude-bedrock-p", "claude-sonnet-4-5@aws-bedrock", P, PERMISSION),
    row("unknown-bedrock", "nothing-7b@aws-bedrock", E, DENY),
    # 11
    row("mistral-c", "mistral-api", C, WITH, at="2026-09-01",
        oblig=["mistral_not_presented_as_human"]),
    row("mistral-image", "mistral-api", "train_competing_image_model", DENY, modality="image"),
    row("mistral-image-s", "mistral-api", S, ACK, modality="image"),
    row("mistral-search", "mistral-api", S, DENY, feature="web_search", at="2026-09-01"),
    row("mistral-2024-c", "mistral-api", C, DENY, at="2024-06-01"),
    row("mistral-2024-c-now", "mistral-api", C, DENY, at="2024-06-01", now="2026-11-24"),
    row("mistral-2024-s-now", "mistral-api", S, ACK, at="2024-06-01", now="2026-11-24"),
    row("mistral-2026-e", "mistral-api", E, ALLOW, dist=INTERNAL),
    # 12
    row("xai-e", "xai-enterprise", E, ACK, at="2026-09-01", dist=INTERNAL),
    row("xai-p", "xai-enterprise", P, PERMISSION, dist="dataset_public"),
    row("xai-old", "xai-enterprise", S, PERMISSION, at="2025-12-01", now="2026-11-24"),
    row("xai-permission-ended", "xai-enterprise", S, PERMISSION, at="2026-09-01",
        permission={"scope": [S], "valid": True, "expires": "2026-08-31"}),
    # 13
    row("deepseek-s", "deepseek-api", S, ALLOW, dist=PUBLIC),
    row("deepseek-p", "deepseek-api", P, WITH, dist="dataset_public"),
    row("deepseek-named", "deepseek-api", C, DENY, stage="publish", name="DeepSeek-Mini"),
    row("deepseek-reasoning", "deepseek-api", S, ALLOW, feature="reasoning"),
    # 14
    row("meta-s", "meta-model-api", S, ACK, at="2026-09-01"),
    row("meta-e", "meta-model-api", E, ALLOW, dist=INTERNAL),
    row("meta-p", "meta-model-api", P, PERMISSION, dist="dataset_public"),
    row("meta-b", "meta-model-api", B, PERMISSION, context="market a competing product"),
    row("meta-b-unsaid", "meta-model-api", B, PERMISSION),
    row("meta-old", "meta-llama-api", S, WITH, at="2026-03-01", oblig=["llama_name_prefix"]),
    row("meta-old-new-name", "meta-model-api", S, WITH, at="2026-03-01"),
    row("meta-old-now", "meta-llama-api", S, ACK, at="2026-03-01", now="2026-11-24",
        oblig=["llama_name_prefix"]),
    row("meta-old-c-now", "meta-llama-api", C, DENY, at="2026-03-01", now="2026-11-24"),
    # 15 to 20
    row("qwen-studio", "qwen-studio", E, DENY),
    row("dashscope", "dashscope", S, DENY, reason="no_reviewed_terms"),
    row("kimi-consumer-r", "kimi-consumer", R, ACK, dist=INTERNAL),
    row("kimi-consumer-s", "kimi-consumer", S, DENY),
    row("kimi-api", "kimi-api", E, DENY, reason="no_reviewed_terms"),
    row("zai", "zai-api", E, DENY, reason="no_reviewed_terms"),
    row("minimax-api", "minimax-api", E, DENY, reason="no_reviewed_terms"),
    row("cohere", "cohere-api", E, DENY, reason="no_reviewed_terms"),
    row("perplexity-s", "perplexity-api", S, DENY),
    row("perplexity-e", "perplexity-api", E, ACK, dist=INTERNAL),
    # 21 to 25
    row("together-qwen3", "together", S, ALLOW, served="qwen/qwen3-32b"),
    row("together-llama", "together", S, WITH, served="meta-llama/Llama-3.3-70B-Instruct"),
    row("together-e", "together", E, ACK, served="qwen3", dist=INTERNAL),
    row("together-b", "together", B, ACK, served="qwen3"),
    row("fireworks-s", "fireworks", S, ACK, served="qwen3", oblig=["fireworks_recall"]),
    row("fireworks-s-ack", "fireworks", S, WITH, served="qwen3", ack="present"),
    row("fireworks-llama-2", "fireworks", S, DENY, served="llama-2-70b", base="qwen3"),
    row("openrouter-deepseek", "openrouter", S, ALLOW, requested="deepseek/deepseek-chat",
        served="deepseek/deepseek-chat"),
    row("openrouter-fell-back", "openrouter", S, PERMISSION, requested="deepseek/deepseek-chat",
        served="anthropic/claude-sonnet-4"),
    row("openrouter-unsaid", "openrouter", S, DENY, requested="deepseek/deepseek-chat"),
    row("openrouter-before", "openrouter", S, ALLOW, requested="deepseek/deepseek-chat",
        stage="collect"),
    row("openrouter-nothing", "openrouter", E, DENY),
    row("groq", "groq", E, DENY, served="qwen3"),
    row("replicate", "replicate", S, ALLOW, served="qwen3-8b"),
    # 30 to 36
    row("llama-2-other", "llama-2@self-host", S, DENY, base="qwen3"),
    row("llama-2-own", "llama-2@self-host", S, WITH, base="meta-llama/Llama-2-7b-hf"),
    row("llama-2-e", "llama-2@self-host", E, ALLOW, dist=INTERNAL),
    row("llama-2-p", "llama-2@self-host", P, ACK, dist="dataset_public"),
    row("llama-3-other", "llama-3@self-host", S, DENY, base="llama-3.1-8b"),
    row("llama-3-own", "llama-3@self-host", S, WITH, base="meta-llama/Meta-Llama-3-8B",
        oblig=["llama3_name_prefix"]),
    row("llama-3.1-named", "llama-3.1@self-host", S, WITH, stage="publish",
        name="Llama-ClinicBot-1B"),
    row("llama-3.1-unnamed", "llama-3.1@self-host", S, DENY, stage="publish"),
    row("llama-3.1-c", "llama-3.1@self-host", C, WITH, dist=INTERNAL),
    row("llama-mau", "llama-3.1@self-host", C, PERMISSION, context={"mau": 800_000_000}),
    row("llama-4-eu", "llama-4-multimodal@self-host", S, DENY, org_region="EU"),
    row("llama-4-de", "llama-4-multimodal@self-host", S, DENY, org_region="DE"),
    row("llama-4-us", "llama-4-multimodal@self-host", S, WITH, org_region="US"),
    row("llama-4-unsaid", "llama-4-multimodal@self-host", S, DENY),
    row("llama-3.2-eu", "llama-3.2-multimodal@self-host", E, DENY, org_region="FR"),
    row("llama-3.2-text-eu", "llama-3.2@self-host", S, WITH, org_region="FR", modality="text"),
    row("llama-3.2-image-eu", "llama-3.2@self-host", S, DENY, org_region="FR", modality="image"),
    row("llama-3.3", "llama-3.3@self-host", S, ALLOW, dist=INTERNAL),
    row("qwen3", "qwen3@self-host", C, ALLOW),
    row("qwen-2024", "qwen-2024@self-host", S, WITH, oblig=["qwen_built_with"]),
    row("tongyi-own", "tongyi-2023@self-host", S, WITH, base="Qwen/Qwen-7B"),
    row("tongyi-other", "tongyi-2023@self-host", S, DENY, base="qwen3"),
    row("gemma-3-p", "gemma-3@self-host", P, ALLOW, dist="dataset_public"),
    row("gemma-3-internal", "gemma-3@self-host", S, WITH, dist=INTERNAL),
    # 37 to 46
    row("gemma-4", "gemma-4@self-host", C, ALLOW),
    row("deepseek-v2", "deepseek-v2-licence@self-host", S, WITH,
        oblig=["deepseek_licence_flowdown"]),
    row("distill-llama", "deepseek-r1-distill-llama-70b@self-host", S, WITH,
        oblig=["llama_name_prefix"]),
    row("distill-llama-name", "deepseek-r1-distill-llama-70b@self-host", S, DENY,
        stage="publish", name="ClinicBot", fix="Llama-ClinicBot"),
    row("distill-llama-internal", "deepseek-r1-distill-llama-70b@self-host", S, ALLOW,
        dist=INTERNAL),
    row("gpt-oss", "gpt-oss@self-host", C, ALLOW),
    row("phi-4", "phi-4@self-host", C, ALLOW),
    row("phi-4-early", "phi-4@self-host", C, PERMISSION, at="2024-12-20"),
    row("granite", "granite-4@self-host", C, ALLOW),
    row("glm", "glm-5@self-host", C, ALLOW),
    row("kimi-k2-c", "kimi-k2@self-host", C, WITH),
    row("kimi-k2-s", "kimi-k2@self-host", S, ALLOW),
    row("kimi-k3", "kimi-k3@self-host", S, ACK),
    row("minimax-m2", "minimax-m2@self-host", S, WITH),
    row("minimax-m2.5", "minimax-m2.5@self-host", S, WITH, oblig=["minimax_licence_copy"]),
    row("minimax-m2.7", "minimax-m2.7@self-host", S, PERMISSION),
    row("minimax-m2.7-r", "minimax-m2.7@self-host", R, WITH),
    row("nemotron", "nemotron@self-host", S, WITH),
    # 1c: joins, students as teachers, bases, datasets for everybody
    row("join-ack", ["deepseek-api", "openai-api"], S, ACK, dist=INTERNAL),
    row("join-deny", ["deepseek-api", "openai-api"], C, DENY),
    row("join-unknown", ["deepseek-api", "nobody"], E, DENY),
    row("join-duties", ["llama-3.1@self-host", "gemma-3@self-host"], S, WITH,
        oblig=["llama_name_prefix", "gemma_tou_copy"]),
    row("join-names", ["llama-3@self-host", "llama-3.1@self-host"], S, WITH,
        base="meta-llama-3-8b", oblig=["llama3_name_prefix", "llama_name_prefix"]),
    row("student-of-llama", "student-of(llama-3.1@self-host)", S, WITH,
        oblig=["llama_name_prefix"]),
    row("student-of-model", "student-of(llama-3.1)", S, ALLOW, dist=INTERNAL),
    row("student-of-student", "student-of(student-of(gemma-3@self-host))", S, WITH,
        oblig=["gemma_use_restrictions_flowdown"]),
    row("student-of-two", "student-of(qwen3, gemma-3@self-host)", S, WITH),
    row("student-of-openai", "student-of(openai-api)", S, ACK, dist=INTERNAL),
    row("student-of-nobody", "student-of(nobody)", E, DENY),
    row("student-of-bedrock", "student-of(qwen3@aws-bedrock)", S, PERMISSION, dist=INTERNAL),
    row("base-llama", "deepseek-api", S, WITH, base="llama-3.1-8b", oblig=["llama_name_prefix"]),
    row("base-qwen3", "deepseek-api", S, ALLOW, base="qwen3-0.6b"),
    row("dataset-too", "anthropic-api", E, PERMISSION, dist="dataset_public"),
    row("silent-feature", "openai-api", K, DENY, feature="web_search", dist=INTERNAL),
    row("unsaid", None, S, DENY),
    {"id": "all-unsaid", "off": "openai-api", "want": DENY},
]  # fmt: skip


@pytest.mark.parametrize("case", SHOWN + DERIVED, ids=lambda case: case["id"])
def test_the_truth_table_holds(register: Register, case: dict[str, Any]) -> None:
    asked = {key: value for key, value in case.items() if key != "reason"}
    answer = evaluate(asked, register, TODAY, where="the truth table")
    assert answer["level"] == case["want"]
    assert set(case.get("oblig", ())) <= set(answer["obligations"])
    assert case.get("fix", "") in answer["fix"]
    if "with_basis_at_collection" in case:
        assert answer["at_collection"] == case["with_basis_at_collection"]
    if "drop_blocking" in case:
        assert answer["drop_blocking"] == case["drop_blocking"]
    if "reason" in case:
        assert case["reason"] in {reason["code"] for reason in answer["reasons"]}


@pytest.mark.parametrize("case", SHOWN + DERIVED, ids=lambda case: case["id"])
def test_every_answer_can_be_followed(register: Register, case: dict[str, Any]) -> None:
    """Level, reason and, where it is not free, what would change it."""
    asked = {key: value for key, value in case.items() if key != "reason"}
    answer = evaluate(asked, register, TODAY, where="the truth table")
    assert answer["reasons"]
    assert all(reason["text"] for reason in answer["reasons"])
    assert answer["level"] == ALLOW or answer["fix"]
    for reason in answer["reasons"]:
        if reason["code"] == "clause":
            assert reason["clause"]
            assert reason["document"]
            assert reason["document_date"]
            assert reason["address"].startswith("https://")


# The columns C, S, E, P and R of tables 1a and 1b, by row: A is ALLOW, W ALLOW_WITH, k NEEDS_ACK,
# p NEEDS_PERMISSION, D DENY. Of rows with a footnote on families the student is of another family.
PRINTED = """
openai-api D k A k k | openai-finetune W W A k W | openai-chatgpt-consumer D D D D D
anthropic-api D p A p p | claude-consumer D D k D D | gemini-api D k A k k
google-consumer D D k D D | vertex D D D D D | vertex/preview-model D D D D D
azure-openai D D D D D | microsoft-consumer D D D D D | aws-bedrock/nova D p A k p
mistral-api W W A W W | xai-enterprise D p k p p | deepseek-api W A A W A
meta-model-api D k A p k | qwen-studio D D D D D | dashscope D D D D D
kimi-consumer D D k D k | kimi-api D D D D D | zai-api D D D D D | minimax-api D D D D D
perplexity-api D D k D D | cohere-api D D D D D | together A A k A A | fireworks k k k k k
openrouter A A A A A | groq D D D D D | replicate A A A A A
llama-2@self-host D D A k D | llama-3@self-host D D A k D | llama-3.1@self-host W A A W W
llama-3.2@self-host W A A W W | llama-3.3@self-host W A A W W | llama-4@self-host W A A W W
qwen3@self-host A A A A A | qwen-2024@self-host W W A W W | tongyi-2023@self-host D D A k D
gemma-3@self-host W W A A W | gemma-4@self-host A A A A A | deepseek-r1@self-host A A A A A
deepseek-v2-licence@self-host W W A W W | gpt-oss@self-host A A A A A | phi-4@self-host A A A A A
granite-4@self-host A A A A A | glm-5@self-host A A A A A | kimi-k2@self-host W A A A A
minimax-m2@self-host W W A W W | minimax-m2.5@self-host W W A W W
minimax-m2.7@self-host p p A p W | nemotron@self-host W W A W W
"""
LETTERS = {"A": ALLOW, "W": WITH, "k": ACK, "p": PERMISSION, "D": DENY}
COLUMNS = ((C, INTERNAL), (S, INTERNAL), (E, INTERNAL), (P, "dataset_public"), (R, INTERNAL))


@pytest.mark.parametrize("printed", PRINTED.replace("\n", "|").strip("|").split("|"))
def test_the_tables_of_the_facts_hold_as_printed(register: Register, printed: str) -> None:
    offering, *letters = printed.split()
    for (purpose, dist), letter in zip(COLUMNS, letters, strict=True):
        asked = row("", offering, purpose, "", dist=dist, base="qwen3-4b")
        if offering == "openai-finetune":
            asked["base"] = "gpt-4o-mini"
        if offering in ("together", "fireworks", "openrouter", "groq", "replicate"):
            asked["served"] = "qwen3-8b"
        answer = evaluate(asked, register, TODAY, where="the tables")
        assert answer["level"] == LETTERS[letter], (offering, purpose, answer["reasons"][0])

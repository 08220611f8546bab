"""Situations that combine what the compiled facts state, each answer derived from them by hand.

`test_truth_table.py` asks one thing at a time. Here dates lie on boundaries, channels serve another
model, students teach students, records miss by one detail, and sizes and regions lie on the edge.
"""

from typing import Any

import pytest

from policy.cases import evaluate
from policy.terms import Level, Register

from .test_truth_table import TODAY, B, C, E, K, P, R, S, row

ALLOW, WITH, ACK, PERMISSION, DENY = (level.name for level in Level)
IN, SAAS, PUBLIC, DATASET = (
    "internal_only",
    "saas_to_third_parties",
    "weights_public",
    "dataset_public",
)
IMAGE = "train_competing_image_model"

HISTORY = [
    row("nova-last-old-day", "aws-bedrock/nova", S, ACK, at="2026-01-22", dist=IN),
    row("nova-first-new-day", "aws-bedrock/nova", S, PERMISSION, at="2026-01-23", dist=IN),
    row("nova-overnight", "aws-bedrock/nova", S, PERMISSION, at="2026-01-22", now="2026-01-23",
        dist=IN, at_collection=ACK),
    row("nova-old-k", "aws-bedrock/nova", K, ACK, at="2026-01-22", dist=IN),
    row("titan-is-nova", "aws-bedrock/titan", S, PERMISSION, dist=IN),
    row("titan-old", "aws-bedrock/titan", S, ACK, at="2026-01-22", dist=IN),
    row("mistral-last-2024-day", "mistral-api", C, DENY, at="2025-12-14"),
    row("mistral-first-2025-day", "mistral-api", C, WITH, at="2025-12-15"),
    row("mistral-overnight", "mistral-api", S, ACK, at="2025-12-14", now="2025-12-15",
        at_collection=ACK),
    row("mistral-2026", "mistral-api", C, WITH, at="2026-08-04", now="2026-08-05",
        at_collection=WITH),
    row("mistral-before-all", "mistral-api", S, DENY, at="2024-02-07"),
    row("xai-2025", "xai-enterprise", S, PERMISSION, at="2026-08-13"),
    row("xai-2025-e", "xai-enterprise", E, ACK, at="2026-08-13", dist=IN),
    row("xai-2026", "xai-enterprise", S, PERMISSION, at="2026-08-14"),
    row("meta-last-old-day", "meta-llama-api", S, ALLOW, at="2026-07-02", dist=IN),
    row("meta-last-old-day-new-name", "meta-model-api", C, WITH, at="2026-07-02"),
    row("meta-between-captures", "meta-model-api", S, ACK, at="2026-07-05", dist=IN),
    row("meta-first-new-day", "meta-llama-api", C, DENY, at="2026-07-08"),
    row("meta-old-p-now", "meta-llama-api", P, PERMISSION, at="2026-07-02", now="2026-11-24",
        dist=DATASET, at_collection=WITH, oblig=["llama_name_prefix"]),
    row("phi-last-research-day", "phi-4@self-host", C, PERMISSION, at="2025-01-07"),
    row("phi-first-mit-day", "phi-4@self-host", C, ALLOW, at="2025-01-08"),
    row("phi-kept", "phi-4@self-host", S, PERMISSION, at="2025-01-07", now="2026-11-24"),
    row("openai-2025", "openai-api", S, ACK, at="2025-12-31", dist=IN),
    row("openai-2025-k", "openai-api", K, ALLOW, at="2025-12-31", now="2026-01-01", dist=IN),
    row("openai-2025-c", "openai-api", C, DENY, at="2025-06-01"),
    row("openai-before-all", "openai-api", E, DENY, at="2025-05-30", dist=IN),
    row("deepseek-before-all", "deepseek-api", S, DENY, at="2025-04-12"),
    row("deepseek-first-day", "deepseek-api", S, ALLOW, at="2025-04-13"),
    row("deepseek-overnight", "deepseek-api", S, ALLOW, at="2026-04-28", now="2026-04-29"),
    row("llama-before-release", "llama-3.1@self-host", E, DENY, at="2024-07-22", dist=IN),
    row("version-not-yet", "aws-bedrock/nova@2026-08-20", E, DENY, at="2026-01-22", dist=IN),
    row("version-no-more", "aws-bedrock/nova@2025-08-01", E, DENY, at="2026-11-24", dist=IN),
    row("version-never", "openai-api@1999-01-01", E, DENY, dist=IN),
    row("version-right", "openai-api@2026-01-01", E, ALLOW, dist=IN),
    row("review-last-day", "deepseek-api", S, ALLOW, at="2027-02-22"),
    row("review-over", "deepseek-api", S, DENY, at="2027-02-23", reason="stale"),
    row("review-over-licence", "qwen3@self-host", S, DENY, at="2027-02-23", reason="stale"),
    row("review-over-old-rows", "deepseek-api", S, ACK, at="2026-11-24", now="2027-02-23"),
    row("review-over-old-rows-ack", "deepseek-api", S, ALLOW, at="2026-11-24", now="2027-02-23",
        ack="present"),
    row("review-over-collect", "deepseek-api", S, DENY, at="2026-11-24", now="2027-02-23",
        stage="collect", ack="present"),
    row("review-over-permission", "anthropic-api", S, PERMISSION, at="2026-11-24",
        now="2027-02-23"),
    row("far-future", "mistral-api", E, DENY, at="2031-01-01", dist=IN),
]  # fmt: skip

CHANNELS = [
    row("router-openai", "openrouter", S, ACK, served="openai/gpt-4o", dist=IN),
    row("router-openai-c", "openrouter", C, DENY, served="openai/gpt-4o"),
    row("router-openai-ack", "openrouter", S, ALLOW, served="openai/gpt-4o", dist=IN,
        ack={"off": "openai-api"}),
    row("router-ack-for-the-router", "openrouter", S, ACK, served="openai/gpt-4o", dist=IN,
        ack={"off": "openrouter"}),
    row("router-llama", "openrouter", S, WITH, served="meta-llama/llama-3.1-70b-instruct",
        oblig=["llama_name_prefix"]),
    row("router-gemma", "openrouter", S, WITH, served="google/gemma-3-27b-it",
        oblig=["gemma_use_restrictions_flowdown"]),
    row("router-mistral-e", "openrouter", E, ALLOW, served="mistralai/mistral-large", dist=IN),
    row("router-grok-e", "openrouter", E, ACK, served="x-ai/grok-4", dist=IN),
    row("router-gemini", "openrouter", S, ACK, served="google/gemini-2.5-pro", dist=IN),
    row("router-gemini-grounded", "openrouter", S, DENY, served="google/gemini-2.5-pro",
        feature="grounding"),
    row("router-qwen-2.5", "openrouter", S, WITH, served="qwen/qwen-2.5-72b-instruct",
        oblig=["qwen_built_with"]),
    row("router-gpt-oss", "openrouter", C, ALLOW, served="openai/gpt-oss-120b:free"),
    row("router-sonar", "openrouter", S, DENY, served="perplexity/sonar-pro"),
    row("router-command", "openrouter", E, DENY, served="cohere/command-r", dist=IN),
    row("router-better-than-asked", "openrouter", S, ALLOW, requested="anthropic/claude-sonnet-4",
        served="deepseek/deepseek-chat"),
    row("router-vision-eu", "openrouter", S, DENY, org_region="DE",
        served="meta-llama/llama-3.2-11b-vision-instruct"),
    row("router-vision-us", "openrouter", S, WITH, org_region="US",
        served="meta-llama/llama-3.2-11b-vision-instruct"),
    row("router-serves-itself", "openrouter", S, DENY, served="openrouter"),
    row("together-c", "together", C, WITH, served="meta-llama/Llama-3.1-8B-Instruct"),
    row("together-own-eval", "together", E, ALLOW, served="qwen3-8b", dist=IN,
        context="own_system"),
    row("together-llama-2", "together", S, DENY, served="llama-2-70b", base="qwen3"),
    row("together-unknown", "together", S, DENY),
    row("fireworks-c", "fireworks", C, ACK, served="deepseek-r1", oblig=["fireworks_recall"]),
    row("fireworks-unknown", "fireworks", S, DENY, ack="present"),
    row("fireworks-r-ack", "fireworks", R, WITH, served="gpt-oss-20b", ack="present", dist=IN),
    row("replicate-flux", "replicate", S, DENY, served="black-forest-labs/flux-dev"),
    row("groq-llama", "groq", S, DENY, served="llama-3.1-8b-instant", reason="no_reviewed_terms"),
    row("bedrock-llama", "llama-3.1@aws-bedrock", S, PERMISSION, dist=IN,
        oblig=["aws_keep_provenance"]),
    row("bedrock-llama-permission", "llama-3.1@aws-bedrock", S, WITH, dist=PUBLIC,
        permission={"off": "aws-bedrock", "scope": [S]},
        oblig=["aws_keep_provenance", "llama_name_prefix"]),
    row("bedrock-oss-p", "gpt-oss@aws-bedrock", P, ACK, dist=DATASET),
    row("bedrock-r1-r", "aws-bedrock/deepseek-r1", R, PERMISSION, dist=IN),
    row("bedrock-claude-k", "claude-sonnet-4@aws-bedrock", K, PERMISSION, dist=IN),
    row("bedrock-old-r1", "deepseek-r1@aws-bedrock", S, ACK, at="2025-06-01", dist=IN),
    row("bedrock-distillation", "llama-3.1@aws-bedrock", S, WITH, feature="model_distillation",
        dist=IN, oblig=["aws_student_stays"]),
    row("bedrock-distillation-claude", "claude-sonnet-4@aws-bedrock", S, PERMISSION, dist=IN,
        feature="model_distillation"),
    row("bedrock-alone", "aws-bedrock", E, DENY, dist=IN),
    row("bedrock-slash", "aws-bedrock/", E, DENY, dist=IN),
]  # fmt: skip

STUDENTS = [
    row("grandchild-of-llama", "student-of(student-of(llama-3.1))", S, WITH,
        oblig=["llama_name_prefix"]),
    row("grandchild-inside", "student-of(student-of(llama-3.1))", S, ALLOW, dist=IN),
    row("child-of-claude", "student-of(anthropic-api)", S, PERMISSION, dist=IN),
    row("child-of-openai-k", "student-of(openai-api)", K, ALLOW, dist=IN),
    row("child-of-openai-c", "student-of(openai-api)", C, DENY, ack="present"),
    row("child-of-llama-2", "student-of(llama-2@self-host)", S, DENY, base="qwen3"),
    row("child-of-llama-2-own", "student-of(llama-2)", S, WITH, base="llama-2-7b"),
    row("child-of-two", "student-of(gemma-3, llama-3.1)", S, WITH,
        oblig=["gemma_tou_copy", "llama_name_prefix"]),
    row("child-of-a-stranger", "student-of(qwen3, nobody)", E, DENY, dist=IN),
    row("child-of-nobody", "student-of()", E, DENY, dist=IN),
    row("child-half-said", "student-of(qwen3", E, DENY, dist=IN),
    row("child-of-a-channel", "student-of(openrouter)", S, DENY, served="qwen3"),
    row("child-of-an-old-nova", "student-of(aws-bedrock/nova)", S, PERMISSION, at="2025-12-01",
        now="2026-11-24", dist=IN, at_collection=ACK),
    row("children-counted", ["student-of(qwen3) x10", "student-of(openai-api) x5"], S, ACK,
        dist=IN, drop={"rows": 10, "level": ALLOW, "new_root": True}),
]  # fmt: skip

NAMES = [
    row("both-prefixes", ["llama-3@self-host", "llama-3.1@self-host"], S, WITH,
        base="Meta-Llama-3-8B", stage="publish", name="Llama-3-Clinic"),
    row("one-prefix-of-two", ["llama-3@self-host", "llama-3.1@self-host"], S, DENY,
        base="Meta-Llama-3-8B", stage="publish", name="Llama-Clinic", fix="Llama-3-"),
    row("prefix-and-ban", ["deepseek-api", "llama-3.1@self-host"], C, DENY, stage="publish",
        name="Llama-DeepSeek-Mini", reason="student_name"),
    row("prefix-without-ban", ["deepseek-api", "llama-3.1@self-host"], C, WITH, stage="publish",
        name="Llama-Mini", oblig=["llama_name_prefix", "no_deepseek_branding"]),
    row("account-before-the-name", "llama-3.3@self-host", S, WITH, stage="publish",
        name="acme/Llama-Clinic"),
    row("prefix-in-small", "llama-3.3@self-host", S, DENY, stage="publish", name="llama-clinic"),
    row("prefix-inside", "llama-3.3@self-host", S, DENY, stage="publish", name="Clinic-Llama",
        fix="Publish it as Llama-Clinic-Llama."),
    row("no-prefix-inside-the-house", "llama-3.3@self-host", S, ALLOW, dist=IN, stage="publish",
        name="Clinic"),
    row("base-brings-its-name", "openai-api", K, DENY, base="llama-3.2-1b", stage="publish",
        name="Clinic", ack="present", fix="Llama-Clinic"),
    row("grandchild-must-be-named", "student-of(llama-3.1)", S, DENY, stage="publish",
        name="Clinic"),
]  # fmt: skip

FAMILIES = [
    row("two-families", ["llama-2@self-host", "llama-3@self-host"], S, DENY, base="llama-2-7b",
        reason="no_student_base_satisfies_all"),
    row("family-and-free", ["llama-2@self-host", "deepseek-api"], S, WITH, base="llama-2-7b"),
    row("family-and-free-other-base", ["llama-2@self-host", "deepseek-api"], S, DENY,
        base="qwen3"),
    row("tongyi-chat", "tongyi-2023@self-host", S, WITH, base="Qwen/Qwen-14B-Chat"),
    row("tongyi-2.5", "tongyi-2023@self-host", S, DENY, base="qwen2.5-7b"),
    row("llama-3-large", "llama-3@self-host", S, WITH, base="meta-llama/Meta-Llama-3-70B-Instruct"),
    row("llama-3-no-base", "llama-3@self-host", S, DENY, dist=IN, ack="present"),
    row("family-e", ["llama-2@self-host", "llama-3@self-host"], E, ALLOW, dist=IN),
    row("family-r", "tongyi-2023@self-host", R, DENY, base="smollm2", dist=IN),
]  # fmt: skip

SIZES = [
    row("llama-at-the-cap", "llama-3.1@self-host", S, ALLOW, dist=IN,
        context={"mau": 700_000_000}),
    row("llama-above-the-cap", "llama-3.1@self-host", S, PERMISSION, dist=IN,
        context={"mau": 700_000_001}, oblig=["llama_large_user_licence"]),
    row("llama-above-e", "llama-3.1@self-host", E, PERMISSION, dist=IN, context=">700M MAU"),
    row("llama-above-licensed", "llama-3.1@self-host", S, WITH, dist=IN, context={"mau": 8e8},
        permission={"scope": [S]}),
    row("llama-above-ack", "llama-3.1@self-host", S, PERMISSION, dist=IN,
        context="800 million monthly active users", ack="present"),
    row("qwen-above", "qwen-2024@self-host", P, PERMISSION, dist=DATASET, context={"mau": "150M"}),
    row("qwen-below", "qwen-2024@self-host", P, WITH, dist=DATASET, context={"mau": "99M"}),
    row("kimi-small", "kimi-k2@self-host", S, ALLOW, dist=SAAS, context={"mau": 5_000}),
    row("kimi-large", "kimi-k2@self-host", S, WITH, dist=SAAS, context={"mau": 150_000_000},
        oblig=["kimi_display_name"]),
    row("kimi-rich", "kimi-k2@self-host", S, WITH, dist=SAAS,
        context={"monthly_revenue_usd": 20_000_001}, oblig=["kimi_display_name"]),
    row("minimax-rich", "minimax-m2@self-host", E, WITH, dist=IN, context={"arr": 40_000_000},
        oblig=["minimax_display_name"]),
    row("old-llama-api-above", "meta-llama-api", S, PERMISSION, at="2026-03-01", dist=IN,
        context={"mau": 1e9}),
    row("join-of-sizes", ["llama-3.1@self-host", "qwen-2024@self-host"], S, PERMISSION, dist=IN,
        context={"mau": 150_000_000}, oblig=["qwen_large_user_licence"]),
]  # fmt: skip

PLACES = [
    *(
        row(f"llama-4-{region}", "llama-4-multimodal@self-host", S, want, org_region=region)
        for region, want in [
            ("EU", DENY), ("eu", DENY), ("EEA", DENY), ("Germany", DENY), ("DE-BY", DENY),
            ("France", DENY), ("CH", WITH), ("GB", WITH), ("UK", WITH), ("NO", WITH), ("US", WITH),
            ("unknown", DENY), ("", DENY),
        ]
    ),
    *(
        row(f"gemini-unpaid-{region}", "gemini-api", E, want, org_region=region, dist=IN,
            context="unpaid tier")
        for region, want in [
            ("CH", DENY), ("GB", DENY), ("NO", DENY), ("PL", DENY), ("US", ALLOW), ("JP", ALLOW),
            ("", DENY),
        ]
    ),
    row("gemini-paid-ch", "gemini-api", S, ACK, org_region="CH", context="paid tier", dist=IN),
    row("gemini-free-tier", "gemini-api", E, DENY, org_region="IE", context={"tier": "free_tier"},
        dist=IN),
    row("llama-3.2-image-unsaid", "llama-3.2@self-host", S, DENY, modality="image"),
    row("llama-3.2-image-us", "llama-3.2@self-host", S, WITH, modality="image", org_region="US"),
    row("llama-3.2-text-unsaid", "llama-3.2@self-host", S, ALLOW, dist=IN),
    row("llama-3.3-eu", "llama-3.3@self-host", S, ALLOW, org_region="FR", modality="image",
        dist=IN),
    row("llama-4-image-unsaid", "llama-4@self-host", S, DENY, modality=["text", "image"]),
    row("old-llama-api-image-eu", "meta-llama-api", E, DENY, at="2026-03-01", modality="image",
        org_region="ES", dist=IN),
]  # fmt: skip

KINDS = [
    row("mistral-search-e", "mistral-api", E, DENY, feature="web_search", dist=IN),
    row("mistral-search-e-2025", "mistral-api", E, DENY, feature="web_search", dist=IN,
        at="2026-01-10"),
    row("mistral-image-p", "mistral-api", P, ACK, modality="image", dist=DATASET),
    row("mistral-image-k", "mistral-api", K, WITH, modality="image", dist=IN),
    row("mistral-image-c", "mistral-api", C, DENY, modality="image", ack="present"),
    row("mistral-preview-e", "mistral-api", E, ACK, stage="preview", dist=IN),
    row("mistral-preview-s", "mistral-api", S, DENY, stage="preview"),
    row("mistral-ga", "mistral-api", S, WITH, stage="ga"),
    row("vertex-preview-e", "vertex", E, DENY, stage="preview", permission="present"),
    *(
        row(f"grounded-{purpose}", "gemini-api", purpose, DENY, dist=IN, ack="present",
            feature="Grounding with Google Search", permission="present")
        for purpose in (C, S, K, E, P, B, R, IMAGE)
    ),
    row("openai-reasoning", "openai-api", K, DENY, feature="reasoning", dist=IN),
    row("deepseek-reasoning", "deepseek-api", C, WITH, feature="reasoning_content"),
    row("openai-ordinary", "openai-api", K, ALLOW, feature=["tools", "json_mode"], dist=IN),
    row("ordinary-and-not", "openai-api", K, DENY, feature=["tools", "browsing"], dist=IN),
    row("openai-image-model", "openai-api", IMAGE, DENY, dist=IN),
    row("deepseek-image-model", "deepseek-api", IMAGE, WITH),
    row("anthropic-benchmark", "anthropic-api", B, ACK, dist=IN),
    row("meta-academic", "meta-model-api", B, ACK, context="academic", dist=IN),
    row("meta-market", "meta-model-api", B, PERMISSION, context="market", ack="present"),
    row("kimi-consumer-r-public", "kimi-consumer", R, ACK, dist=PUBLIC),
    row("claude-consumer-b", "claude-consumer", B, ACK, dist=IN),
    row("classifier-not-listed", "anthropic-api", K, PERMISSION, field="reward model", dist=IN),
    row("specialist-listed", "anthropic-api", S, ACK, field="Information extraction", dist=IN),
    row("specialist-listed-public", "anthropic-api", S, ACK, field="search", dist=PUBLIC),
    row("specialist-listed-c", "anthropic-api", C, DENY, field="sentiment", ack="present"),
    row("r1-distill-e", "deepseek-r1-distill-llama-8b@self-host", E, ALLOW, dist=IN),
    row("r1-distill-p", "deepseek-r1-distill-llama-70b@self-host", P, WITH, dist=DATASET),
    row("cosmos", "nvidia-cosmos@self-host", S, WITH, oblig=["cosmos_built_on"]),
    row("gemma-dataset", "gemma-3@self-host", E, ALLOW, dist=DATASET),
    row("llama-dataset", "llama-2@self-host", E, ACK, dist=DATASET),
    row("finetune-own", "openai-finetune", S, WITH, base="gpt-4o-mini", dist=IN,
        oblig=["openai_student_stays"]),
    row("finetune-out", "openai-finetune", C, DENY, base="llama-3.1-8b", ack="present"),
]  # fmt: skip

OPENAI = {"off": "openai-api", "purpose": S, "dist": IN}


def openai(case: str, want: str, **more: Any) -> dict[str, Any]:
    return {"id": case, **OPENAI, "want": want, **more}


RECORDS = [
    openai("ack-whole", ALLOW, ack={"scope": [S], "dist": [IN], "off": "openai-api",
                                    "expires": "2027-01-01"}),
    openai("ack-scope-as-a-word", ALLOW, ack={"scope": "train_specialist"}),
    openai("ack-other-dist", ACK, ack={"scope": [S], "dist": [PUBLIC]}),
    openai("ack-foreign", ACK, ack={"scope": [S], "off": "anthropic-api"}),
    openai("ack-other-organisation", ACK, ack={"organisation": "Somebody Else Ltd"}),
    openai("ack-other-entry", ACK, ack={"terms_pin": "sha256:" + "0" * 64}),
    openai("ack-this-version", ALLOW, ack={"off": "openai-api@2026-01-01"}),
    openai("ack-old-version", ACK, ack={"off": "openai-api@2025-05-31"}),
    openai("ack-not-yet", ACK, ack={"on": "2026-11-25", "expires": "2027-01-01"}),
    openai("ack-last-day", ALLOW, ack={"on": "2026-06-01", "expires": "2026-11-24"}),
    openai("ack-a-day-late", ACK, ack={"on": "2026-06-01", "expires": "2026-11-23"}),
    openai("ack-revoked", ACK, ack={"revoked": True}),
    openai("ack-void", ACK, ack={"valid": False}),
    openai("ack-void-in-words", ACK, ack="wrong scope"),
    openai("ack-asked-for", ACK, ack="requested"),
    openai("ack-false", ACK, ack=False),
    openai("permission-only", ACK, permission={"scope": [S]}),
    openai("ack-on-denial", DENY, purpose=C, ack="present", permission="present"),
    row("ack-on-permission", "xai-enterprise", S, PERMISSION, ack="present"),
    row("permission-other-scope", "xai-enterprise", S, PERMISSION, permission={"scope": [R]}),
    row("permission-other-dist", "xai-enterprise", S, PERMISSION,
        permission={"scope": [S], "dist": [IN]}),
    row("permission-of-another", "xai-enterprise", S, PERMISSION,
        permission={"off": "anthropic-api"}),
    row("permission-and-ack", "xai-enterprise", S, WITH, ack="present", permission="present",
        oblig=["xai_keep_provenance", "xai_not_presented_as_human"]),
    row("permission-unread", "azure-openai", S, DENY, permission="present", ack="present"),
    row("both-needed-one-there", ["openai-api", "anthropic-api"], S, PERMISSION, dist=IN,
        ack="present"),
    row("both-needed-both-there", ["openai-api", "anthropic-api"], S, ALLOW, dist=IN,
        ack="present", permission="present"),
    row("dataset-needs-both-scopes", "openai-api", E, ACK, dist=DATASET, ack={"scope": [E]}),
    row("dataset-has-both-scopes", "openai-api", E, ALLOW, dist=DATASET, ack={"scope": [E, P]}),
    row("ack-lifts-old-text-too", "aws-bedrock/nova", P, WITH, at="2025-12-01", now="2026-11-24",
        dist=DATASET, ack="present", oblig=["aws_keep_provenance"]),
    row("permission-lifts-no-old-ack", "aws-bedrock/nova", S, ACK, at="2025-12-01",
        now="2026-11-24", dist=IN, permission="present", at_collection=ACK),
    row("counted-records", ["deepseek-api x990", "openai-api x10"], S, ACK, dist=IN,
        ack={"off": "anthropic-api"}, drop={"rows": 990, "level": ALLOW, "new_root": True}),
    row("counted-none-blocks", ["deepseek-api x990", "openai-api x10"], S, ALLOW, dist=IN,
        ack="present", drop={"rows": 1000, "level": ALLOW, "new_root": False}),
    row("counted-all-block", ["anthropic-api x5"], C, DENY,
        drop={"rows": 0, "level": "", "new_root": False}),
    row("counted-one-in-a-million", {"openai-chatgpt-consumer": 1, "deepseek-api": 1_000_000}, S,
        DENY, drop={"rows": 1_000_000, "level": ALLOW, "new_root": True}),
]  # fmt: skip

ODD = [
    row("capitals", "OPENAI-API", E, DENY, dist=IN),
    row("spaces-around", "  openai-api ", E, ALLOW, dist=IN),
    row("spaces-inside", "openai api", E, DENY, dist=IN),
    row("star", "*", E, DENY, dist=IN),
    row("at-sign", "@", E, DENY, dist=IN),
    row("slash", "/", E, DENY, dist=IN),
    row("path", "../openai-api", E, DENY, dist=IN),
    row("model-without-channel", "gpt-4o", E, DENY, dist=IN),
    row("weights-without-home", "llama-3.1", E, DENY, dist=IN),
    row("other-home", "qwen3@my-laptop", E, DENY, dist=IN),
    row("accent", "mistral-äpi", E, DENY, dist=IN),
    row("served-elsewhere", "deepseek-api", S, DENY, served="gpt-4o", reason="served_model"),
    row("served-own", "deepseek-api", S, ALLOW, served="deepseek-chat"),
    row("worst-purpose", "openai-api", "", DENY),
    row("worst-dist", "openai-api", K, ACK),
]  # fmt: skip

ALL = [
    *HISTORY, *CHANNELS, *STUDENTS, *NAMES, *FAMILIES, *SIZES, *PLACES, *KINDS, *RECORDS, *ODD
]  # fmt: skip
CHECKS = ("want", "reason", "at_collection", "drop")


def test_each_situation_has_a_name_of_its_own() -> None:
    names = [case["id"] for case in ALL]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize("case", ALL, ids=lambda case: case["id"])
def test_the_situation_is_judged_as_the_facts_say(register: Register, case: dict[str, Any]) -> None:
    asked = {key: value for key, value in case.items() if key not in CHECKS}
    answer = evaluate(asked, register, TODAY, where="situations")
    assert answer["level"] == case["want"], [answer["fix"], answer["reasons"][0]]
    assert set(case.get("oblig", ())) <= set(answer["obligations"])
    assert case.get("fix", "") in answer["fix"]
    assert case.get("reason") in {None, *(reason["code"] for reason in answer["reasons"])}
    assert answer.get("at_collection") == case.get("at_collection", answer.get("at_collection"))
    assert answer.get("drop_blocking") == case.get("drop", answer.get("drop_blocking"))
    assert answer["level"] == ALLOW or answer["fix"]

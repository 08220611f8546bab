"""Drafts of two summaries that laws ask for, filled from manifests; a person finishes them.

    art53(run_source(bench, "sft"))      # EU AI Act, Article 53(1)(d), in the template's sections
    ab2013(run_source(bench, "sft"))     # California Civil Code 3111, its twelve disclosures

Whether a law applies is not said here. What cannot be known from the records says who must fill it.

Sources: European Commission, Explanatory Notice and Template for the Public Summary of Training
Content, 24 July 2025, adopted as C(2025) 8311 on 5 December 2025; California AB 2013 (Civil Code
3110-3111), in force since 1 January 2026.
"""

from collections.abc import Iterator

from synth.exports.source import Source

PERSON = "*To be filled by a person.*"
_TOKENS = ((10**9, "less than 1 billion tokens"), (10**13, "1 billion to 10 trillion tokens"))


def art53(source: Source) -> str:
    """Markdown in the sections of the Commission's template."""
    return _page(
        source,
        "Public summary of training content (draft)",
        "The sections are those of the template for Article 53(1)(d) of Regulation (EU) 2024/1689.",
        [*_general(source), *_sources(source), *_processing(source)],
    )


def ab2013(source: Source) -> str:
    """Markdown with the twelve disclosures of California Civil Code 3111(a)."""
    lines = [
        f"**({number}) {title}.** {text}\n"
        for number, (title, text) in enumerate(_twelve(source), 1)
    ]
    return _page(
        source,
        "Training data documentation (draft)",
        "The numbers are those of California Civil Code 3111(a), added by AB 2013.",
        lines,
    )


def _page(source: Source, title: str, about: str, lines: list[str]) -> str:
    receipt = source.receipt
    entry = f", entry {receipt.seq} of the log `{receipt.ledger}`" if receipt else ""
    head = [
        f"# {title}: {source.name}\n",
        f"> **Draft, not a legal statement.** {about} It was filled from the manifest"
        f" `{source.digest}`{entry}. It does not say whether the law applies.\n",
    ]
    return "\n".join([*head, *lines]).rstrip() + "\n"


def _general(source: Source) -> Iterator[str]:
    student = source.manifest["student"]
    first, last = source.period
    yield "## 1. General information\n"
    yield "### 1.1 Provider identification\n"
    yield f"- Provider name and contact: {PERSON}"
    yield f"- Authorised representative: {PERSON}\n"
    yield "### 1.2 Model identification\n"
    yield f"- Versioned model name: {source.name}, weights of manifest `{source.digest}`"
    yield f"- Model dependencies: a modification of `{source.base}`"
    yield f"  (`{student['base_digest']}`); that model's own summary: {PERSON}"
    yield f"- Date of placement on the Union market: {PERSON}\n"
    yield "### 1.3 Modalities, overall training data size and other characteristics\n"
    yield "This covers the modification only: the content of the dataset named below.\n"
    yield f"- Modality: text. Size: {_size(source)}"
    yield f"- Types of content: {_types(source)}"
    yield f"- Latest date of data acquisition: {last or 'no row was collected from a teacher'}"
    yield f"- First date of data acquisition: {first or 'none'}. Collection is not continuous: a"
    yield "  frozen dataset never changes."
    yield f"- Linguistic characteristics: {PERSON}"
    yield f"- Other relevant characteristics: {PERSON}\n"


def _sources(source: Source) -> Iterator[str]:
    prompts = source.dataset["prompts"]
    yield "## 2. List of data sources\n"
    yield "### 2.1 Publicly available datasets\n"
    yield f"- The prompts: `{prompts['file']}` (`{prompts['sha256']}`), licence"
    yield f"  {prompts['licence']}. {prompts['attribution']}".rstrip()
    yield f"- Whether they are a publicly available dataset, and where it lies: {PERSON}\n"
    yield "### 2.2 Private non-publicly available datasets obtained from third parties\n"
    yield f"- Licensed by rightsholders or obtained from others: {_imported(source)}\n"
    yield "### 2.3 Data crawled and scraped from online sources\n"
    yield f"- None was crawled by this program. Crawled by others for the prompts: {PERSON}\n"
    yield "### 2.4 User data\n"
    yield "- None was taken by this program from users of a service. Prompts written by users of"
    yield f"  the provider's own services: {PERSON}\n"
    yield "### 2.5 Synthetic data\n"
    if not source.teachers:
        yield "- No training row is a model's answer: this dataset holds known answers."
    for teacher in source.teachers:
        yield f"- {teacher['rows']} rows are answers of `{teacher['model']}`, collected under"
        yield f"  `{teacher['offering']}` (terms `{teacher['terms_pin']}`) from"
        yield f"  {teacher['collected'][0]} to {teacher['collected'][1]};"
        yield f"  served as {', '.join(teacher['served_models']) or 'not said'}."
        yield "  Whether that model is on the market, and its own summary: " + PERSON
    yield ""
    yield "### 2.6 Other sources of data\n"
    yield f"- {PERSON}\n"


def _processing(source: Source) -> Iterator[str]:
    yield "## 3. Data processing aspects\n"
    yield "### 3.1 Respect of reservation of rights from the text and data mining exception\n"
    yield f"- Signatory of the Code of Practice, and measures before training: {PERSON}"
    yield "- The terms of each teacher were checked before collection, before training and before"
    yield f"  publication; the decision for this student is {_decision(source)}.\n"
    yield "### 3.2 Removal of illegal content\n"
    yield f"- Measures to avoid or remove illegal content: {PERSON}\n"
    yield "### 3.3 Other information\n"
    yield f"- {_cleaning(source)}"
    duties = ", ".join(duty.name for duty in source.duties) or "none"
    yield f"- Duties that bind the student: {duties}."


def _twelve(source: Source) -> Iterator[tuple[str, str]]:
    first, last = source.period
    prompts = source.dataset["prompts"]
    owners = ", ".join(sorted({str(teacher["offering"]) for teacher in source.teachers}))
    yield (
        "Sources or owners of the datasets",
        f"Dataset `{source.dataset['name']}` (`{source.dataset['digest']}`): answers collected"
        f" under {owners or 'no offering'}; prompts `{prompts['file']}`."
        f" {prompts['attribution']}".rstrip(),
    )
    yield (
        "How the datasets further the intended purpose",
        f"They teach the student for the purpose {_purpose(source)}. {PERSON}",
    )
    yield "Number of data points", _counts(source)
    yield "Types of data points", _types(source)
    yield (
        "Data protected by copyright, trademark or patent, or in the public domain",
        f"The prompts are under {prompts['licence']}. For the answers: {PERSON}",
    )
    yield (
        "Whether the datasets were purchased or licensed",
        f"The answers were obtained under the providers' terms, named in (1). {_imported(source)}",
    )
    yield "Personal information", PERSON
    yield "Aggregate consumer information", PERSON
    yield "Cleaning, processing or other modification", _cleaning(source)
    yield (
        "Period of collection",
        f"{first} to {last}; not ongoing, since a frozen dataset never changes."
        if first
        else "No row was collected from a teacher.",
    )
    used = source.receipt.time[:10] if source.receipt else ""
    yield (
        "Dates the datasets were first used during development",
        f"In this run by {used}. Earlier runs: {PERSON}" if used else PERSON,
    )
    yield (
        "Use of synthetic data generation",
        "Yes: the training rows are a model's answers, generated for this purpose. They stand for"
        " what a larger model would answer, so that a smaller one can do the task."
        if source.teachers
        else "No training row is a model's answer.",
    )


def _counts(source: Source) -> str:
    rows = ", ".join(f"{count} {split}" for split, count in source.rows.items())
    return f"{rows} rows; {source.manifest['training']['counts'].get('examples', 0)} were taught."


def _size(source: Source) -> str:
    tokens = int(source.manifest["training"]["counts"].get("positions", 0))
    category = next((word for limit, word in _TOKENS if tokens < limit), "more than 10 trillion")
    return f"{category} ({tokens:,} answer tokens in {_counts(source)})"


def _types(source: Source) -> str:
    labels = [str(row["label"]) for row in source.dataset["coverage"]]
    kinds = "conversations: the messages of a prompt and one answer"
    return f"{kinds}; labels {', '.join(labels)}." if labels else f"{kinds}, without labels."


def _cleaning(source: Source) -> str:
    filters = ", ".join(source.dataset["filters"])
    return (
        f"Training rows were kept by the filters {filters}, of one prompt's answers"
        f" `{source.dataset['keep']}`; the held-out rows are unfiltered. Every drop and its reason"
        " stands in the ledger."
    )


def _decision(source: Source) -> str:
    decision = source.decision
    return f"{decision['level']} for {decision['purpose']}, {decision['distribution']}"


def _purpose(source: Source) -> str:
    decision = source.decision
    return f"`{decision['purpose']}`"


def _imported(source: Source) -> str:
    found = [teacher for teacher in source.teachers if teacher.get("imported")]
    if not found:
        return "no row was brought in from outside; for the prompts: " + PERSON
    said = "; ".join(
        f"{teacher['rows']} rows from `{teacher['imported']['name']}`"
        f" ({teacher['imported']['format']}), declared by {teacher['imported']['by']} as"
        f" {teacher['offering']}"
        for teacher in found
    )
    return f"{said}. How that file was obtained: {PERSON}"

"""What the rules of one entry say to one question, worked out once and kept with the entry.

    part = part_for(use, terms, given)
    part.level, part.obligations, part.reasons

A question is a purpose, a distribution and whatever narrowing the rules ask about, so a register of
sixty entries needs a few hundred parts and a decision is mostly a look-up.
"""

from typing import NamedTuple

from policy.clauses import Level, Obligation, Patterns, Rule, fits, plain
from policy.decision import Code, Reason, rank, smallest
from policy.entry import Terms
from policy.fixes import fix_for
from policy.regions import regions_of
from policy.use import Distribution, Given, Purpose, Use

ORDINARY = frozenset(
    {"none", "text", "chat", "completion", "completions", "batch", "batches", "caching", "seed"}
    | {"prompt_caching", "tools", "tool_use", "tool_calls", "functions", "json", "json_mode"}
    | {"json_schema", "structured_output", "structured_outputs", "streaming", "stream", "logprobs"}
)
"""Features that change how an answer is asked for, and not what it is made of."""


class Part(NamedTuple):
    """The answer of the rules alone, less the day, the review and the records."""

    reasons: tuple[Reason, ...]
    level: Level
    obligations: tuple[str, ...]
    families: tuple[str, ...] | None
    name_prefixes: tuple[str, ...]
    caps: dict[str, int]
    excluded_regions: tuple[str, ...]
    retention_days: int | None
    fix: str


class _Fitting(NamedTuple):
    """The rules for a purpose and a distribution, and what is remembered of earlier questions."""

    rules: tuple[Rule, ...]
    conditions: tuple[tuple[tuple[int, Patterns], ...], ...]
    holding: dict["_Said", tuple[Rule, ...]]
    parts: dict[tuple[object, ...], Part]


REMEMBERED = 256
"""Questions whose rules are kept per purpose and distribution; people ask a handful."""


def part_for(use: Use, terms: Terms, given: Given) -> Part:
    """The part for a question; silence of the entry is a reason too."""
    asked = (use.purpose, use.distribution)
    fitting: _Fitting | None = terms.compiled.get(asked)
    if fitting is None:
        fitting = terms.compiled[asked] = _fitting(use, terms)
    rules = _holding(fitting, use, given) if any(fitting.conditions) else fitting.rules
    silent = _silent_features(rules, terms, given) if given.features else ()
    days = _days(terms, given) if terms.retention else None
    key = (tuple(map(id, rules)), silent, days)
    found = fitting.parts.get(key)
    if found is None:
        found = fitting.parts[key] = _part(use, terms, rules, silent, days)
    return found


def _holding(fitting: _Fitting, use: Use, given: Given) -> tuple[Rule, ...]:
    """The rules whose every condition holds."""
    said = _said(use, given)
    found = fitting.holding.get(said)
    if found is None:
        found = tuple(
            rule
            for rule, conditions in zip(fitting.rules, fitting.conditions, strict=True)
            if all(fits(patterns, said[at]) for at, patterns in conditions)
        )
        if len(fitting.holding) >= REMEMBERED:
            fitting.holding.clear()
        fitting.holding[said] = found
    return found


def _fitting(use: Use, terms: Terms) -> _Fitting:
    """Every rule for it. A dataset that everybody gets is also a published dataset."""
    rules = _rules_for(use, terms)
    return _Fitting(rules, tuple(_conditions(rule) for rule in rules), {}, {})


def _rules_for(use: Use, terms: Terms) -> tuple[Rule, ...]:
    purposes = _purposes(use)
    return tuple(
        rule
        for rule in terms.rules
        if purposes.intersection(rule.purposes)
        and (not rule.distributions or use.distribution in rule.distributions)
    )


def _conditions(rule: Rule) -> tuple[tuple[int, Patterns], ...]:
    """What narrows the rule, by its place in `_Said`."""
    narrowing = _Said(
        rule.features, rule.modalities, rule.fields, rule.contexts, rule.bases, rule.regions
    )
    return tuple((at, patterns) for at, patterns in enumerate(narrowing) if patterns)


def _purposes(use: Use) -> set[Purpose]:
    public = use.distribution == Distribution.DATASET_PUBLIC
    return {use.purpose, Purpose.PUBLISH_DATASET} if public else {use.purpose}


class _Said(NamedTuple):
    features: tuple[str, ...]
    modality: tuple[str, ...]
    field: tuple[str, ...]
    context: tuple[str, ...]
    base: tuple[str, ...]
    regions: tuple[str, ...]


def _said(use: Use, given: Given) -> _Said:
    base = use.student_base.lower().rsplit("/", 1)[-1]
    return _Said(
        features=tuple(plain(feature) for feature in given.features),
        modality=(given.modality.lower(),) if given.modality else (),
        field=(plain(use.field),) if use.field else (),
        context=tuple(plain(each) for each in use.context),
        base=(base,) if base else (),
        regions=regions_of(use.region),
    )


def _silent_features(rules: tuple[Rule, ...], terms: Terms, given: Given) -> tuple[str, ...]:
    """The features that no rule speaks of that holds here. A rule that does not hold says nothing:
    otherwise a further denial, for another case, would break the silence of this one."""
    spoken = [rule.features for rule in rules if rule.features]
    return tuple(
        word
        for word in (plain(feature) for feature in given.features)
        if word not in ORDINARY
        and not any(word.startswith(output) for output in terms.outputs)
        and not is_own_feature(terms, word)
        and not any(fits(patterns, (word,)) for patterns in spoken)
    )


def _days(terms: Terms, given: Given) -> int | None:
    """How long we may keep such answers; what a provider keeps binds the provider."""
    said = tuple(plain(feature) for feature in given.features)
    limits = (limit for limit in terms.retention if limit.kept_by == "customer")
    return min((each.days for each in limits if fits(each.features, said)), default=None)


def is_own_feature(terms: Terms, feature: str) -> bool:
    """Whether the terms were written for such a feature: a channel's own is no matter of others."""
    return any(plain(feature).startswith(plain(each)) for each in terms.features)


def _part(
    use: Use,
    terms: Terms,
    rules: tuple[Rule, ...],
    silent: tuple[str, ...],
    days: int | None,
) -> Part:
    spoken_of = {purpose for rule in rules for purpose in rule.purposes}
    if not _purposes(use) <= spoken_of:
        rules = ()
    reasons = [reason for rule in rules for reason in _clauses(rule, terms)]
    if not rules:
        reasons.append(about(terms, Code.SILENT, _silent_text(use)))
    for feature in silent:
        text = f"The entry does not say what may be done with answers that used {feature}."
        reasons.append(about(terms, Code.SILENT, text))
    names = sorted({name for rule in rules for name in rule.obligations})
    bound = [set(rule.student_families) for rule in rules if rule.student_families]
    families = tuple(sorted(set.intersection(*bound))) if bound else None
    ordered = tuple(sorted(set(reasons), key=rank))
    duties = [terms.obligations[name] for name in names]
    return Part(
        reasons=ordered,
        level=ordered[0].level,
        obligations=tuple(names),
        families=families,
        name_prefixes=tuple(sorted({duty.name_prefix for duty in duties if duty.name_prefix})),
        caps=smallest(caps_of(duty) for duty in terms.obligations.values()),
        excluded_regions=_excluded(use, terms),
        retention_days=days,
        fix=fix_for(ordered, families),
    )


def _silent_text(use: Use) -> str:
    return f"The entry says nothing about {use.purpose} with {use.distribution}."


def _excluded(use: Use, terms: Terms) -> tuple[str, ...]:
    """The regions that some rule for this question denies."""
    rules = [rule for rule in _rules_for(use, terms) if rule.level == Level.DENY]
    named = {region for rule in rules for region in rule.regions if not rule.contexts}
    return tuple(sorted(region for region in named if region.isupper() and region[0] != "!"))


def caps_of(duty: Obligation) -> dict[str, int]:
    """The caps that a duty names."""
    caps = {
        "monthly_users": duty.monthly_users,
        "monthly_revenue_usd": duty.monthly_revenue_usd,
    }
    return {name: cap for name, cap in caps.items() if cap}


def _clauses(rule: Rule, terms: Terms) -> list[Reason]:
    found = []
    for ref in rule.clauses:
        clause = terms.clause(ref)
        document = terms.document(clause)
        found.append(
            Reason(
                offering=terms.id,
                code=Code.CLAUSE,
                level=rule.level,
                text=clause.paraphrase,
                applies=rule.why,
                clause=ref,
                document=document.title,
                document_date=document.date.isoformat(),
                address=document.address,
            )
        )
    return found


def about(
    terms: Terms,
    code: Code,
    text: str,
    level: Level = Level.DENY,
    *,
    clause: str = "",
    fix: str = "",
) -> Reason:
    """A reason that lies in the entry, or in the case, rather than in one clause."""
    document = terms.document(terms.clause(clause)) if clause else terms.documents[0]
    return Reason(
        offering=terms.id,
        code=code,
        level=level,
        text=text,
        clause=clause,
        document=document.title,
        document_date=document.date.isoformat(),
        address=document.address,
        fix=fix,
    )

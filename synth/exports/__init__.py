"""Exports: what a dataset or a student is, in other people's formats, from manifests and receipts.

    source = dataset_source(bench, "bank-support")     # refused if a byte is not as it was frozen
    text = croissant(source)

Every figure is one that a manifest, the log or the register holds already; nothing is computed
anew. Times come from there too, so the same input gives the same bytes on any day.
"""

from synth.exports.bom import cyclonedx
from synth.exports.card import card
from synth.exports.croissant import croissant
from synth.exports.provenance import provenance
from synth.exports.source import Source, dataset_source, run_source
from synth.exports.summary import ab2013, art53

__all__ = [
    "Source",
    "ab2013",
    "art53",
    "card",
    "croissant",
    "cyclonedx",
    "dataset_source",
    "provenance",
    "run_source",
]

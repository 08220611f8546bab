"""Room one: ask teachers, keep the ledger, filter for quality, freeze datasets."""

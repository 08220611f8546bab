"""The auditor's questions: each a function of the ledger and the manifests, with one table."""

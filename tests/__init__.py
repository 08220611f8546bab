"""Tests: real DuckDB files, real HTTP over loopback, the real llama.cpp server, real weights."""

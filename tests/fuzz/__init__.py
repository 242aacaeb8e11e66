"""Bytes nobody would send, to everything of Aeros that reads bytes of others. `scripts/fuzz` runs it for long.

corpus      cases from tests/corpus, and how new ones are made of them
targets     what is fed, and what it must not do
"""

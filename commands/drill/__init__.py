"""Drills: a host is made to panic on purpose, by two people's word, to prove that all that follows a panic works."""

from __future__ import annotations

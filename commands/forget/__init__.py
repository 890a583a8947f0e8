"""Erasure of a host: asked for by one admin, confirmed by another, carried out whatever happens meanwhile, recorded."""

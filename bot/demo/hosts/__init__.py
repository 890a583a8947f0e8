"""Replayed hosts: an SSH server for each, which answers from what real kernels left behind after real panics."""

from __future__ import annotations

from bot.demo.hosts.errors import FleetError, HostNotUp, NoFreePort, ReportRefused, UnknownCase, UnknownHost
from bot.demo.hosts.fleet import Fleet, client_key
from bot.demo.hosts.inventory import DEMO_HOSTS, HostSpec

__all__ = [
    "DEMO_HOSTS",
    "Fleet",
    "FleetError",
    "HostNotUp",
    "HostSpec",
    "NoFreePort",
    "ReportRefused",
    "UnknownCase",
    "UnknownHost",
    "client_key",
]

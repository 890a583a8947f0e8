"""Who sends: source addresses against the inventory. What is unknown is counted in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from commands.inventory import Inventory

UNKNOWN_KEPT = 1000

_Address = IPv4Address | IPv6Address


def plain_address(text: str) -> str:
    """One spelling an address: `::ffff:10.0.0.7` is 10.0.0.7, a zone (`%eth0`) and brackets are cut. Raises
    ValueError for what is no address."""
    address = ip_address(text.strip().strip("[]").partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def guest_name(address: str) -> str:
    """How a host is called of which only the address is known: `10.0.0.7`, `ip6-2001-0db8-…`, a host name both."""
    return address if "." in address else "ip6-" + ip_address(address).exploded.replace(":", "-")


class Senders:
    """Addresses to hosts: `sources` of the settings first, then the inventory's addresses, then looked-up names."""

    def __init__(
        self, inventory: Inventory, sources: Mapping[str, str] | None = None, *, allow_unknown: bool = False
    ) -> None:
        self.allow_unknown = allow_unknown
        self._inventory = inventory
        self._sources = dict(sources or {})
        self._looked_up: dict[str, str] = {}
        self._look()

    def _look(self) -> None:
        """From the inventory as it is now. What DNS said of names that are still there stays."""
        self._version = self._inventory.version
        self._exact: dict[str, str] = {}
        self._networks: list[tuple[IPv4Network | IPv6Network, str]] = []
        self._names: dict[str, str] = {}
        for entry in self._inventory.entries:
            if entry.is_pattern:
                continue
            try:
                self._exact.setdefault(plain_address(entry.address or entry.name), entry.name.lower())
            except ValueError:
                self._names.setdefault(entry.name.lower(), entry.address or entry.name)
        self._looked_up = {a: h for a, h in self._looked_up.items() if h in self._names}
        for written, host in self._sources.items():
            network = ip_network(written)
            if network.num_addresses == 1:
                self._exact[plain_address(str(network.network_address))] = host.lower()
            else:
                self._networks.append((network, host.lower()))
        self._networks.sort(key=lambda pair: -pair[0].prefixlen)

    @property
    def names(self) -> dict[str, str]:
        """host -> the name to look up."""
        if self._version != self._inventory.version:
            self._look()
        return self._names

    def host_of(self, address: str) -> str | None:
        """The host's name, None for an unknown address. `address` in the spelling of `plain_address`."""
        found = self._known(address)
        if found is None and self.allow_unknown:
            return guest_name(address)
        return found

    def is_known(self, address: str) -> bool:
        """Whether the settings or the inventory name its host."""
        return self._known(address) is not None

    def _known(self, address: str) -> str | None:
        if self._version != self._inventory.version:
            self._look()
        found = self._exact.get(address) or self._looked_up.get(address)
        if found is None and self._networks:
            parsed = ip_address(address)
            found = next((host for network, host in self._networks if parsed in network), None)
        return found

    def learn(self, host: str, addresses: Iterable[str]) -> None:
        """What DNS says of a name; what it said before of the same one is forgotten."""
        self._looked_up = {a: h for a, h in self._looked_up.items() if h != host}
        for address in addresses:
            self._looked_up.setdefault(plain_address(address), host)


class Strangers:
    """Datagrams of unknown addresses: counted, the least recent address forgotten beyond 1000."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, int] = OrderedDict()
        self.total = 0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, address: str) -> None:
        self.total += 1
        self._counts[address] = self._counts.pop(address, 0) + 1
        if len(self._counts) > UNKNOWN_KEPT:
            self._counts.popitem(last=False)
            self.forgotten += 1

    def take(self) -> tuple[list[tuple[str, int]], int]:
        """The addresses since the last call, the most frequent first, and how many more there were at least."""
        found = sorted(self._counts.items(), key=lambda pair: -pair[1])
        more = self.forgotten
        self._counts.clear()
        self.forgotten = 0
        return found, more

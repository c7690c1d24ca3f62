"""Where images may come from: names and addresses that the laboratory allowed, and nothing inside its network else.

`HEMALOOP_IMAGE_HOSTS` holds, separated by commas,

    images.example.org        this name at the usual port of its scheme
    images.example.org:8443   this name at this port
    *.example.org             any name below
    10.1.2.3, 10.1.0.0/16     these addresses; a name that leads to a private address needs its address allowed too
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from hemaloop.errors import SettingsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

USUAL_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host in lower case, port: where a URL leads."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == USUAL_PORTS.get(self.scheme) else f"{shown}:{self.port}"


class AllowList:
    """Decides by name before a name is looked up, and by address before a connection is made."""

    def __init__(self, entries: Iterable[str], label_studio: Origin) -> None:
        """Raises `SettingsError` naming an entry that is neither a host nor an address."""
        self._label_studio = label_studio
        self._names: set[tuple[str, int | None]] = set()
        self._networks: list[tuple[Network, int | None]] = []
        for entry in entries:
            self._add(entry.strip().lower())

    @staticmethod
    def faults(entries: Iterable[str]) -> list[str]:
        """What is wrong with entries, one sentence each."""
        found = []
        for entry in entries:
            try:
                AllowList((entry,), Origin("http", "", 0))
            except SettingsError as error:
                found.append(str(error))
        return found

    def _add(self, entry: str) -> None:
        host, port = _split(entry)
        try:
            self._networks.append((ipaddress.ip_network(host, strict=False), port))
        except ValueError:
            if not host or any(character in host for character in "/@?# ") or "*" in host.removeprefix("*."):
                raise SettingsError(
                    f"image host: found {entry!r}, expected host, host:port, *.domain, address or network such as "
                    "10.1.0.0/16"
                ) from None
            self._names.add((host, port))

    def allows(self, origin: Origin) -> bool:
        """Whether this host and port may be asked at all."""
        if origin == self._label_studio:
            return True
        literal = parse_address(origin.host)
        if literal is not None:
            return self._lists_address(literal, origin, port_counts=True)
        return any(self._name_fits(name, origin) and _port_fits(port, origin) for name, port in self._names)

    def allows_address(self, address: Address, origin: Origin) -> bool:
        """Whether an allowed host may be reached at this address: a public one, or one that is listed itself."""
        if origin == self._label_studio:
            return True
        return is_public(address) or self._lists_address(address, origin, port_counts=False)

    def _lists_address(self, address: Address, origin: Origin, *, port_counts: bool) -> bool:
        address = _unwrapped(address)
        return any(
            address.version == network.version
            and address in network
            # The port of a host that is allowed by name was checked with its name.
            and (_port_fits(port, origin) if port_counts or port is not None else True)
            for network, port in self._networks
        )

    @staticmethod
    def _name_fits(name: str, origin: Origin) -> bool:
        return origin.host.endswith(name[1:]) if name.startswith("*.") else origin.host == name


def parse_address(text: str) -> Address | None:
    """The address that a text is, or None where it is a name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether an address belongs to the open internet, looking through IPv4 that is wrapped in IPv6."""
    address = _unwrapped(address)
    return address.is_global and not address.is_multicast


def _unwrapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    wrapped = address.ipv4_mapped or address.sixtofour
    if wrapped is None and address in ipaddress.ip_network("64:ff9b::/96"):
        wrapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return wrapped or address


def _split(entry: str) -> tuple[str, int | None]:
    """host, port: ``[::1]:80``, ``::1``, ``host:80``, ``10.0.0.0/8``."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, int(rest[1:]) if rest[1:].isdigit() else None
    host, colon, port = entry.rpartition(":")
    if colon and ":" not in host and port.isdigit():
        return host, int(port)
    return entry, None


def _port_fits(port: int | None, origin: Origin) -> bool:
    return origin.port == (USUAL_PORTS.get(origin.scheme) if port is None else port)

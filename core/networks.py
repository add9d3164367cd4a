"""Networks of clients: one client has all addresses of its network."""

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address


def network_of(address: str, ipv4_prefix: int, ipv6_prefix: int) -> str:
    """Return the network of an address, such as `2001:db8::/64`; empty for anything else.

    `::ffff:192.0.2.1` is IPv4, as a socket for both kinds of addresses writes it.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address):
        if not parsed.ipv4_mapped:
            return str(IPv6Network((int(parsed), ipv6_prefix), strict=False))
        parsed = parsed.ipv4_mapped
    return str(IPv4Network((int(parsed), ipv4_prefix), strict=False))

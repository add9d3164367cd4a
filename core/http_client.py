"""The HTTP client for one address: its proxy and its certificate authorities."""

import ssl
from contextlib import suppress
from ipaddress import ip_address, ip_network

import httpx

from core.settings import ProxySettings, is_loopback


def make_client(url: str) -> httpx.AsyncClient:
    """Create a client for one address, with the environment's proxy and certificates.

    httpx can read the environment itself, but raises for a NO_PROXY with a network or with an IPv6
    address in brackets, and uses the proxy for loopback addresses too: it could return keys of its
    own. Raises pydantic.ValidationError for a variable that cannot be used.
    """
    address = httpx.URL(url)
    if is_loopback(address.host) and address.scheme == "http":
        return httpx.AsyncClient(trust_env=False)
    settings = ProxySettings()
    proxy = settings.https_proxy if address.scheme == "https" else settings.http_proxy
    proxy = proxy or settings.all_proxy
    if is_loopback(address.host) or is_excluded(address, settings.no_proxy):
        proxy = None
    file, folder = settings.ssl_cert_file, settings.ssl_cert_dir
    return httpx.AsyncClient(
        proxy=None if proxy is None else proxy.get_secret_value(),
        verify=ssl.create_default_context(cafile=file, capath=folder) if file or folder else True,
        trust_env=False,
    )


def is_excluded(url: httpx.URL, no_proxy: str) -> bool:
    """Return whether NO_PROXY contains the host, a domain above it or its network (CIDR)."""
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    hosts = (url.host, f"[{url.host}]", f"{url.host}:{port}", f"[{url.host}]:{port}")
    for entry in no_proxy.lower().split(","):
        name = entry.strip().removeprefix("*").removeprefix(".")
        if entry.strip() == "*" or name in hosts or (name and url.host.endswith(f".{name}")):
            return True
        with suppress(ValueError):
            if ip_address(url.host) in ip_network(name, strict=False):
                return True
    return False

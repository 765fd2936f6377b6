"""The fixtures `provider` and `providers`. A test module asks for them by `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from .provider import Provider, Providers


@pytest.fixture(scope="session")
def providers() -> Iterator[Providers]:
    """As many providers as a test wants."""
    server = Providers()
    yield server
    server.close()


@pytest.fixture(scope="session")
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one certificate: each httpx client loads all it trusts, which takes longer than a whole test."""
    first, end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")
    path = tmp_path_factory.mktemp("authorities") / "one.pem"
    path.write_text(first + end + "\n")
    return path


@pytest.fixture
def provider(providers: Providers, one_authority: Path, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """One provider."""
    monkeypatch.setenv("SSL_CERT_FILE", str(one_authority))
    return providers.new()

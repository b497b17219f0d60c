"""Unit tests need neither Salt nor libvirt."""

import pytest


@pytest.fixture
def regenerate(request):
    """True when the golden files are to be written anew."""
    return request.config.getoption("--regenerate", default=False)


def pytest_addoption(parser):
    parser.addoption("--regenerate", action="store_true", help="write the golden files anew")

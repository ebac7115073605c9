"""Options of the kit's own tests."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record", action="store_true", help="write tests/transcripts anew from what is printed now"
    )

"""What several of these tests start from."""

import pytest

from policy.terms import Register, load_register


@pytest.fixture(scope="session")
def register() -> Register:
    return load_register()

import pytest
import tiny


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> tiny.Tiny:
    """A dataset for tests that leave its files as they are."""
    return tiny.make(tmp_path_factory.mktemp("small") / "dataset")

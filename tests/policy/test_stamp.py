from policy.stamp import versions


def test_the_versions_of_what_is_installed_are_told() -> None:
    found = versions()
    assert found["python"].startswith("3.")
    assert found["pydantic"][0].isdigit()


def test_what_is_not_installed_is_left_out() -> None:
    assert set(versions(["pydantic", "no-such-package"])) == {"python", "pydantic"}

"""grant: lists of names, and passwords that are in the file before they are used."""

from __future__ import annotations

import stat

import pytest

from pipeline.errors import ConfigError
from steps.grant import GrantConfig, _passwords, words


@pytest.mark.parametrize(
    ("text", "found"), [(None, []), ("", []), (" , ", []), ("ada", ["ada"]), ("ada, ben ,ada,", ["ada", "ben"])]
)
def test_lists_are_whole_and_name_nobody_twice(text, found):
    assert words(text) == found


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "which model?"),
        ({"name": " , "}, "which model?"),
        ({"name": "m", "experiments": ""}, "authors need an experiment"),
        ({"name": "m-candidates"}, "'m-candidates' is what a model's own things are called"),
        ({"name": "m", "experiments": "m-releases"}, "'m-releases' is what a model's own things are called"),
    ],
)
def test_what_cannot_be_granted_is_one_line(settings, says):
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        GrantConfig(**settings)


def test_a_password_is_in_the_file_before_it_is_used_and_for_nobody_else(tmp_path):
    file = tmp_path / "passwords"
    made = _passwords(["ada", "ben"], str(file))
    user, password = next(made)
    assert file.read_text() == f"{user} {password}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = [(user, password), *made]
    assert file.read_text() == "".join(f"{user} {password}\n" for user, password in made)
    assert [user for user, _ in made] == ["ada", "ben"]
    assert len({password for _, password in made}) == 2
    assert min(len(password) for _, password in made) >= 12  # MLflow wants as many


def test_a_file_is_never_overwritten_and_needed_only_for_new_users(tmp_path):
    file = tmp_path / "passwords"
    assert list(_passwords([], None)) == []
    with pytest.raises(ConfigError, match=r"no such user: ada, ben\. Pass passwords=FILE"):
        next(_passwords(["ada", "ben"], None))
    file.write_text("kept")
    with pytest.raises(ConfigError, match="is there already; name a new file"):
        next(_passwords(["ada"], str(file)))
    assert file.read_text() == "kept"

"""The console's configuration: its example explains every key."""

from dataclasses import fields
from pathlib import Path

from doorward_console.config import Config, config_from_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "console.toml"


def test_example_when_read_then_it_is_the_defaults_and_explains_every_key() -> None:
    """The example shows every key once with its default, each under a comment of its own."""
    assert config_from_file(EXAMPLE) == Config()
    lines = EXAMPLE.read_text().splitlines()
    names = [field.name for field in fields(Config)]
    places = {name: [at for at, line in enumerate(lines) if line.startswith(f"{name} = ")] for name in names}
    assert {name: len(found) for name, found in places.items()} == dict.fromkeys(names, 1)
    assert [name for name, (at,) in places.items() if not lines[at - 1].startswith("# ")] == []

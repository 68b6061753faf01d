"""An issuer's two commands: a key, and a licence signed with it."""

from pathlib import Path

import pytest
from doorward_console.__main__ import main
from doorward_console.config import ConfigError, config_from_table
from doorward_console.fleet.licences import licence_from_bytes
from doorward_protocol.signature import KeyRing

DEVICE = "d-abcdefgh23456772"


@pytest.mark.feature("E7")
def test_issuer_when_it_makes_a_key_and_signs_then_the_configured_console_accepts_it(
    scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the first command prints goes into the configuration as it is, and vouches for what the second prints."""
    key = scratch / "issuer.key"
    assert main(["licence-issuer", str(key)]) == 0
    printed = capsys.readouterr().out
    assert key.stat().st_mode & 0o777 == 0o400
    issuers = [printed.split('"')[1]]
    config = config_from_table(Path("x"), {"licence_issuers": issuers})
    signing = ["licence", "--key", str(key), "--device", DEVICE, "--until", "2027-12-31", "--least-agent", "0.9"]
    assert main(signing) == 0
    licence = licence_from_bytes(capsys.readouterr().out.encode(), KeyRing(config.licence_issuers))
    assert (licence.device, licence.valid_until.isoformat(), licence.least_agent) == (
        DEVICE, "2027-12-31T00:00:00+00:00", "0.9",
    )  # fmt: skip
    assert main(["licence-issuer", str(key)]) == 1, "an issuer's key was overwritten"


def test_issuer_when_arguments_are_none_then_every_one_is_named(
    scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All faults at once, nothing signed, and a key that others can read is not used."""
    key = scratch / "issuer.key"
    main(["licence-issuer", str(key)])
    capsys.readouterr()
    said = ["licence", "--key", str(key), "--device", "press 1", "--until", "soon", "--least-agent", "latest"]
    assert main(said) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert [line.split()[0] for line in errors.splitlines()] == ["--device", "--until", "--least-agent"]
    key.chmod(0o444)
    assert main(["licence", "--key", str(key), "--device", DEVICE, "--until", "2027-12-31"]) == 78
    assert "others can read it" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["AAAA", ["AAAA"], [7], [""], {"a": "b"}])
def test_issuers_in_the_configuration_that_are_no_keys_then_no_process_starts(value: object) -> None:
    """A typing error does not quietly refuse every licence."""
    with pytest.raises(ConfigError, match="licence_issuers"):
        config_from_table(Path("x"), {"licence_issuers": value})

"""`[login]` and `[login.oauth]`: what is accepted, what is refused with a remedy, and what the parts are told."""

from __future__ import annotations

import textwrap
from pathlib import Path

import msgspec
import pytest

from relay import wiring
from relay.config import ConfigFaults, load

SMALLEST = '[node]\nhostname = "mx1.example.org"\n'
OAUTH = SMALLEST + '[login.oauth]\nissuer = "https://id.example.org"\naudience = ["mail"]\n'


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "relay.toml"
    file.write_text(textwrap.dedent(text))
    return file


def test_without_an_issuer_nobody_is_believed(tmp_path: Path) -> None:
    config = load(written(tmp_path, SMALLEST))
    assert wiring.oauth(config) is None
    assert wiring.serve_settings(config, "").signed_tokens is False


def test_what_the_parts_are_told(tmp_path: Path) -> None:
    text = SMALLEST + '[login]\nexempt_networks = ["10.0.0.0/8"]\ndelayed = 7\ntoken_max_age = "5m"\n'
    config = load(written(tmp_path, text + OAUTH.removeprefix(SMALLEST) + 'scopes = ["imap"]\nleeway = "5s"\n'))
    oauth = wiring.oauth(config)
    assert oauth is not None
    assert (oauth.audiences, oauth.scopes, oauth.leeway) == (("mail",), ("imap",), 5.0)
    assert oauth.discovery == "https://id.example.org/.well-known/openid-configuration"
    logins = wiring.logins(config)
    assert (logins.most_delayed, logins.token_max_age, len(logins.throttle.exempt)) == (7, 300.0, 1)
    serve = wiring.serve_settings(config, "")
    assert serve.signed_tokens is True
    assert msgspec.json.decode(serve.token_refusal)["scope"] == "imap"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OAUTH + 'algorithms = ["HS256"]\n', "HS256"),
        (OAUTH + 'algorithms = ["none"]\n', "none"),
        (OAUTH + "algorithms = []\n", "name one thing at least"),
        (OAUTH.replace('["mail"]', "[]"), "name one thing at least"),
        (OAUTH.replace('audience = ["mail"]\n', ""), "login.oauth.audience"),
        (OAUTH.replace("https://", "http://"), "could be anybody's"),
        (OAUTH + 'jwks_url = "http://id.example.org/keys"\n', "could be anybody's"),
        (OAUTH + 'jwks_url = "https://id.example.org/keys"\njwks_file = "/x"\n', "exclude each other"),
        (SMALLEST + '[login]\ntoken_max_age = "2d"\n', r"login\.token_max_age: \"2d\" is more than \"24h\""),
    ],
)
def test_what_would_be_dangerous_is_a_fault(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigFaults, match=said):
        load(written(tmp_path, text))

"""The configuration of submission: who may send as whom, where mail goes, how the primary is asked."""

from __future__ import annotations

import pytest

from relay import wiring_submission
from relay.accounts.names import Naming
from relay.config import ConfigFaults
from relay.config.load import parse
from relay.core.mode import Service
from relay.primary.settings import TlsMode
from relay.store.records import Route
from relay.wiring import naming, services

NODE = '[node]\nhostname = "mx1.example.org"\n[domains]\naccept = ["example.org", "bücher.example"]\n'


@pytest.mark.parametrize("hold", [False, True])
def test_what_is_ours_goes_to_the_primary_and_the_rest_where_it_should(hold: bool) -> None:
    route_of = wiring_submission.route_of_submitted(parse(f"{NODE}[world]\nhold = {str(hold).lower()}\n"))
    foreign = Route.PRIMARY if hold else Route.WORLD
    for address in (
        "bob@example.org",
        "Bob@EXAMPLE.ORG.",
        "bob@BÜCHER.example",
        "bob@xn--bcher-kva.example",
        "postmaster",
    ):
        assert route_of(address) is Route.PRIMARY
    for address in ("bob@example.net", "bob@sub.example.org", "postmaster@example.net", "bob@[127.0.0.1]"):
        assert route_of(address) is foreign


def test_who_may_send_as_whom() -> None:
    config = parse(
        NODE
        + '[[submission.send_as]]\nuser = "alice"\naddresses = ["sales@example.org", "@example.net"]\n'
        + '[[submission.send_as]]\nuser = "*"\naddresses = ["noreply@example.org"]\n'
    )
    may = wiring_submission.submitting(config, Naming(naming(config))).senders.may
    alice, bob = "alice@example.org", "bob@example.org"
    assert all(
        may(alice, address) for address in (alice, "alice+x@example.org", "sales@example.org", "any@Example.net")
    )
    assert may(bob, "noreply@example.org")
    assert not any(may(bob, address) for address in (alice, "sales@example.org", "any@example.net"))


@pytest.mark.parametrize("address", ["sales", "@", "sales@"])
def test_an_address_is_one(address: str) -> None:
    with pytest.raises(ConfigFaults, match=r"submission\.send_as"):
        parse(f'{NODE}[[submission.send_as]]\nuser = "alice"\naddresses = ["{address}"]\n')


def test_the_primary_s_submission() -> None:
    config = parse(f'{NODE}[primary.submission]\nhost = "10.0.0.5"\nfinal_timeout = "7s"\n')
    settings = wiring_submission.primary(config)
    assert settings is not None
    assert (settings.endpoint.port, settings.endpoint.tls, settings.deadlines.final) == (587, TlsMode.STARTTLS, 7.0)
    assert services(config) == {Service.SUBMISSION}
    assert wiring_submission.primary(parse(NODE)) is None
    with pytest.raises(ConfigFaults, match=r"primary\.submission\.tls: tls = opportunistic"):
        parse(f'{NODE}[primary.submission]\nhost = "10.0.0.5"\ntls = "opportunistic"\n')


def test_a_listener_where_nobody_can_log_in_is_a_mistake() -> None:
    text = f'{NODE}[listen]\nsubmission = ["127.0.0.1:587"]\n'
    assert wiring_submission.takes_submission(parse(text))
    assert not wiring_submission.takes_submission(parse(NODE))
    with pytest.raises(ConfigFaults, match=r"nobody could log in on listen\.submission"):
        parse(f'{text}[imap]\nplaintext_auth = "never"\n')

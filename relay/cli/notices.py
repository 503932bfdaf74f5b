"""What `relay queue return` gives messages back with: the same notices that the way out writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relay.config import Config
    from relay.node import Data
    from relay.replay.notice import Notices


def notices(config: Config, opened: Data) -> Notices:
    """For one command."""
    from relay import wiring, wiring_submission
    from relay.accounts.names import Naming
    from relay.obs.metrics import Metrics
    from relay.replay.notice import Notices, NoticeSettings
    from relay.spool.intake import Intake, IntakeSettings
    from relay.spool.pressure import Pressure
    from relay.spool.queue import Queue
    from relay.spool.read import Reader

    work = Queue(opened.store, opened.vault, opened.clock, owner="operator")
    intake = Intake(
        store=opened.store,
        vault=opened.vault,
        clock=opened.clock,
        pressure=Pressure(config.node.data_dir, wiring.pressure(config)),
        settings=IntakeSettings(owner=work.owner),
        account_of=wiring.reader_of(config, Naming(wiring.naming(config))),
    )
    return Notices(
        queue=work,
        reader=Reader(opened.store, opened.vault),
        intake=intake,
        clock=opened.clock,
        settings=NoticeSettings(config.node.hostname),
        route_of=wiring_submission.route_of_notices(config),
        metrics=Metrics().replay,
    )

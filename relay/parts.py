"""The objects of one worker and how they hang together; `node` starts and stops them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Iterator
from functools import cached_property, partial
from typing import Any, Protocol

from relay import __version__, wiring, wiring_mailboxes, wiring_names, wiring_submission
from relay.accounts.credentials import Credentials
from relay.accounts.directory import Directory
from relay.accounts.issuer import Issuer
from relay.accounts.login import LoginService
from relay.accounts.names import Naming
from relay.accounts.tokens import Tokens
from relay.accounts.upstream import PrimaryFirst
from relay.config import Config
from relay.control.coordinator import Coordinator
from relay.control.http.public import PublicServer
from relay.control.probing import Probing
from relay.control.sampler import Sampler, SamplerSettings
from relay.control.setup.pages import setup_app
from relay.control.singleton import Singleton
from relay.core.clock import Clock
from relay.core.envelope import Envelope, Origin
from relay.core.errors import Damaged
from relay.core.ids import ItemId
from relay.inbound.budget import ByteBudget
from relay.inbound.front import smtp_listener
from relay.inbound.login import Desk
from relay.inbound.policy import LocalDomainsOnly
from relay.inbound.ports import Services as InboundServices
from relay.listen.certificates import Certificates
from relay.listen.gate import Gate
from relay.listen.sharing import Neighbours
from relay.obs.logs import logger
from relay.obs.metrics import Metrics
from relay.obs.reloading import Reloading
from relay.parts_world import Outgoing
from relay.primary.client_names import ClientNames, open_dns
from relay.primary.health import Prober
from relay.primary.imap import ImapPrimary
from relay.primary.pacing import Pacer
from relay.primary.smtp import SmtpPool
from relay.primary.submission import SubmissionPrimary
from relay.proto.mime.build import received
from relay.replay.canaries import CanaryWatch
from relay.replay.destination import PrimaryDestination
from relay.replay.retention import Retention
from relay.replay.runner import Runner
from relay.replay.verify import Verifier
from relay.serve.ahead import Ahead
from relay.serve.front import ImapFront
from relay.serve.offer import Offer
from relay.serve.ports import Services as ServeServices
from relay.serve.settings import ListenerName
from relay.spool.appending import Appends
from relay.spool.feed import Feed
from relay.spool.intake import Intake, IntakeSettings
from relay.spool.mailboxes import Mailboxes
from relay.spool.pressure import Pressure
from relay.spool.queue import Queue
from relay.spool.read import Reader
from relay.spool.rekeying import KeyKeeper
from relay.store.api import Store
from relay.store.records import ChangeKind
from relay.vault.sealing import Vault

_log = logger("parts")


class Door(Protocol):
    """Something that listens."""

    async def start(self) -> None:
        """Bind. OSError."""
        ...

    async def stop(self) -> None:
        """Close, and finish what is under way."""
        ...


Work = Callable[[], Coroutine[Any, Any, None]]


class Parts:
    """Built once, in order; nothing here starts anything."""

    def __init__(
        self, config: Config, *, store: Store, vault: Vault, clock: Clock, metrics: Metrics, feed: Feed, owner: str
    ) -> None:
        self._config = config
        self._store = store
        self._vault = vault
        self._clock = clock
        self._metrics = metrics
        self._owner = owner
        self._feed = feed
        self._tls = Certificates(wiring.certificates(config))
        self._listening: list[Door] = []
        self.board = Coordinator(
            store, feed, clock, metrics.mode, services=wiring.services(config), rules=wiring.hysteresis(config)
        )
        naming = self._naming = Naming(wiring.naming(config))
        self._directory = Directory(store, vault, naming, clock, wiring.directory(config))
        self._tokens = self._token_judge(vault)
        self.logins = LoginService(
            Credentials(store, vault),
            vault,
            naming,
            clock,
            wiring.logins(config),
            tokens=self._tokens,
            seen=self._directory.saw,
            metrics=metrics.login,
        )
        self._offer = Offer(store, clock)
        feed.on_kind(ChangeKind.SETTING, self._offer.heed)
        self._pressure = Pressure(
            config.node.data_dir, wiring.pressure(config), refused=lambda lack: metrics.spool.refusals[lack].inc()
        )
        self.intake = Intake(
            store=store,
            vault=vault,
            clock=clock,
            pressure=self._pressure,
            settings=IntakeSettings(owner=owner),
            account_of=wiring.reader_of(config, naming),
        )
        self._queue = Queue(store, vault, clock, owner=owner)
        self._keys = KeyKeeper(
            vault, store, clock, worker=owner.rpartition("/")[0], failed=metrics.reload_failed["keys"].set
        )
        feed.on_kind(ChangeKind.SETTING, self._keys.heed)
        self._reader = Reader(store, vault)
        quota = wiring_mailboxes.quota(config)
        self._mailboxes = Mailboxes(store, vault, clock, quota=quota, usual=wiring_mailboxes.usual_folders(config))
        self._appends = Appends(store, vault, clock, self._pressure, quota=quota)
        primary = config.primary
        self._imap = ImapPrimary(wiring.imap_primary(primary.imap)) if primary and primary.imap else None
        sending = wiring_submission.primary(config)
        self._submission = None if sending is None else SubmissionPrimary(sending, clock)
        self._outgoing: Outgoing | None = None
        self._cut_through, self._replay = None, None
        if primary and primary.smtp:
            live = wiring.smtp_primary(config, primary.smtp, final_timeout=primary.smtp.final_timeout)
            patient = wiring.smtp_primary(config, primary.smtp, final_timeout=config.replay.final_timeout)
            limits = wiring.cut_through_pool(primary.smtp, config.failover.timeout)
            self._cut_through = SmtpPool(live, limits, clock)
            self._replay = SmtpPool(patient, wiring.replay_pool(config), clock)
        self._names = None
        if config.listen.client_names:
            self._names = ClientNames(open_dns, clock, wiring.client_names(config))

    @property
    def ends(self) -> list[Work]:
        """What is to be ended when the doors are closed."""
        ends: list[Work] = [pool.close for pool in (self._cut_through, self._replay) if pool is not None]
        if self._outgoing is not None:
            ends.append(self._outgoing.way_out.close)
        return [*ends, self._names.stop] if self._names is not None else ends

    def background(self) -> Iterator[tuple[str, Work]]:
        """What works by itself. Where one worker of all suffices, a lease decides which."""
        yield "keys", self._keys.run
        yield "directory", lambda: self._directory.run(asyncio.sleep)
        yield "sweep", self._alone("sweep", self._retention().run)
        if self._config.primary is not None:
            yield "probe", self._alone("probe", self._probing().run)
            if (raw := self._reading.primary) is not None:
                yield "offer", partial(self._offer.run, raw, self.board)
        if self._submission is not None:
            submission = self._submission
            yield "submission", lambda: submission.run(self.board)
        if wiring_submission.takes_submission(self._config):
            self._outgoing = self._way_out()
            yield from self._outgoing.background()
        if wiring.imap_listeners(self._config):
            ahead = Ahead(self._store, self._feed, self._reading.summaries, self.board)
            yield "summaries", self._alone("summaries", ahead.run)
        if self._tokens is not None:
            yield "tokens", self._alone("tokens", self._tokens.run)
        if self._replay is not None:
            yield "replay", self._alone("replay", self._runner(self._replay).run)
            yield "verify", self._alone("verify", self._verifying())

    def doors(self, neighbours: Neighbours[ListenerName] | None = None) -> Iterator[tuple[str, Door]]:
        """Everything that listens, with the key of the configuration that says so; IMAP is shared with neighbours."""
        servers = self._inbound()
        users = dataclasses.replace(servers, gate=Gate(wiring.senders(self._config)))
        for one in wiring.smtp_listeners(self._config):
            door = smtp_listener(users if one.login else servers, one, self._tls.context)
            yield f"listen.{one.name} ({one.host}:{one.port})", self._open(door)
        imap = ImapFront(self._reading, self._tls.context)
        self.board.watch(lambda _service, _old, _new: imap.heed())
        for other in wiring.imap_listeners(self._config):
            where = f"listen.{other.name} ({other.host}:{other.port})"
            yield where, self._open(imap.listener(other, neighbours))
        public = setup_app(wiring.client_setup(self._config), self._clock)
        shared = self._config.node.workers > 1
        for address in self._config.listen.https:
            where = f"listen.https ({address.host}:{address.port})"
            yield where, PublicServer(public, address.host, address.port, self._tls.context, shared=shared)

    def sampler(self, slot: int, version: str) -> Sampler:
        """How the node is."""
        config = self._config
        return Sampler(
            self._store,
            self.board,
            self._pressure,
            self._clock,
            SamplerSettings(
                node=config.node.name,
                version=version,
                data_dir=config.node.data_dir,
                worker=slot,
                workers=config.node.workers,
                retention=config.retention.spool,
            ),
            listening=lambda: bool(self._listening),
            certificate_expires=lambda: self._tls.expires,
        )

    def reload(self) -> None:
        """HUP: certificates, keys and the recipient list are read again; what does not read is kept as it was."""
        failed = self._metrics.reload_failed
        Reloading(failed, tls=self._tls.reload, keys=self._keys.reload, recipients=self._reload_recipients).all()
        if self._tokens is not None:
            self._tokens.wake()

    def _token_judge(self, vault: Vault) -> Tokens | None:
        oauth = wiring.oauth(self._config)
        if oauth is None:
            return None
        tokens = Tokens(Issuer(oauth), self._store, vault, self._clock, oauth, metrics=self._metrics.login)
        self._feed.on_kind(ChangeKind.SETTING, tokens.heed)
        return tokens

    def _reload_recipients(self) -> None:
        self._directory.replace_list(wiring.recipients(self._config))

    def _open(self, door: Door) -> Door:
        self._listening.append(door)
        return door

    def _probing(self) -> Probing:
        primary = self._config.primary
        assert primary is not None
        timeout = self._config.failover.timeout
        smtp = wiring.smtp_primary(self._config, primary.smtp, final_timeout=timeout) if primary.smtp else None
        submission = self._submission.settings if self._submission is not None else None
        prober = Prober(smtp, self._imap, submission, timeout=timeout, clock=self._clock)
        asks = {service: prober.asks[service] for service in wiring.services(self._config)}
        return Probing(self.board, asks, wiring.probes(self._config), self._metrics.mode)

    def _trace(self, envelope: Envelope, origin: Origin, item: ItemId) -> bytes:
        return received(envelope, origin, item, hostname=self._config.node.hostname)

    def _runner(self, pool: SmtpPool) -> Runner:
        runner = Runner(
            queue=self._queue,
            reader=self._reader,
            destination=PrimaryDestination(pool, self._trace),
            board=self.board,
            pacer=Pacer(wiring.pacing(self._config), self._clock),
            clock=self._clock,
            settings=wiring.replay(self._config, self._owner),
            metrics=self._metrics.replay,
            spool_metrics=self._metrics.spool,
            eyes=self._imap,
        )
        self._feed.on_kind(ChangeKind.ITEM, runner.heed)
        self._feed.on_kind(ChangeKind.SETTING, runner.heed)
        self.board.watch(lambda _service, _old, _new: runner.wake())
        return runner

    def _way_out(self) -> Outgoing:
        return Outgoing(
            self._config,
            store=self._store,
            vault=self._vault,
            clock=self._clock,
            metrics=self._metrics,
            feed=self._feed,
            queue=self._queue,
            intake=self.intake,
            trace=self._trace,
            owner=self._owner,
        )

    def _alone(self, name: str, work: Work) -> Work:
        return Singleton(self._store, name, work, owner=self._owner, clock=self._clock).run

    def _verifying(self) -> Work:
        verifier, canaries = self._verifier(), self._canary_watch()

        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(verifier.run())
                group.create_task(canaries.run())

        return both

    def _canary_watch(self) -> CanaryWatch:
        watch = CanaryWatch(
            queue=self._queue,
            reader=self._reader,
            eyes=self._imap,
            board=self.board,
            clock=self._clock,
            settings=wiring.replay(self._config, self._owner),
            metrics=self._metrics.replay,
        )
        self._feed.on_kind(ChangeKind.SETTING, watch.heed)
        return watch

    def _verifier(self) -> Verifier:
        verifier = Verifier(
            queue=self._queue,
            reader=self._reader,
            eyes=self._imap,
            board=self.board,
            clock=self._clock,
            settings=wiring.replay(self._config, self._owner),
            metrics=self._metrics.replay,
        )
        self._feed.on_kind(ChangeKind.ITEM, verifier.heed)
        self._feed.on_kind(ChangeKind.SETTING, verifier.heed)
        return verifier

    def _retention(self) -> Retention:
        return Retention(
            queue=self._queue,
            clock=self._clock,
            settings=wiring.retention(self._config),
            metrics=self._metrics.spool,
        )

    def _inbound(self) -> InboundServices:
        settings = wiring.inbound_settings(self._config)
        return InboundServices(
            settings=settings,
            intake=self.intake,
            queue=self._queue,
            read=self._reader.blocks,
            pressure=self._pressure,
            directory=self._directory,
            logins=Desk(
                judge=PrimaryFirst(self.logins, self._naming, self.board, self._imap),
                memory=self.logins,
                naming=self._naming,
                board=self.board,
                primary=self._submission,
                signed_tokens=self._tokens is not None,
            ),
            submitting=wiring_submission.submitting(self._config, self._naming),
            policy=LocalDomainsOnly(self._config.domains.accept),
            postmaster=wiring_names.own_postmaster(self._config),
            board=self.board,
            pool=self._cut_through,
            trace=self._trace,
            clock=self._clock,
            metrics=self._metrics.inbound,
            gate=Gate(settings.limits),
            budget=ByteBudget(settings.limits.in_flight, self._metrics.inbound.in_flight_bytes),
            names=self._names,
        )

    @cached_property
    def _reading(self) -> ServeServices:
        settings = wiring.serve_settings(self._config, __version__)
        primary = self._config.primary
        raw = wiring.pass_through(primary.imap, self._config.failover.timeout) if primary and primary.imap else None
        return ServeServices(
            settings=settings,
            mailboxes=self._mailboxes,
            appends=self._appends,
            feed=self._feed,
            logins=self.logins,
            board=self.board,
            primary=raw,
            metrics=self._metrics.serve,
            gate=Gate(settings.limits),
            clock=self._clock,
            offer=self._offer,
            damaged=self._damaged,
        )

    async def _damaged(self, item: ItemId, damage: Damaged) -> None:
        await self._queue.quarantine(item, damage)
        self._metrics.spool.quarantined.inc()
        _log.error("item_quarantined", item=item, reason=str(damage), remedy="see `relay queue show` and the backups")

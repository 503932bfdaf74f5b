"""Every metric of a node, by subsystem, in one registry.

Enters: events, counted where they happen. Leaves: the exposition text that Prometheus scrapes.

1. Names are `relay_<subsystem>_<what>_<unit>[_total]`; help texts say what a high value means and what to do.
2. Label sets are closed and pre-created at zero (`instruments`); no label holds anything about a person or a message.
3. Events are counted here; states (mode, queue, disk, certificates) are sampled at the scrape by `control`, so that
   they are right even after a restart and in every worker.
4. With several workers each writes its own file of numbers (`share`), and any of them can answer the scrape for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector

from relay.core.mode import Mode, Service, Signal
from relay.obs.bounds import FAST, SIZES, SLOW
from relay.obs.instruments import Family, Maker
from relay.obs.login_metrics import LoginMetrics
from relay.obs.reloading import reload_failed
from relay.obs.world_metrics import WorldMetrics

Listener = Literal["mx", "submission", "submissions", "imap", "imaps"]
SmtpListener = Literal["mx", "submission", "submissions"]
ImapListener = Literal["imap", "imaps"]
Admission = Literal["accepted", "too_many", "too_many_from_address", "proxy_header", "stopping"]
HandingOver = Literal["given", "kept"]
Transaction = Literal["delivered", "spooled", "duplicate", "refused", "deferred", "aborted"]
RecipientOutcome = Literal["accepted", "refused", "deferred"]
CodeClass = Literal["2xx", "3xx", "4xx", "5xx"]
SmtpFault = Literal[
    "bare_newline", "long_line", "syntax", "sequence", "errors", "pipelined_tls", "tls", "timeout", "too_slow", "size"
]
CutThrough = Literal["delivered", "refused", "deferred", "unknown", "no_contact"]
Lack = Literal["disk", "inodes"]
StoreError = Literal["io", "full", "busy", "damaged", "other"]
Attempt = Literal["delivered", "deferred", "refused", "unknown", "no_contact"]
Verification = Literal["found", "absent", "unsure"]
Canary = Literal["delivered", "seen", "not_seen"]
Gate = Literal["closed", "canary", "open", "paused"]
Serving = Literal["standby", "passed"]
CommandResult = Literal["ok", "no", "bad"]
ImapFault = Literal["syntax", "literal", "line", "nesting", "errors", "pipelined_tls", "tls", "timeout"]
EvidenceSource = Literal["probe", "traffic"]
Sweep = Literal["purged", "staged", "changes", "logins", "returned", "overdue"]
Direction = Literal["to_primary", "to_client"]

IMAP_COMMANDS = (
    "APPEND",
    "AUTHENTICATE",
    "CAPABILITY",
    "CHECK",
    "CLOSE",
    "COPY",
    "CREATE",
    "DELETE",
    "ENABLE",
    "EXAMINE",
    "EXPUNGE",
    "FETCH",
    "GETQUOTA",
    "GETQUOTAROOT",
    "ID",
    "IDLE",
    "LIST",
    "LOGIN",
    "LOGOUT",
    "LSUB",
    "MOVE",
    "NAMESPACE",
    "NOOP",
    "RENAME",
    "SEARCH",
    "SELECT",
    "SORT",
    "STARTTLS",
    "STATUS",
    "STORE",
    "SUBSCRIBE",
    "THREAD",
    "UNSELECT",
    "UNSUBSCRIBE",
    "OTHER",
)
"""What the standby answers by name; everything else is counted as OTHER."""


class InboundMetrics:
    """SMTP listeners: connections, transactions, faults of the peers."""

    def __init__(self, make: Maker) -> None:
        listeners = get_args(SmtpListener)
        self.connections: Family[tuple[SmtpListener, Admission], Counter] = make.counters(
            "relay_inbound_connections_total",
            "SMTP connections by how they were met. Many that are not 'accepted': a limit is too low or somebody "
            "floods; compare the [limits] section with the traffic.",
            listener=listeners,
            result=get_args(Admission),
        )
        self.open: Family[SmtpListener, Gauge] = make.gauges(
            "relay_inbound_open_connections",
            "SMTP connections open now. Near limits.connections new senders are told 421: raise it or add a worker.",
            listener=listeners,
        )
        self.in_flight_bytes: Gauge = make.gauge(
            "relay_inbound_in_flight_bytes",
            "Message bytes held in memory while they are received. Near limits.memory senders are slowed down.",
        )
        self.transactions: Family[tuple[SmtpListener, Transaction], Counter] = make.counters(
            "relay_inbound_transactions_total",
            "Mail transactions by result. 'spooled' is normal only while the primary is away; many 'deferred' mean "
            "that the relay itself cannot accept: look at disk, store and memory.",
            listener=listeners,
            result=get_args(Transaction),
        )
        self.recipients: Family[RecipientOutcome, Counter] = make.counters(
            "relay_inbound_recipients_total",
            "RCPT answers. A jump of 'refused' is an address harvest or a wrong recipient list.",
            result=get_args(RecipientOutcome),
        )
        self.replies: Family[CodeClass, Counter] = make.counters(
            "relay_inbound_replies_total",
            "SMTP replies sent, by class. A rise of 4xx means back-pressure or greylisting by the primary.",
            code=get_args(CodeClass),
        )
        self.faults: Family[SmtpFault, Counter] = make.counters(
            "relay_inbound_faults_total",
            "Breaches of the protocol by senders. 'bare_newline' is an attempt at smuggling or a very old sender; "
            "'too_slow' an attack or a bad network.",
            kind=get_args(SmtpFault),
        )
        self.accept_seconds: Histogram = make.histogram(
            "relay_inbound_accept_seconds",
            "From the end of the message to its final reply. High: slow disk (see relay_store_commit_seconds) or a "
            "slow primary (see relay_inbound_cut_through_seconds).",
            SLOW,
        )
        self.cut_through: Family[CutThrough, Counter] = make.counters(
            "relay_inbound_cut_through_total",
            "Messages handed to the primary while the sender waits, by result. 'unknown' and 'no_contact' turn the "
            "mode; if they rise while the mode stays normal, the primary is unstable.",
            result=get_args(CutThrough),
        )
        self.cut_through_seconds: Histogram = make.histogram(
            "relay_inbound_cut_through_seconds",
            "Time that the primary took for a message while its sender waited. High: the primary is slow.",
            SLOW,
        )
        self.message_bytes: Histogram = make.histogram(
            "relay_inbound_message_bytes", "Sizes of accepted messages; for capacity planning.", SIZES
        )


class SpoolMetrics:
    """The write path and the store below it."""

    def __init__(self, make: Maker) -> None:
        self.commit_seconds: Histogram = make.histogram(
            "relay_store_commit_seconds",
            "Time of one durable commit, the wait for other workers included. Above 0.1 the disk is the bottleneck.",
            FAST,
        )
        self.commit_operations: Histogram = make.histogram(
            "relay_store_commit_operations",
            "Operations that shared one commit. High is good under load: the disk flushes less often.",
            (1, 2, 4, 8, 16, 32, 64, 128, 256),
        )
        self.errors: Family[StoreError, Counter] = make.counters(
            "relay_store_errors_total",
            "Failures of the store; senders get 4xx meanwhile. 'full': free disk space. 'io': check the disk now.",
            kind=get_args(StoreError),
        )
        self.quarantined: Counter = make.counter(
            "relay_spool_quarantined_total",
            "Messages whose stored bytes did not verify. Any value above 0: check disk and memory, then "
            "`relay queue list --state quarantined`.",
        )
        self.refusals: Family[Lack, Counter] = make.counters(
            "relay_spool_refusals_total",
            "Messages turned away with 452 because there is no room. Above 0: free or add what the label names.",
            reason=get_args(Lack),
        )
        self.swept: Family[Sweep, Counter] = make.counters(
            "relay_spool_swept_total",
            "Work of the sweep. 'overdue' and 'returned' mean that mail waited past retention: read the log.",
            what=get_args(Sweep),
        )
        self.rescued: Counter = make.counter(
            "relay_spool_rescued_total",
            "Attempts whose worker died; settled by verification. Rises only when workers crash.",
        )


class ReplayMetrics:
    """Queue to primary, queue to the world."""

    def __init__(self, make: Maker) -> None:
        self.attempts: Family[tuple[Literal["primary", "world"], Attempt], Counter] = make.counters(
            "relay_replay_attempts_total",
            "Delivery attempts by result. 'refused' items are held: `relay queue list --state held`. Many 'deferred': "
            "the primary asks for patience; replay slows down by itself.",
            route=("primary", "world"),
            result=get_args(Attempt),
        )
        self.attempt_seconds: Histogram = make.histogram(
            "relay_replay_attempt_seconds", "Duration of one delivery attempt. High: the primary is overloaded.", SLOW
        )
        self.in_flight: Gauge = make.gauge(
            "relay_replay_in_flight_items", "Messages being delivered now; at most replay.concurrency per node."
        )
        self.gate: Family[Gate, Gauge] = make.gauges(
            "relay_replay_gate_state",
            "1 for the state the gate is in. Long 'canary' or 'closed' in recovery: the first messages fail, see the "
            "log. 'paused': by the operator, `relay replay resume`.",
            state=get_args(Gate),
        )
        self.trips: Counter = make.counter(
            "relay_replay_trips_total",
            "How often rising errors closed the gate. It opens again by itself; repeated trips: check the primary.",
        )
        self.verifications: Family[Verification, Counter] = make.counters(
            "relay_replay_verifications_total",
            "UNKNOWN items settled by looking in the primary. 'unsure' are sent again and may arrive twice.",
            result=get_args(Verification),
        )
        self.canaries: Family[Canary, Counter] = make.counters(
            "relay_replay_canaries_total",
            "Messages that went ahead of the queue: taken by the primary, then seen in its mailboxes or not. Many "
            "'not_seen': filters move them, or the primary takes mail and does not deliver it.",
            result=get_args(Canary),
        )
        self.possibly_twice: Counter = make.counter(
            "relay_replay_possibly_twice_total",
            "Messages sent again without proof that the first attempt failed. Above 0: configure primary.imap.access.",
        )
        self.notices: Counter = make.counter(
            "relay_replay_notices_total", "Delivery status notifications queued. Many: look at what is refused and why."
        )


class ServeMetrics:
    """IMAP front and logins."""

    def __init__(self, make: Maker) -> None:
        listeners = get_args(ImapListener)
        self.connections: Family[tuple[ImapListener, Admission], Counter] = make.counters(
            "relay_serve_connections_total",
            "IMAP connections by how they were met. Many that are not 'accepted': raise [limits] or find the client.",
            listener=listeners,
            result=get_args(Admission),
        )
        self.open: Family[ImapListener, Gauge] = make.gauges(
            "relay_serve_open_connections",
            "IMAP connections open now. Near limits.connections new clients are turned away.",
            listener=listeners,
        )
        self.handed_over: Family[tuple[ImapListener, HandingOver], Counter] = make.counters(
            "relay_serve_handed_over_total",
            "IMAP connections that belonged to another worker, which had fewer. Those that it could not be given were "
            "'kept'; many of them: a worker hangs or is out of descriptors, see the log.",
            listener=listeners,
            result=get_args(HandingOver),
        )
        self.sessions: Family[Serving, Gauge] = make.gauges(
            "relay_serve_open_sessions",
            "Logged-in sessions by who serves them. 'standby' above 0 in normal mode: clients that did not reconnect.",
            by=get_args(Serving),
        )
        self.commands: Family[tuple[str, CommandResult], Counter] = make.counters(
            "relay_serve_commands_total",
            "IMAP commands answered by the standby. Many 'bad': a client that we misunderstand; please report it.",
            command=IMAP_COMMANDS,
            result=get_args(CommandResult),
        )
        self.command_seconds: Histogram = make.histogram(
            "relay_serve_command_seconds", "Time to answer an IMAP command. High: slow disk or a huge mailbox.", SLOW
        )
        self.faults: Family[ImapFault, Counter] = make.counters(
            "relay_serve_faults_total",
            "Breaches of the protocol by IMAP clients. Many: a scanner, or a client that we misunderstand.",
            kind=get_args(ImapFault),
        )
        self.passed_bytes: Family[Direction, Counter] = make.counters(
            "relay_serve_passed_bytes_total",
            "Bytes piped between clients and the primary; for capacity planning.",
            direction=get_args(Direction),
        )


class ModeMetrics:
    """Evidence about the primary, and what it changed."""

    def __init__(self, make: Maker) -> None:
        services = tuple(Service)
        self.transitions: Family[tuple[Service, Mode], Counter] = make.counters(
            "relay_mode_transitions_total",
            "Changes of mode. Many: the primary flaps; raise failover.timeout if it is slow, failover.successes if it "
            "comes back too early.",
            service=services,
            to=tuple(Mode),
        )
        self.evidence: Family[tuple[Service, EvidenceSource, Signal], Counter] = make.counters(
            "relay_mode_evidence_total",
            "Good and bad experiences with the primary. A high share of 'fail' in normal mode: failover is near.",
            service=services,
            source=get_args(EvidenceSource),
            signal=(Signal.OK, Signal.FAIL),
        )
        self.probe_seconds: Family[Service, Histogram] = make.histograms(
            "relay_mode_probe_seconds",
            "Time that the primary took to answer a probe. Near failover.timeout it will be taken for dead.",
            FAST,
            service=services,
        )


class Metrics:
    """All groups of one node, and the registry they live in."""

    def __init__(self, registry: CollectorRegistry | None = None, *, shared: Path | None = None) -> None:
        """`shared` is the directory given to `share` before, where several workers count together."""
        self._registry = registry or CollectorRegistry()
        self._shared = shared
        # Shared numbers are read back from all workers' files; a registered child would show this worker's only.
        make = Maker(None if shared else self._registry)
        self.inbound = InboundMetrics(make)
        self.spool = SpoolMetrics(make)
        self.replay = ReplayMetrics(make)
        self.serve = ServeMetrics(make)
        self.login = LoginMetrics(make)
        self.mode = ModeMetrics(make)
        self.world = WorldMetrics(make)
        self.reload_failed = reload_failed(make)
        self.log_lines: Family[str, Counter] = make.counters(
            "relay_log_lines_total",
            "Log lines by level. Any rise of 'error' deserves a look at the log.",
            level=("debug", "info", "warning", "error", "critical"),
        )
        if shared:
            MultiProcessCollector(self._registry, path=str(shared))  # type: ignore[no-untyped-call]  # untyped library
        else:
            ProcessCollector(registry=self._registry)

    @property
    def registry(self) -> CollectorRegistry:
        """Where the counted events are."""
        return self._registry

    def exposition(self, sampled: Iterable[Metric] = ()) -> bytes:
        """The whole page for Prometheus: counted events and the states sampled for this scrape."""
        states = CollectorRegistry(auto_describe=False)
        states.register(_Sampled(sampled))
        return generate_latest(self._registry) + generate_latest(states)


class _Sampled:
    """Families that were computed before the scrape, as a collector."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        """What was handed in."""
        return self._families


def wipe(directory: Path) -> None:
    """The supervisor, before the first worker: a fresh directory, so that numbers start at zero with the node."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in directory.glob("*.db"):
        old.unlink()


def share(directory: Path, slot: int) -> None:
    """A worker, once, before `Metrics(shared=directory)`: count into files of `directory` named by the worker's slot.

    A slot and not a process id, so that the restarts of a crashing worker leave no growing heap of files.
    The library keeps this choice per process; that is why it is a call and not an argument.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)

    def identity() -> int:
        return slot

    values.ValueClass = values.MultiProcessValue(identity)  # type: ignore[no-untyped-call]  # untyped library


def forget_worker(directory: Path, slot: int) -> None:
    """The supervisor, when a worker died: its live gauges (open connections) no longer count."""
    mark_process_dead(slot, str(directory))  # type: ignore[no-untyped-call]  # untyped library

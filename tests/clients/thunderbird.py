"""Thunderbird on a desktop of its own, driven by its remote protocol as a user drives it by hand.

In: the authority to trust and the gateway to go out by. Out: a running Thunderbird with an empty profile, and what a
user does with it. Nothing is configured but the quiet of a machine that nobody sits at: no updates, no telemetry, no
first-run pages. Accounts come by autoconfig.

1. Its only way out is the gateway: no test leaves the machine.
2. `dialogue` is what it said to the IMAP server and heard, line by line (`MOZ_LOG=IMAP:4`), without passwords.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
from pathlib import Path
from typing import Any, Final

from tests.clients.desktop import Desktop
from tests.clients.marionette import Marionette
from tests.peers.process import PATIENCE, Peer, PeerFailed, PeerProcess

_QUIET: Final[dict[str, Any]] = {
    "app.donation.eoy.version.viewed": 999,
    "app.update.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "datareporting.healthreport.uploadEnabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "mail.inappnotifications.enabled": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True,
    "mailnews.start_page.enabled": False,
    "mailnews.start_page_override.mstone": "ignore",
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    # What is asked on a first deletion, and would wait for a click.
    "mail.warn_on_delete_from_trash": False,
    "mailnews.confirm.moveFoldersToTrash": False,
}


class Thunderbird(Peer):
    """One instance; `run` is its remote protocol."""

    def __init__(self, desktop: Desktop, *, ca: Path, proxy_port: int) -> None:
        super().__init__("tb")
        self.log = self.directory / "thunderbird.log"
        self._desktop = desktop
        self._ca = ca
        self._profile = self.directory / "profile"
        self._profile.mkdir()
        preferences = _QUIET | {
            "marionette.port": 0,
            "network.proxy.type": 1,
            "network.proxy.socks": "127.0.0.1",
            "network.proxy.socks_port": proxy_port,
            "network.proxy.socks_version": 5,
            "network.proxy.socks_remote_dns": True,
        }
        lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items())
        (self._profile / "user.js").write_text("".join(lines))
        self._marionette: Marionette | None = None

    def start(self) -> None:
        """Start it, wait for its window, and let it trust the authority, as an administrator would."""
        self._process = PeerProcess(
            [
                *("/usr/bin/thunderbird", "--profile", str(self._profile), "--no-remote"),
                *("--marionette", "--remote-allow-system-access"),
            ],
            log=self.log,
            env={
                **os.environ,
                "DISPLAY": self._desktop.display,
                "HOME": str(self.directory),
                "MOZ_LOG": "sync,IMAP:4",
                "MOZ_LOG_FILE": str(self.directory / "imap"),
                "MOZ_CRASHREPORTER_DISABLE": "1",
                "MOZ_DISABLE_CONTENT_SANDBOX": "1",  # as root in a container there are no user namespaces
                "NO_AT_BRIDGE": "1",
            },
        )
        self._process.spawn()
        port = self._profile / "MarionetteActivePort"
        for _ in range(int(PATIENCE / 0.02)):
            if port.exists() and port.read_text().strip():
                break
            if not self._process.running:
                raise PeerFailed(f"Thunderbird has ended\n{self._process.log_tail()}")
            self._process.pause()
        else:
            raise PeerFailed(f"Thunderbird does not listen\n{self._process.log_tail()}")
        self._marionette = Marionette(int(port.read_text()))
        der = ssl.PEM_cert_to_DER_cert(self._ca.read_text())
        self.run(
            """
            Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB)
                .addCertFromBase64(args[0], "CT,C,C");
            """,
            base64.b64encode(der).decode(),
        )

    def run(self, body: str, *arguments: Any) -> Any:
        """Run a script as the application (`Marionette.run`)."""
        assert self._marionette is not None
        return self._marionette.run(body, *arguments)

    def dialogue(self) -> list[str]:
        """Every line between it and the IMAP server so far, on all its connections."""
        lines: list[str] = []
        for file in sorted(self.directory.glob("imap*.moz_log")):
            lines += file.read_text(errors="replace").splitlines()
        return [line for line in lines if "SendData: " in line or "CreateNewLineFromSocket: " in line]

    def close(self) -> None:
        """End it and forget its profile."""
        if self._marionette is not None:
            self._marionette.close()
            self._marionette = None
        super().close()

"""What a user does in Thunderbird, through its own windows and commands.

In: a running Thunderbird. Out: each deed done, and what its windows show afterwards. A deed returns when Thunderbird
itself says that it is done; what the server made of it is for the test to look at, with another client.
"""

from __future__ import annotations

from typing import Any, Final

from tests.clients.thunderbird import Thunderbird

_PRELUDE: Final = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const { MailUtils } = ChromeUtils.importESModule("resource:///modules/MailUtils.sys.mjs");
const win = Services.wm.getMostRecentWindow("mail:3pane");
const pause = () => new Promise(done => win.setTimeout(done, 50));
const until = async (what, why) => {
    const end = Date.now() + 40_000;
    for (;;) {
        const found = await what();
        if (found) return found;
        if (Date.now() > end) throw new Error(`never: ${why}`);
        await pause();
    }
};
const account = () => MailServices.accounts.accounts.find(one => one.incomingServer.type == "imap");
const root = () => account().incomingServer.rootFolder;
const named = name => root().descendants.find(one => one.prettyPath.toLowerCase() == name.toLowerCase()
    || one.name.toLowerCase() == name.toLowerCase());
const folder = name => until(() => named(name), `folder ${name}`);
const headers = where => [...where.messages];
const about3Pane = () => win.document.getElementById("tabmail").currentAbout3Pane;
const show = async where => {
    about3Pane().displayFolder(where.URI);
    await until(() => about3Pane().gFolder == where && about3Pane().gDBView, `${where.name} shown`);
};
const choose = async (where, subject) => {
    await show(where);
    const view = about3Pane().gDBView;
    const row = await until(() => {
        for (let at = 0; at < view.rowCount; at++) {
            if (view.getMsgHdrAt(at).mime2DecodedSubject == subject) return at + 1;
        }
        return 0;
    }, `${subject} in ${where.name}`);
    about3Pane().threadTree.selectedIndex = row - 1;
    return view.getMsgHdrAt(row - 1);
};
"""

_SET_UP: Final = """
const [name, address, password] = args;
await win.openAccountHub("MAIL");
const hub = await until(
    () => win.document.querySelector("account-hub-container")?.modal.querySelector("account-hub-email"), "the hub");
const step = async id => until(() => hub.querySelector(`#${id}:not([hidden])`), id);
const type = (form, field, text) => {
    const input = form.querySelector(field);
    input.value = text;
    input.dispatchEvent(new win.Event("input", { bubbles: true }));
};
const forward = async () => {
    const button = hub.querySelector("account-hub-footer #forward");
    await until(() => !button.disabled && !button.hidden, "a way forward");
    button.click();
};
const who = await step("emailAutoConfigSubview");
type(who, "#realName", name);
type(who, "#email", address);
await forward();
const found = await step("emailConfigFoundSubview");
const shown = found.textContent.replace(/\\s+/g, " ");
await forward();
type(await step("emailPasswordSubview"), "#password", password);
await forward();
await step("emailAddedSuccessSubview");
await forward();
await until(() => !win.document.querySelector("account-hub-container")?.modal.open, "the hub closed");
await folder("INBOX");
const server = account().incomingServer.QueryInterface(Ci.nsIMsgIncomingServer);
const outgoing = MailServices.outgoingServer.getServerByKey(account().defaultIdentity.smtpServerKey);
return {
    shown,
    incoming: [server.hostname, server.port, server.socketType],
    outgoing: outgoing.serverURI.spec,
};
"""

_COMPOSED: Final = """
const compose = await until(() => {
    const one = Services.wm.getMostRecentWindow("msgcompose");
    return one?.composeEditorReady && one;
}, "a window to write in");
"""


class Hands:
    """A user of this Thunderbird."""

    def __init__(self, thunderbird: Thunderbird) -> None:
        self._thunderbird = thunderbird

    def do(self, body: str, *arguments: Any) -> Any:
        """A script with our words for folders, messages and waiting."""
        return self._thunderbird.run(_PRELUDE + body, *arguments)

    def set_up(self, name: str, address: str, password: str) -> dict[str, Any]:
        """Type name, address and password into the account hub; what it found by autoconfig."""
        found = self.do(_SET_UP, name, address, password)
        assert isinstance(found, dict)
        return found

    def sees(self, mailbox: str, subject: str) -> None:
        """Until the message is in its list of this folder."""
        self.do(
            """
            const where = await folder(args[0]);
            await until(() => headers(where).some(one => one.mime2DecodedSubject == args[1]), `${args[1]} is there`);
            """,
            mailbox,
            subject,
        )

    def read(self, subject: str, mailbox: str = "INBOX") -> str:
        """Open a message; its text as shown."""
        text = self.do(
            """
            const header = await choose(await folder(args[0]), args[1]);
            const pane = about3Pane().messageBrowser.contentWindow;
            await until(() => pane.msgLoaded && pane.gMessage?.messageKey == header.messageKey, "it is shown");
            await until(() => header.isRead, "it is marked as read");
            return pane.getMessagePaneBrowser().contentDocument?.body?.textContent ?? "";
            """,
            mailbox,
            subject,
        )
        assert isinstance(text, str)
        return text

    def flag(self, subject: str, mailbox: str = "INBOX") -> None:
        """Give it a star."""
        self.do(
            """
            const header = await choose(await folder(args[0]), args[1]);
            win.goDoCommand("cmd_markAsFlagged");
            await until(() => header.isFlagged, "its star");
            """,
            mailbox,
            subject,
        )

    def make_folder(self, name: str) -> None:
        """A new folder beside INBOX."""
        self.do("root().createSubfolder(args[0], null); await folder(args[0]);", name)

    def move(self, subject: str, mailbox: str, *, source: str = "INBOX") -> None:
        """Move a message to a folder."""
        self.do(
            """
            const [from, to] = [await folder(args[1]), await folder(args[2])];
            await choose(from, args[0]);
            about3Pane().commandController.doCommand("cmd_moveMessage", to);
            await until(() => !headers(from).some(one => one.mime2DecodedSubject == args[0]), "it leaves");
            """,
            subject,
            source,
            mailbox,
        )

    def delete(self, subject: str, mailbox: str = "INBOX") -> None:
        """Delete a message: into the trash."""
        self.do(
            """
            const from = await folder(args[1]);
            await choose(from, args[0]);
            win.goDoCommand("cmd_delete");
            await until(() => !headers(from).some(one => one.mime2DecodedSubject == args[0]), "it leaves");
            """,
            subject,
            mailbox,
        )

    def answer(self, subject: str, text: str, mailbox: str = "INBOX") -> None:
        """Answer a message and send that; returns when its copy is stored, too."""
        self.do(
            """
            await choose(await folder(args[1]), args[0]);
            win.goDoCommand("cmd_reply");
            """
            + _COMPOSED
            + """
            compose.GetCurrentEditor().insertText(args[2]);
            compose.goDoCommand("cmd_sendNow");
            await until(() => compose.closed, "it is sent");
            """,
            subject,
            mailbox,
            text,
        )

    def draft(self, to: str, subject: str, text: str) -> None:
        """Begin a message and keep it for later."""
        self.do(
            """
            win.goDoCommand("cmd_newMessage");
            """
            + _COMPOSED
            + """
            compose.gMsgCompose.compFields.to = args[0];
            compose.CompFields2Recipients(compose.gMsgCompose.compFields);
            const line = compose.document.getElementById("msgSubject");
            line.value = args[1];
            line.dispatchEvent(new compose.Event("input", { bubbles: true }));
            compose.GetCurrentEditor().insertText(args[2]);
            compose.goDoCommand("cmd_saveAsDraft");
            await until(() => !compose.gSaveOperationInProgress && !compose.gContentChanged, "it is kept");
            compose.close();
            """,
            to,
            subject,
            text,
        )

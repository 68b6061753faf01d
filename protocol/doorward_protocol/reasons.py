"""Reason codes: every way in which something can fail, whose move it is, and the next step in plain words.

A code is written by the layer that knows, travels unchanged, and is explained here once; pages, command lines and the
table in ``docs/protocol.md`` are made from this table. A code is never renamed.
"""

from typing import Final, NamedTuple


class Reason(NamedTuple):
    """What a code means.

    Attributes:
        move: whose move it is: ``owner``, ``administrator``, ``engineer``, ``device maker``, ``nobody`` (it mends itself).
        meaning: what happened, as a sentence.
        next: what to do, as a sentence.
    """

    code: str
    move: str
    meaning: str
    next: str


_ROWS: Final = (
    # An order was refused (protocol.md §4)
    Reason("order.too-large", "administrator", "The order is larger than 64 KiB.", "Look at who can publish to the broker: the console never sends this."),
    Reason("order.not-an-envelope", "administrator", "What came on the order topic is not a signed envelope.", "Look at who can publish to the broker: the console never sends this."),
    Reason("order.wrong-type", "administrator", "A signed message of another type came on the order topic.", "Look at who can publish to the broker: the console never sends this."),
    Reason("order.unsigned", "administrator", "The order does not carry exactly one signature.", "Look at who can publish to the broker: the console never sends this."),
    Reason("order.unknown-key", "administrator", "The order is signed by a key that this device has not pinned.", "Compare the grant key on the project's page with the device's; if they differ, join the device again."),
    Reason("order.bad-signature", "administrator", "The order was changed after it was signed.", "Look at who can publish to the broker: somebody alters messages."),
    Reason("order.unknown-version", "device maker", "The order is of a version that this agent does not know.", "Update the agent."),
    Reason("order.malformed", "device maker", "The order lacks a field or has one of the wrong type.", "Update agent and console to neighbouring versions."),
    Reason("order.other-device", "administrator", "The order is for another device or project.", "Look at who can publish to the broker: somebody redirects messages."),
    Reason("order.stale-nonce", "nobody", "The order answers an ask that is too old, or one that was already answered.", "Nothing: the device asks again and is told anew."),
    Reason("order.lower-revision", "administrator", "The device has already obeyed a later order than this one.", "If the console was restored from a backup, run: doorward-console restored"),
    Reason("order.other-digest", "administrator", "Two different orders carry the same revision. One of them is forged, or two consoles use one key.", "Stop the second console; if there is none, replace the project's grant key."),
    Reason("order.too-far-ahead", "administrator", "The order's revision jumps further than a console ever has reason to.", "Check that only one console uses this project's grant key."),
    Reason("order.session-ended", "nobody", "The session of this order has ended; an ended session never opens again.", "Turn maintenance on again: that makes a new session."),
    Reason("order.past-its-end", "owner", "The session's end is past by the time that the device has from the console's orders.", "Turn maintenance on again. If it is refused again, the console's clock was ahead and was set back: it passes within minutes; choose a longer session meanwhile."),
    Reason("order.too-long", "owner", "The session lasts longer than this device allows.", "Choose a shorter duration, or raise longest_session_s in the device's configuration."),
    Reason("order.not-allowed", "owner", "The order asks for a login, a forward, a key or a command that this device does not allow.", "Compare the order's login user and forwards with the device's configuration; for a command, update the agent."),
    # The device could not open
    Reason("door.no-sshd", "device maker", "There is no sshd program on this device.", "Install OpenSSH's server; it does not have to run."),
    Reason("door.no-user", "device maker", "The login user does not exist on this device.", "Create the user: useradd --create-home --shell /bin/sh remote-admin"),
    Reason("door.user-locked", "device maker", "The login user's account is locked, so sshd would refuse every key.", "Unlock it without a password: usermod -p '*' remote-admin"),
    Reason("door.port-busy", "nobody", "The door's port on the device was taken by something else.", "Nothing: the device tries another port."),
    Reason("door.not-started", "device maker", "The door's sshd did not start.", "Look into the runner's log on the device; it names the line of sshd_config."),
    Reason("door.not-ended", "device maker", "Processes of the session are still there after the door was shut.", "Look at the device; the runner goes on ending them and its log names them."),
    Reason("runner.unavailable", "device maker", "The runner, the agent's root half, does not answer.", "Check doorward-runner.socket, or the one line in sudoers: doorward-agent status says which."),
    Reason("runner.malformed", "device maker", "The runner was sent something that is not a request.", "Update agent and runner together."),
    Reason("runner.failed", "device maker", "The runner could not do its work: a disk that is full, or a folder that is gone.", "Look into the runner's log on the device; it names the file."),
    Reason("runner.busy", "nobody", "The runner is busy with another order.", "Nothing: the agent tries again."),
    # A command did not go well
    Reason("hook.missing", "device maker", "This device has no hook for that.", "Put one into the hooks folder on the device: doorward-agent hooks says which it has and where it looks."),
    Reason("hook.unsafe", "device maker", "The hook is no program, or it or a folder above it could be changed by others than root, so it is not run.", "On the device: chmod u+x the hook, chown root and chmod go-w the hook and its folders; no links."),
    Reason("hook.not-started", "device maker", "The hook could not be started, so nothing was done.", "Read why, beside this: mostly its first line (#!/bin/sh), a full disk, or one that is mounted noexec."),
    Reason("hook.failed", "device maker", "The hook ended with a status that means failure.", "Read what it said, beside this; what a hook has to do is in docs/hooks.md."),
    Reason("hook.too-slow", "device maker", "The hook took longer than its limit and was ended with all that it had started.", "Make it quicker, or raise hook_limit_s in the device's runner.toml."),
    Reason("hook.too-much", "device maker", "The hook answered more than 32 KiB.", "Let it answer less; files travel by other ways."),
    Reason("hook.bad-answer", "device maker", "What the hook answered is not one JSON object.", "Print one JSON object on standard output, or nothing; text for people goes to standard error."),
    Reason("hook.bad-arguments", "owner", "The hook does not accept these arguments.", "Read what it said, beside this, and ask again with others."),
    Reason("hook.not-possible", "nobody", "The hook says that this device cannot do that.", "Read what it said, beside this. Asking again changes nothing."),
    Reason("hook.try-later", "owner", "The hook says that the device cannot do that now.", "Read what it said, beside this, and ask again later."),
    Reason("command.interrupted", "owner", "The command had begun when the device or its runner was ended; how far it came is not known.", "Look at the device, and ask again if it is still needed: it is not run a second time by itself."),
    Reason("command.no-effect", "device maker", "The hook said that the device restarts, and it did not.", "Look at the hook and at the device's log."),
    Reason("command.expired", "owner", "The command's end came before the device took it: the device was away, or at work on others.", "Look whether it is connected, and ask again; a command can wait for it up to a week."),
    Reason("command.cancelled", "nobody", "The command was cancelled before the device took it.", "Nothing."),
    Reason("command.device-removed", "nobody", "The device was removed before it took the command.", "Nothing."),
    Reason("command.console-restored", "owner", "The console was restored from a backup, which cannot say whether the device has done this since, so it is not told again.", "Look at the device's history once it was there: if it has not done it, ask again."),
    Reason("command.unknown", "owner", "There is no such command.", "Choose one of those that the device's page offers."),
    Reason("command.agent-too-old", "device maker", "This device's agent does not know that command.", "Update the agent on the device: pip install --upgrade 'doorward[agent]'"),
    Reason("command.not-confirmed", "owner", "This cannot be taken back, so a name has to be typed with it.", "Type exactly what is asked for: the device's name, or the project's where it is for several devices."),
    Reason("command.too-many", "owner", "Too many commands wait for this device.", "Cancel some, or wait until the device has done some."),
    Reason("command.too-large", "owner", "The command's arguments are larger than 4 KiB.", "Leave something out."),
    Reason("command.asked-otherwise", "owner", "Something else was asked for with this key before, so nothing is asked now.", "Look whether what was asked then is already under way. Then use a new key for the new request; on a page, press again."),
    Reason("command.not-waiting", "nobody", "The command is not waiting any more.", "Look at its result in the device's history."),
    # Settings were not kept
    Reason("settings.unconfirmed", "owner", "The device was not heard from in time with its new settings, so it put the old ones back.", "Look at what was changed: with it the device did not reach the console or a relay. Then ask for what is right."),
    Reason("settings.rebooted", "owner", "The device was restarted before its new settings were confirmed, so it put the old ones back.", "Ask for them again if the restart was not their doing."),
    Reason("settings.not-read", "device maker", "The device cannot say how it is set, so it could not put that back, and nothing was changed.", "Look at its hook settings-read: docs/hooks.md."),
    Reason("settings.not-opened", "owner", "A secret in the settings is sealed for another key, device or place, so nothing was changed.", "Read the device's settings anew, type the secret again, and ask once more."),
    Reason("settings.no-key", "owner", "The device has not given a key to which a secret could be sealed, so nothing was asked of it.", "Read its settings; if it stays so, update the agent, or join the device again: its door's host key has to be certified."),
    Reason("settings.no-timer", "device maker", "The timer that would put the settings back could not be armed, so nothing was changed.", "Look into the runner's log on the device."),
    Reason("settings.not-reverted", "administrator", "The device could not put its old settings back. It tries again each minute and at each start.", "Somebody may have to go there; read what its hook said."),
    Reason("settings.not-trying", "nobody", "The settings that were to be confirmed are not on trial any more.", "Nothing: the device's report says how it stands."),
    # The tunnel did not come up
    Reason("tunnel.no-ssh", "device maker", "Nothing on this device can dial a relay: there is neither the ssh program nor paramiko, or not the one that its configuration asks for.", "Install OpenSSH's client; or paramiko, which doorward[agent] brings, and look at tunnel in agent.toml."),
    Reason("tunnel.unresolved", "administrator", "The relay's name cannot be resolved on the device.", "Check the relay's name on the device's page, and the device's DNS."),
    Reason("tunnel.unreachable", "administrator", "The device cannot reach the relay's address and port.", "Check that the relay runs and that the device's network lets it out to that port."),
    Reason("tunnel.host-key", "administrator", "The relay shows another host key than the one pinned in the order. Nothing was sent to it.", "Check the relay's address; if its host key was really replaced, pair the relay again."),
    Reason("tunnel.not-admitted", "administrator", "The relay does not admit this device's certificate.", "Check that the relay has the grant: doorward-relay status"),
    Reason("tunnel.port-refused", "administrator", "The relay refuses the port.", "Look at the relay's own reason beside this one."),
    Reason("tunnel.lost", "nobody", "The connection between device and relay broke.", "Nothing: the device dials again, waiting at most a minute between attempts."),
    Reason("tunnel.timeout", "nobody", "The relay did not answer in time.", "Nothing: the device dials again, waiting at most a minute between attempts."),
    # A rehearsal did not go well
    # A named forward
    Reason("forward.not-allowed", "owner", "The device's own configuration has no forward of that name.", "Add it under [forwards] in the device's agent.toml and restart the agent, or take the forward away here."),
    Reason("forward.other-target", "owner", "The device's own configuration leads that name to another target.", "Look at the forward on the device's page, and save it again if its new target is right."),
    Reason("forward.unresolved", "administrator", "The target's name cannot be resolved on the device.", "Check the name in the device's agent.toml, and the device's DNS. While the door is open the device tries again every 15 seconds."),
    Reason("forward.address-not-allowed", "administrator", "The target's name leads to an address that it must not lead to: the device itself, a link-local address, a cloud's metadata service, or one outside of what the configuration names.", "Find out who changed the name's address. If the address is right, write it into the device's agent.toml in the name's place."),
    Reason("forward.unreachable", "administrator", "Nothing takes a connection at the target's address and port.", "Check that the target runs and lets the device in. While the door is open the device tries again every 15 seconds."),
    Reason("forward.port-refused", "administrator", "The relay refuses the forward's port.", "Look at the relay's own reason beside this one. At a plain relay, see that its line names the port."),
    Reason("forward.unknown", "owner", "The device has no forward of that name here.", "Choose one of those on the device's page."),
    Reason("forward.agent-too-old", "device maker", "This device's agent knows no named forwards.", "Update the agent on the device: pip install --upgrade 'doorward[agent]'"),
    Reason("rehearsal.granted", "administrator", "The relay gave the device a port that nobody had granted, and that it had to refuse.", "Open no door through this relay until that is mended: its sshd lets devices listen wherever they like. Compare its configuration with what doorward-relay install writes; at a plain relay, the line of relay-server-<id>.key."),
    Reason("rehearsal.malformed", "device maker", "The rehearsal lacks a field or has one of the wrong type.", "Update agent and console to neighbouring versions."),
    # The relay says
    Reason("relay.port-freed", "nobody", "An older connection held the port; it was ended.", "Nothing: the device asks for the port again."),
    Reason("relay.grant-ended", "nobody", "The session's grant on the relay has ended.", "Turn maintenance on again."),
    Reason("relay.port-busy", "administrator", "A process that is not ours listens on that port of the relay.", "Find it on the relay with: ss -ltnp — or choose another port for the device."),
    Reason("relay.unavailable", "administrator", "The relay's daemon does not answer.", "Look at the relay: doorward-relay status"),
    Reason("relay.not-closed", "administrator", "Something still listens on the session's port although everything was ended.", "Look at the relay: ss -ltnp — the history names the process."),
    Reason("relay.unreachable", "administrator", "The console cannot reach the relay's control port.", "Check that doorward-relay runs and that the console may connect to its control port."),
    Reason("relay.wrong-certificate", "administrator", "The relay shows another TLS certificate than the one pinned at pairing.", "If the relay was set up anew, pair it again; otherwise somebody stands between."),
    Reason("relay.not-paired", "owner", "The relay is not paired with this console.", "Run doorward-relay install on the relay and paste its line into the console."),
    Reason("relay.already-paired", "administrator", "The relay is paired with a console already.", "To move it, run on the relay: doorward-relay install --pair-again"),
    Reason("relay.unknown-request", "administrator", "The relay was asked for something that it does not know.", "Compare the versions of doorward on console and relay, and update the older one."),
    Reason("relay.bad-token", "owner", "The pairing token is wrong, was used, or is older than an hour.", "Run doorward-relay install --pair-again on the relay for a new line."),
    # A grant was refused by the relay (protocol.md §7)
    Reason("grant.too-large", "administrator", "The grant is larger than 64 KiB.", "Update console and relay to neighbouring versions."),
    Reason("grant.not-an-envelope", "administrator", "The grant is not a signed envelope.", "Update console and relay to neighbouring versions."),
    Reason("grant.wrong-type", "administrator", "A signed message of another type was put as a grant.", "Update console and relay to neighbouring versions."),
    Reason("grant.unsigned", "administrator", "The grant does not carry exactly one signature.", "Update console and relay to neighbouring versions."),
    Reason("grant.unknown-key", "administrator", "The grant is signed by a key that the relay has not pinned.", "Pair the relay again."),
    Reason("grant.bad-signature", "administrator", "The grant was changed after it was signed.", "Look at the console's worker: it must pass grants on as they are."),
    Reason("grant.unknown-version", "administrator", "The grant is of a version that this relay does not know.", "Update doorward-relay."),
    Reason("grant.malformed", "administrator", "The grant lacks a field or has one of the wrong type.", "Update console and relay to neighbouring versions."),
    Reason("grant.other-relay", "administrator", "The grant is for another relay or project.", "Pair the relay with the right project."),
    Reason("grant.lower-sequence", "administrator", "The relay has already seen a later grant than this one.", "If the console was restored from a backup, run: doorward-console restored"),
    Reason("grant.too-far-ahead", "administrator", "The grant's sequence jumps further than a console ever has reason to.", "Check that only one console uses this project's grant key."),
    Reason("grant.session-ended", "nobody", "The session of this grant has ended; an ended session is never admitted again.", "Turn maintenance on again."),
    Reason("grant.past-its-end", "administrator", "The grant's end has passed by the relay's clock.", "Check the clocks of console and relay: they have to agree within seconds."),
    Reason("grant.too-long", "owner", "The grant lasts longer than the relay allows.", "Choose a shorter duration, or raise longest_session_s on the relay."),
    Reason("grant.port-not-allowed", "owner", "The port is outside the range that this relay gives out.", "Choose a port within the relay's range for the device."),
    Reason("grant.port-taken", "owner", "Another live session has this port on the relay.", "Choose another port for the device, or shut the other session."),
    # The probe says
    Reason("probe.refused", "nobody", "Nothing listens on the relay's port yet.", "Nothing: the device is on its way; if it stays so, look at the device's own reason."),
    Reason("probe.silent", "administrator", "The relay's port is open but nobody answers behind it.", "Look at the device's door: doorward-agent status"),
    Reason("probe.other-banner", "administrator", "Somebody else than this session's door answers on the relay's port.", "Find the process on the relay with: ss -ltnp"),
    Reason("probe.not-public", "administrator", "The port is open on the relay's loopback but not at the address that engineers use.", "Check GatewayPorts and the firewall of the relay."),
    # The signer refuses
    Reason("signer.too-long", "owner", "The session is longer than the signer's ceiling.", "Choose a shorter duration, or raise the ceiling in the signer's own file."),
    Reason("signer.too-many", "owner", "More doors are open than the signer's ceiling allows.", "Shut a door that is not needed, or raise the ceiling in the signer's own file."),
    Reason("signer.not-entitled", "owner", "The person who asked has no right to this in this project.", "Ask the project's owner or an admin."),
    Reason("signer.blocked", "owner", "The device is blocked.", "Unblock the device first."),
    Reason("signer.no-relay", "owner", "The device has no relay and port.", "Enter a relay and a port on the device's page."),
    Reason("signer.no-keys", "owner", "The project has no engineer key pair, so nobody could log in.", "Make the key pair on the project's Keys page."),
    Reason("signer.port-taken", "owner", "Another open session uses this relay and port.", "Choose another port, or shut the other session."),
    Reason("signer.not-joined", "owner", "The device has not joined yet.", "Run doorward-agent join on the device and paste the join line."),
    Reason("signer.unavailable", "administrator", "The signer does not answer.", "Start it: doorward-console signer"),
    Reason("signer.too-old", "owner", "The request waited for more than two minutes until the signer could look at it.", "Turn maintenance on again."),
    # The project's licence policy
    Reason("licence.missing", "owner", "This project requires licences, and the device has none.", "Get a licence file for the device's id from its issuer, and add it on the device's page."),
    Reason("licence.expired", "owner", "The device's licence has ended.", "Get a new licence file from its issuer, and add it on the device's page."),
    Reason("licence.other-device", "owner", "The licence is for another device.", "Add it on that device's page, or get one for this device's id."),
    Reason("licence.unknown-issuer", "administrator", "The licence is signed by an issuer that this console does not know.", "Get one from the right issuer, or add the issuer's public key to licence_issuers in the console's configuration."),
    Reason("licence.bad-signature", "owner", "The licence was changed after it was signed.", "Get the file from its issuer again, and add it as it is."),
    Reason("licence.not-a-licence", "owner", "The file is not a licence that this version can read.", "Choose the file that the issuer gave you."),
    Reason("licence.agent-too-old", "device maker", "The device's agent is older than the project or the licence allows.", "Update the agent on the device: pip install --upgrade 'doorward[agent]'"),
    # What was asked for cannot be asked for
    Reason("ask.no-reason", "owner", "This project wants a reason for each opening.", "Write down why somebody has to log in, and turn on again."),
    Reason("ask.bad-duration", "owner", "The duration is not between a second and 31 days.", "Choose another duration."),
    Reason("ask.not-open", "owner", "There is no open session that could be made longer.", "Turn maintenance on."),
    Reason("settings.not-valid", "owner", "The settings are not what this device says can be set.", "Mend each place that is named; nothing was asked of the device."),
    Reason("settings.not-judged", "device maker", "The device's schema cannot be used to judge settings, so nothing was asked of it.", "Mend the schema in the device's hook settings-read, and read its settings anew: docs/hooks.md."),
    Reason("settings.changed-meanwhile", "owner", "Somebody else asked for other settings since you began.", "Look at what is wanted now, and ask again if yours still is right."),
    Reason("ask.settings-too-large", "owner", "The settings are larger than 32 KiB.", "Leave something out; files travel by other ways."),
    # The session, seen from the console
    Reason("session.no-answer", "engineer", "The device is away. It is told as soon as it connects.", "Ask the people at the device whether it is powered and online."),
    Reason("session.expired", "nobody", "The session reached its end.", "Turn maintenance on again if it is still needed."),
    Reason("session.turned-off", "nobody", "Maintenance was turned off.", "Nothing."),
    Reason("session.lost", "nobody", "The door was open and cannot be reached any more; the device is dialling again.", "Wait a minute; if it stays so, look at the device's own reason."),
    Reason("session.device-removed", "nobody", "The device was removed, which ended its session.", "Nothing."),
    Reason("session.device-blocked", "owner", "The device was blocked, which ended its session.", "Unblock the device to open it again."),
    Reason("session.disagreement", "administrator", "Device, relay and console do not agree whether this door is shut.", "The page names who disagrees; look there first."),
    Reason("device.two-machines", "owner", "Two machines speak as this device: somebody copied its disk. Whichever spoke last is the one that opens.", "Find the copy and switch it off, or join it as a device of its own: doorward-agent join --again '…'"),
    # Joining
    Reason("join.bad-token", "owner", "The join token is wrong, was used, or is too old.", "Make a new join string on the device's page."),
    Reason("join.wrong-certificate", "owner", "The server shows another certificate than the join string names. Nothing was sent to it.", "Check the address and the network; copy the join string again."),
    Reason("join.unreachable", "owner", "The console's address cannot be reached from this device.", "Check the address in the join string and the device's network."),
    Reason("join.malformed", "device maker", "The join request lacks a field or has one of the wrong type.", "Update the agent."),
    Reason("join.other-identity", "owner", "This device has a history that another identity signed.", "Add the machine as a new device, or bring back the agent's state folder."),
    Reason("join.refused", "administrator", "The console's signer did not certify this device in time.", "Look at the console: doorward-console check"),
    # History
    Reason("history.forked", "administrator", "The console's receipt names another record than the device has at that place.", "If its disk was put back from a backup, nothing: it goes on after what the console has. If not, look for a second machine with this device's identity. Keep an export; run doorward-console verify-history on it."),
)  # fmt: skip

REASONS: Final = {reason.code: reason for reason in _ROWS}

_AT_PLAIN_ROWS: Final = (
    Reason("tunnel.host-key", "owner", "The relay shows another host key than the one on its page. Nothing was sent to it.", "Compare the fingerprint on the relay's page with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on the relay; if its key was really replaced, enter the new one."),
    Reason("tunnel.not-admitted", "administrator", "The relay's sshd does not admit this device.", "Check on the relay that the line of relay-server-<id>.key stands in ~/.ssh/authorized_keys of the user on the relay's page, that the file is that user's and mode 600, that sshd_config has PubkeyAuthentication yes, and that its clock is right."),
    Reason("tunnel.port-refused", "administrator", "The relay's sshd refuses the port: the line does not name it, or something still holds it.", "If the port is new, download relay-server-<id>.key again and replace the line; if not, ss -ltnp on the relay shows who holds it. A dead tunnel of this device is ended by sshd's keep-alive within four minutes."),
    Reason("relay.not-closed", "administrator", "This session's door still answers at the relay although it should be shut.", "On the relay, find the tunnel's sshd with ss -ltnp and end it; then look at the device."),
    Reason("probe.silent", "administrator", "The relay's port is open but no door answers behind it.", "Look at the device's door: doorward-agent status. If the device is shut, a dead tunnel holds the port until sshd's keep-alive ends it."),
    Reason("probe.other-banner", "administrator", "Something else than this session's door answers on the relay's port.", "Find the process on the relay with ss -ltnp and end it, or choose another port for the device."),
    Reason("probe.not-public", "administrator", "The device's tunnel stands, but nothing answers at the relay's address and port.", "Set GatewayPorts yes (or clientspecified) in the relay's sshd_config, reload sshd, and turn maintenance on again; if it is set, let the port through the relay's firewall."),
)  # fmt: skip
"""The same codes where the relay is a plain one: nothing of ours runs there that could be asked."""

AT_PLAIN_RELAY: Final = {reason.code: reason for reason in _AT_PLAIN_ROWS}


def reason_of(code: str, *, at_plain_relay: bool = False) -> Reason:
    """Explain a code, with the next step that fits the kind of relay; one that this version does not know is explained as such."""
    known = (AT_PLAIN_RELAY.get(code) if at_plain_relay else None) or REASONS.get(code)
    if known is not None:
        return known
    return Reason(code, "administrator", "This version does not know that code.", "Update this side.")

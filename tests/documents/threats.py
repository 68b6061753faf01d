"""The rows of the threat table: what each kind of attacker cannot do, each by the slug that its tests carry."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Threat:
    """One promise against one attacker; ``slug`` is the argument of ``@pytest.mark.threat``."""

    slug: str
    promise: str


@dataclass(frozen=True, slots=True)
class Attacker:
    """Who, what they can still do, and what they cannot; a test may carry ``slug`` where it holds several rows at once."""

    slug: str
    who: str
    can: str
    cannot: tuple[Threat, ...]


ATTACKERS: Final = (
    Attacker("broker", "The broker", "drop, delay, read metadata; prevent openings", (
        Threat("broker-forgery", "open a door with an order of its own making, or with a changed one"),
        Threat("broker-replay", "open a door with an order that was obeyed before"),
        Threat("broker-late", "keep an order back and deliver it when it is no longer wanted"),
        Threat("broker-retarget", "send one device's order to another"),
        Threat("broker-keeps-open", "keep a door open by dropping everything after ON"),
        Threat("broker-reads-secrets", "read settings that are marked secret"),
        Threat("sealed-moved", "have a sealed secret opened for another device, or in another place of its document"),
    )),
    Attacker("relay", "A relay", "cut; see who connects and how much; publish an open session's port more widely", (
        Threat("relay-poses", "pass for a device, or read or change the ssh that goes through it, where the engineer uses the printed known_hosts line"),
        Threat("relay-opens", "make a device open anything"),
        Threat("relay-gives-in-rehearsal", "give a device a port in a rehearsal and have that pass for well"),
    )),
    Attacker("other-host", "Another host in a relay's place", "nothing", (
        Threat("relay-host-key", "be talked to: its host key is refused before any authentication"),
    )),
    Attacker("names", "Whoever answers for names in a device's network", "keep a named forward shut; lead its visitors to another machine there, where the device's configuration names no networks", (
        Threat("name-rebinds", "have a named forward lead to the device itself, a link-local address or a cloud's metadata, or anywhere but to the address that was judged"),
    )),
    Attacker("tunnel-certificate-holder", "Someone with a tunnel certificate", "hold the granted port while the grant lives", (
        Threat("tunnel-root", "log in to the relay as root or anyone but the tunnel user, whatever its principal says"),
        Threat("tunnel-other-port", "listen on another port or address than its grant's"),
        Threat("rehearsal-listens", "listen on any port by a rehearsal's certificate"),
        Threat("tunnel-shell", "run a command, or get a shell, a terminal, an agent, X11 or sftp on the relay"),
        Threat("tunnel-reaches", "reach the relay's own loopback or network through it"),
        Threat("tunnel-certificate", "come in with a certificate that is expired, without principals, of another CA or of another type"),
        Threat("tunnel-after-end", "come back, or stay, after the grant ended"),
    )),
    Attacker("device-root", "Root on one device", "forge that device's records from then on", (
        Threat("device-foreign-topics", "read or write other devices' topics, or throw them off the broker"),
        Threat("device-foreign-ports", "take another session's port"),
        Threat("device-foreign-history", "write records in another's name"),
        Threat("device-foreign-counters", "carry a restored console to an epoch in which other devices obey it no more"),
    )),
    Attacker("agent-uid", "The agent's user on a device", "cut that device off, forge its reports and, until the receipt, its records", (
        Threat("agent-unsigned", "make the runner do anything that the grant key did not sign"),
        Threat("agent-stale", "make the runner obey an old order"),
        Threat("agent-again", "make the runner obey an order, or open a session, that is done"),
        Threat("agent-killed", "keep a door open by killing agent and runner"),
        Threat("agent-reads-session", "read what the engineer does"),
        Threat("sealed-to-another", "have the console seal secrets to a key of its own, after joining"),
        Threat("agent-user-forges-history", "have a record stored that the device did not sign, or that does not continue its chain"),
    )),
    Attacker("engineer-login", "An engineer's log-in", "what the login user may do on that device while the session lasts", (
        Threat("login-reads-agent", "read the agent's keys or journal"),
        Threat("login-outlives", "leave a process behind, under nohup or setsid, when the session ends"),
        Threat("login-other-user", "log in as another user than the one in the order"),
    )),
    Attacker("device-key", "The engineers' private key alone", "log in where a door is open and its port reachable", (
        Threat("key-opens-nothing", "open a door"),
        Threat("key-replaced", "log in after the owner replaced the pair"),
    )),
    Attacker("worker", "The worker", "drop orders and prevent openings; forge the console's records and receipts from then on; name another tunnel key or relay in the rows of devices and relays, which later certificates and orders then follow", (
        Threat("worker-signs", "sign an order or a grant that anybody obeys"),
        Threat("worker-reads-keys", "read the grant key"),
        Threat("worker-asks", "have a command carried out in a person's name, or another than was asked for (with PostgreSQL and its roles)"),
    )),
    Attacker("web-process", "The web process", "act in every user's name: ask for openings within the signer's ceilings, put an engineer pair of its own in place, make join tokens and have a device of its own certified, change members and roles, read what people type and are shown. Openings, the keys that they let in, and certificates are in the history, because signer or worker write and chain them; changed rows alone are not", (
        Threat("web-process-ceilings", "have an opening signed that goes past the ceilings"),
        Threat("web-process-reads-keys", "read private keys"),
        Threat("web-process-silent-key", "have a key let in at a door without the signer's record of it"),
        Threat("web-process-silent-join", "have a device certified without a token of it that was used just now, or without the signer's record of it"),
        Threat("forward-elsewhere", "have a device connect to anything in its network that its own configuration does not name"),
        Threat("web-process-history", "change or remove a record, in the database or in an export, unnoticed"),
    )),
    Attacker("member", "A member without the right", "what the role allows", (
        Threat("member-toggles", "turn maintenance on or off as engineer or viewer"),
        Threat("lesser-role", "do what only a greater role may"),
        Threat("other-project", "see or change anything of a project without being its member"),
        Threat("csrf", "be made to act by another site's page (CSRF)"),
        Threat("first-password-elsewhere", "carry an account that they made, and whose first password they know, into another project"),
        Threat("session-fixation", "be signed in under a session that an attacker chose"),
    )),
    Attacker("database-copy", "A copy of the database, or a backup", "read metadata and password hashes", (
        Threat("database-keys", "read private keys"),
        Threat("private-key-kept", "find the engineers' private key anywhere after it was shown"),
        Threat("database-secrets", "read settings that are marked secret"),
        Threat("secret-kept", "find a secret of a device's settings anywhere but with the hook that it is for"),
        Threat("database-tokens", "read join tokens, pairing tokens or API tokens"),
        Threat("database-restored", "make a restored console silently forget or repeat what was done"),
    )),
    Attacker("dead-process", "A dead process of ours", "delay an opening", (
        Threat("ends-device-alone", "keep the device from ending a session alone"),
        Threat("ends-relay-alone", "keep the relay from ending a session alone"),
        Threat("ends-console-alone", "keep the console from ending a session alone"),
        Threat("dead-daemon", "let anything new in at a relay whose daemon is dead"),
    )),
)  # fmt: skip
SLUGS: Final = tuple(threat.slug for attacker in ATTACKERS for threat in attacker.cannot)

OF_LATER: Final[dict[str, str]] = {}
"""Rows that no test can hold yet, with the reason."""

"""The console's own chain: facts that web, signer and worker wrote down become signed records, in the order of their ids.

The row of the chain is locked while it grows, so two workers never give one number twice. Each record names the heads of the
device's and the relay's chains that it speaks of, so that cutting theirs shows in ours. Called by the worker alone: it
holds the record key.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from django.db import transaction
from doorward_protocol.digests import Digest
from doorward_protocol.records import Fact, Head, Moment, head_after, next_payload
from doorward_protocol.signature import SigningKey

from doorward_console.history.models import Chain, Pending, Record
from doorward_console.maintenance.models import Session
from doorward_console.times import ms_from_time

AT_ONCE = 200
"""Records signed in one transaction: 20 ms of signing, during which other writers wait."""

RESTORED: Final = "console.restored"


class RecordKeys(Protocol):
    """Gives a project's record key."""

    def record_key(self, project: str) -> SigningKey: ...


def author_of(project: str) -> str:
    """Name the console as an author of a project's history."""
    return f"console:{project}"


def chain_pending(keys: RecordKeys) -> int:
    """Sign and store what is pending; gives how many records were made."""
    projects = list(Pending.objects.values_list("project_id", flat=True).distinct())
    return sum(_chain_project(project, keys.record_key(project)) for project in projects)


@transaction.atomic
def _chain_project(project: str, key: SigningKey) -> int:
    chain = locked_chain(project, key)
    waiting = _waiting(project)
    heads_of, rows = _Heads(waiting), list[Record]()
    for fact in waiting:
        if fact.verb == RESTORED:
            chain.epoch = max(chain.epoch, int(fact.data["epoch"]))
        rows.append(_next(chain, key, fact, heads_of(fact)))
    Record.objects.bulk_create(rows)
    chain.save(update_fields=["epoch", "n", "digest"])
    Pending.objects.filter(id__in=[fact.id for fact in waiting]).delete()
    return len(waiting)


def _waiting(project: str) -> list[Pending]:
    """List what is to be chained, a restore before all else: it is the first record of its epoch."""
    every = Pending.objects.filter(project=project)
    restores = list(every.filter(verb=RESTORED).order_by("id"))
    return restores + list(every.exclude(verb=RESTORED).order_by("id")[:AT_ONCE])


def locked_chain(project: str, key: SigningKey) -> Chain:
    """Give the console's chain, locked until the transaction ends; makes it when it is the first."""
    Chain.objects.get_or_create(author=author_of(project), defaults={"project_id": project, "public_key": key.public})
    chain: Chain = Chain.objects.select_for_update(no_key=True).get(author=author_of(project))
    return chain


def _next(chain: Chain, key: SigningKey, fact: Pending, heads: Mapping[str, Head]) -> Record:
    """Sign a fact as the chain's next record, and move the chain on to it; stores neither."""
    last = head_of(chain)
    moment, said = Moment(ms_from_time(fact.at)), Fact(fact.verb, fact.session, fact.device, fact.data)
    payload = next_payload(chain.author, last, moment, said, heads)
    head = head_after(payload, last)
    chain.n, chain.digest = head.n, head.digest
    return Record(
        project_id=fact.project_id,
        author=chain.author,
        epoch=head.epoch,
        n=head.n,
        digest=str(head.digest),
        verb=fact.verb,
        at=fact.at,
        received_at=fact.at,  # not now: whoever answered meanwhile would stand before the question
        session=fact.session,
        device=fact.device,
        data=fact.data,
        envelope=key.seal("record", payload),
    )


def head_of(chain: Chain) -> Head:
    """Give a chain's head as the protocol writes it."""
    return Head(chain.epoch, chain.n, None if chain.digest is None else Digest(chain.digest))


def console_head(project: str) -> Mapping[str, Head]:
    """Name the console's head, as receipts carry it; empty before its first record."""
    chain = Chain.objects.filter(author=author_of(project), n__gt=0).first()
    return {} if chain is None else {chain.author: head_of(chain)}


class _Heads:
    """Names the heads of the chains of which each of these facts speaks, as far as anything of them is stored: two looks for all."""

    def __init__(self, facts: Sequence[Pending]) -> None:
        self._sessions = Session.objects.in_bulk({fact.session for fact in facts if fact.session})
        authors = {author for fact in facts for author in self._authors(fact)}
        self._stored = {one.author: one for one in Chain.objects.filter(author__in=authors, n__gt=0)}

    def __call__(self, fact: Pending) -> dict[str, Head]:
        chains = (self._stored[author] for author in self._authors(fact) if author in self._stored)
        return {chain.author: head_of(chain) for chain in chains if chain.project_id == fact.project_id}

    def _authors(self, fact: Pending) -> list[str]:
        session = self._sessions.get(fact.session or "")
        device = fact.device or (None if session is None else session.device_id)
        authors = [f"device:{device}"] if device else []
        return authors + ([f"relay:{session.relay_id}"] if session else [])

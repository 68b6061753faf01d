"""Sessions and what makes them: intents of people, desired parts of devices, signed orders and grants.

Web writes intents. The signer turns an intent into a session, a desired part, a grant and an order, signed, in one
transaction, or refuses it with a code. The worker carries grants and orders out and writes down what came of them.
"""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from doorward_console.fleet.models import Device, Relay
from doorward_console.identifiers import new_batch_id, new_command_id, new_order_id, new_session_id
from doorward_console.people.models import Project, User


class Session(models.Model):
    """One opening of one device's door, from ON to closed."""

    class State(models.TextChoices):
        REQUESTED = "requested"
        OPENING = "opening"
        OPEN = "open"
        CLOSING = "closing"
        CLOSED = "closed"
        FAILED = "failed"

    LIVE = (State.REQUESTED, State.OPENING, State.OPEN, State.CLOSING)

    id = models.CharField(primary_key=True, max_length=18, default=new_session_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="sessions")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="sessions")
    relay = models.ForeignKey(Relay, on_delete=models.PROTECT, related_name="sessions")
    relay_port = models.PositiveIntegerField()
    bind = models.CharField(max_length=10)
    login_user = models.CharField(max_length=32)
    state = models.CharField(max_length=10, choices=State.choices, default=State.REQUESTED)
    code = models.CharField(max_length=60, blank=True)  # why it failed, closed, or is not open yet
    asked_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    asked_by_name = models.CharField(max_length=320)
    reason = models.CharField(max_length=1000, blank=True)
    requested_at = models.DateTimeField()
    duration_s = models.PositiveIntegerField()
    ends_at = models.DateTimeField()
    banner = models.CharField(max_length=64)
    steps = models.JSONField(
        default=list
    )  # [{"step": "relay-granted", "at": ms, "code": null}, …], written by the worker
    opened_at = models.DateTimeField(null=True, blank=True)
    lost_at = models.DateTimeField(null=True, blank=True)  # was open; the probe fails since then
    closing_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by_name = models.CharField(max_length=320, blank=True)
    device_shut_at = models.DateTimeField(null=True, blank=True)  # the device's signed word
    relay_shut_at = models.DateTimeField(null=True, blank=True)  # the relay's word: nothing listens
    forwards = models.JSONField(default=list)  # the named ones, as ordered, each with what the device says of it
    obeyed_at = models.DateTimeField(null=True, blank=True)  # the device's signed word: told to shut, never opens again

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("device",),
                condition=Q(state__in=("requested", "opening", "open", "closing")),
                name="one_live_session_per_device",
            ),
        )

    def __str__(self) -> str:
        return self.id


class Intent(models.Model):
    """What a person asked for, before anyone has decided about it."""

    class Kind(models.TextChoices):
        ON = "on"
        OFF = "off"
        EXTEND = "extend"
        SETTINGS = "settings"

    class State(models.TextChoices):
        ASKED = "asked"
        DONE = "done"
        REFUSED = "refused"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="intents")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="intents")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    by_name = models.CharField(max_length=320)
    from_address = models.CharField(max_length=64, blank=True)
    at = models.DateTimeField(default=timezone.now)
    duration_s = models.PositiveIntegerField(null=True, blank=True)
    reason = models.CharField(max_length=1000, blank=True)
    values = models.JSONField(null=True, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.ASKED)
    code = models.CharField(max_length=60, blank=True)
    session = models.ForeignKey(Session, null=True, blank=True, on_delete=models.SET_NULL, related_name="intents")

    def __str__(self) -> str:
        return f"{self.kind} {self.device_id}"


class Batch(models.Model):
    """One command asked of several devices at once; each of them has a ``Command`` of its own.

    ``mark`` is what the asker's page or program calls this one wish: sent again (a double click, a request whose answer was
    lost), it is the same batch. None where there is none.
    """

    id = models.CharField(primary_key=True, max_length=18, default=new_batch_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="batches")
    verb = models.CharField(max_length=40)
    arguments = models.JSONField(default=dict)
    reason = models.CharField(max_length=1000, blank=True)
    by_name = models.CharField(max_length=320)
    at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True, blank=True)
    stopped_by_name = models.CharField(max_length=320, blank=True)
    mark = models.CharField(max_length=64, null=True, blank=True)  # NULL is like no other NULL

    class Meta:
        constraints = (models.UniqueConstraint(fields=("project", "by_name", "mark"), name="batch_asked_once"),)

    def __str__(self) -> str:
        return self.id


class Command(models.Model):
    """One thing that one device is to do once, from asking until its end.

    Web asks and cancels, the signer queues, refuses and tells one at a time (``Desired.command``), the worker writes down
    what came of it. ``confirm`` is what the asker typed, and the signer compares it with the name itself.
    """

    class State(models.TextChoices):
        ASKED = "asked"
        QUEUED = "queued"
        ORDERED = "ordered"
        BEGUN = "begun"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"
        EXPIRED = "expired"
        REFUSED = "refused"

    WAITING = (State.ASKED, State.QUEUED, State.ORDERED)
    TOLD = (State.ORDERED, State.BEGUN)
    LIVE = (*WAITING, State.BEGUN)

    id = models.CharField(primary_key=True, max_length=18, default=new_command_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="commands")
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="commands")
    batch = models.ForeignKey(Batch, null=True, blank=True, on_delete=models.CASCADE, related_name="commands")
    verb = models.CharField(max_length=40)
    arguments = models.JSONField(default=dict)
    reason = models.CharField(max_length=1000, blank=True)
    confirm = models.CharField(max_length=100, blank=True)
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    by_name = models.CharField(max_length=320)
    at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.ASKED)
    code = models.CharField(max_length=60, blank=True)  # why it did not go well
    ordered_at = models.DateTimeField(null=True, blank=True)
    begun_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by_name = models.CharField(max_length=320, blank=True)  # whoever cancelled it
    # the device's signed word
    status = models.IntegerField(null=True, blank=True)
    said = models.TextField(blank=True)
    result = models.JSONField(null=True, blank=True)
    lasted_ms = models.PositiveBigIntegerField(null=True, blank=True)
    mark = models.CharField(max_length=64, null=True, blank=True)  # as a batch's; of one of several it is the batch's

    class Meta:
        indexes = (
            models.Index(fields=("state", "expires_at")),
            models.Index(fields=("device", "at")),
        )
        constraints = (models.UniqueConstraint(fields=("device", "by_name", "mark"), name="command_asked_once"),)

    def __str__(self) -> str:
        return f"{self.verb} {self.id}"


class Rehearsal(models.Model):
    """The grant of a rehearsal on a relay that takes grants: no forward, for minutes; signed, put and ended like a session's.

    ``session`` names it on the relay and in its history; there is no ``Session`` of that name, for no door opens.
    """

    class State(models.TextChoices):
        SIGNED = "signed"
        PUT = "put"
        REFUSED = "refused"
        ENDED = "ended"

    command = models.OneToOneField(Command, on_delete=models.CASCADE, related_name="rehearsal")
    relay = models.ForeignKey(Relay, on_delete=models.CASCADE, related_name="rehearsals")
    session = models.CharField(max_length=18, unique=True)
    epoch = models.PositiveIntegerField()
    sequence = models.PositiveBigIntegerField()
    envelope = models.BinaryField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.SIGNED)
    ends_at = models.DateTimeField()

    class Meta:
        indexes = (models.Index(fields=("state", "ends_at")),)

    def __str__(self) -> str:
        return f"grant of {self.session} on {self.relay_id}"


class Desired(models.Model):
    """What a device should be, one row for each part; the body's exact text is what was digested and signed."""

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="desired")
    part = models.CharField(max_length=10)
    epoch = models.PositiveIntegerField()
    revision = models.PositiveBigIntegerField()
    body = models.TextField()
    digest = models.CharField(max_length=71)
    session = models.ForeignKey(Session, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    command = models.ForeignKey(Command, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("device", "part"), name="one_desired_per_part"),)

    def __str__(self) -> str:
        return f"{self.part} {self.revision} of {self.device_id}"


class Order(models.Model):
    """An order on its way: asked for (by signer or worker), signed (by the signer), sent (by the worker)."""

    class State(models.TextChoices):
        ASKED = "asked"
        SIGNED = "signed"
        SENT = "sent"
        DROPPED = "dropped"

    id = models.CharField(primary_key=True, max_length=18, default=new_order_id, editable=False)
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="orders")
    part = models.CharField(max_length=10)
    epoch = models.PositiveIntegerField(default=0)
    revision = models.PositiveBigIntegerField(default=0)
    nonce = models.CharField(max_length=64)
    envelope = models.BinaryField(null=True, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.ASKED)
    asked_at = models.DateTimeField(default=timezone.now)
    signed_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = (models.Index(fields=("state", "asked_at")),)

    def __str__(self) -> str:
        return self.id


class Grant(models.Model):
    """A session's permission on one relay: signed, put, ended."""

    class State(models.TextChoices):
        SIGNED = "signed"
        PUT = "put"
        REFUSED = "refused"
        ENDING = "ending"
        ENDED = "ended"

    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="grants")
    relay = models.ForeignKey(Relay, on_delete=models.PROTECT, related_name="grants")
    epoch = models.PositiveIntegerField()
    sequence = models.PositiveBigIntegerField()
    envelope = models.BinaryField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.SIGNED)
    code = models.CharField(max_length=60, blank=True)
    signed_at = models.DateTimeField(default=timezone.now)
    put_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"grant of {self.session_id} on {self.relay_id}"

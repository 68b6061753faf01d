"""Devices and relays as the console knows them.

What a device says of itself (everything under "said") is a hint: nothing is decided by it but whether to send an order.
"""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from doorward_console.identifiers import new_device_id, new_relay_id
from doorward_console.people.models import Project, User


class Relay(models.Model):
    """A machine that engineers and devices can both reach, paired with this console."""

    class Kind(models.TextChoices):
        MANAGED = "managed"
        PLAIN = "plain"
        EMBEDDED = "embedded"

    id = models.CharField(primary_key=True, max_length=18, default=new_relay_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="relays")
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.MANAGED)
    host = models.CharField(max_length=253)
    ssh_port = models.PositiveIntegerField(default=22)
    tunnel_user = models.CharField(max_length=32, default="doorward-tunnel")
    ssh_host_keys = models.JSONField(default=list)
    control_port = models.PositiveIntegerField(default=8443)
    tls_certificate = models.TextField(blank=True)  # PEM, pinned at pairing
    record_key = models.CharField(max_length=44, blank=True)
    low_port = models.PositiveIntegerField(default=1024)
    high_port = models.PositiveIntegerField(default=65535)
    epoch = models.PositiveIntegerField(default=0)
    sequence = models.PositiveBigIntegerField(
        default=0
    )  # last one given out; raised by the signer (put) and worker (end)
    paired_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)
    # said by the relay, written by the worker
    seen_at = models.DateTimeField(null=True, blank=True)
    code = models.CharField(max_length=60, blank=True)  # reason why it cannot be reached, or empty
    version = models.CharField(max_length=40, blank=True)
    clock_skew_ms = models.BigIntegerField(null=True, blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("project", "name"), name="relay_name_once_per_project"),)

    def __str__(self) -> str:
        return self.name


class Device(models.Model):
    """A machine with the agent."""

    class State(models.TextChoices):
        ADDED = "added"
        JOINED = "joined"
        BLOCKED = "blocked"

    class Bind(models.TextChoices):
        PUBLIC = "*"
        LOOPBACK = "localhost"

    id = models.CharField(primary_key=True, max_length=18, default=new_device_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="devices")
    name = models.CharField(max_length=100)
    state = models.CharField(max_length=10, choices=State.choices, default=State.ADDED)
    relay = models.ForeignKey(Relay, null=True, blank=True, on_delete=models.SET_NULL, related_name="devices")
    relay_port = models.PositiveIntegerField(null=True, blank=True)
    bind = models.CharField(max_length=10, choices=Bind.choices, default=Bind.PUBLIC)
    added_at = models.DateTimeField(default=timezone.now)
    joined_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)  # blocked for good, and shown nowhere but in the history
    # certified at joining
    identity_key = models.CharField(max_length=44, blank=True)
    tunnel_key = models.TextField(blank=True)
    door_host_key = models.TextField(blank=True)
    door_host_certificate = models.TextField(blank=True)
    # said by the device, written by the worker
    presence = models.CharField(max_length=10, default="away")
    seen_at = models.DateTimeField(null=True, blank=True)
    presence_at = models.DateTimeField(null=True, blank=True)
    boot = models.CharField(max_length=64, blank=True)
    ask_count = models.PositiveBigIntegerField(default=0)
    former_boot = models.CharField(max_length=64, blank=True)  # the one before, and its last count
    former_count = models.PositiveBigIntegerField(default=0)
    twin_at = models.DateTimeField(null=True, blank=True)  # when two machines were last seen to speak as this device
    nonce = models.CharField(max_length=64, blank=True)
    runner_nonce = models.CharField(max_length=64, null=True, blank=True)
    agent_version = models.CharField(max_length=40, blank=True)
    facts = models.JSONField(default=dict)
    clock_skew_ms = models.BigIntegerField(null=True, blank=True)
    door_state = models.CharField(max_length=10, default="SHUT")
    door_session = models.CharField(max_length=18, null=True, blank=True)
    door_epoch = models.PositiveIntegerField(default=0)
    door_revision = models.PositiveBigIntegerField(default=0)
    door_digest = models.CharField(max_length=71, null=True, blank=True)
    door_code = models.CharField(max_length=60, null=True, blank=True)
    door_needs_order = models.BooleanField(default=False)
    settings_epoch = models.PositiveIntegerField(default=0)
    settings_revision = models.PositiveBigIntegerField(default=0)
    settings_digest = models.CharField(max_length=71, null=True, blank=True)
    settings_reported = models.JSONField(default=dict)
    settings_state = models.CharField(max_length=20, default="none")  # of the trial of that revision
    settings_code = models.CharField(max_length=60, null=True, blank=True)  # why they were put back
    settings_lacks = models.CharField(max_length=20, blank=True)  # the part whose order has to be signed again
    settings_at = models.DateTimeField(null=True, blank=True)  # when the state was first said
    command_epoch = models.PositiveIntegerField(default=0)
    command_revision = models.PositiveBigIntegerField(default=0)
    command_digest = models.CharField(max_length=71, null=True, blank=True)
    command_needs_order = models.BooleanField(default=False)
    verbs = models.JSONField(null=True, blank=True)  # what it can do; null from an agent that knows no commands
    knows_hooks = models.BooleanField(default=True)  # false while its agent has never been told which hooks it has
    offered = models.JSONField(
        null=True, blank=True
    )  # {name: target}, allowed by its configuration; null: it knows none

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("project", "name"), name="device_name_once_per_project"),
            models.UniqueConstraint(
                fields=("relay", "relay_port"),
                condition=Q(relay__isnull=False, relay_port__isnull=False),
                name="one_device_per_relay_port",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def has_said_verbs(self) -> bool:
        """Tell whether what is not among its verbs is beyond it: until then it may only not be known yet."""
        return self.seen_at is not None and self.knows_hooks


class Forward(models.Model):
    """A named forward of a device: which of its targets goes with an opening, and on which port of its relay.

    The target is as the device offered it when somebody gave it a port; the device compares. ``relay`` is the device's, kept here so
    that the database holds one port to one forward.
    """

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="forwards")
    relay = models.ForeignKey(Relay, null=True, blank=True, on_delete=models.SET_NULL, related_name="forwards")
    name = models.CharField(max_length=40)
    target = models.CharField(max_length=300)
    port = models.PositiveIntegerField()
    bind = models.CharField(max_length=10, choices=Device.Bind.choices, default=Device.Bind.LOOPBACK)
    is_usual = models.BooleanField(default=True)  # goes with each opening, unless whoever turns on chooses otherwise

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("device", "name"), name="forward_name_once_per_device"),
            models.UniqueConstraint(
                fields=("relay", "port"), condition=Q(relay__isnull=False), name="one_forward_per_relay_port"
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} of {self.device_id}"


class SettingsRead(models.Model):
    """How a device last said that it is set, and what may be set, in its own signed words; when it was asked by itself.

    ``schema`` is the device maker's: it is data of a stranger wherever it is used.
    """

    device = models.OneToOneField(Device, on_delete=models.CASCADE, related_name="settings_read")
    asked_boot = models.CharField(max_length=64, blank=True)  # it was asked once in this boot, whatever came of it
    asked_at = models.DateTimeField(null=True, blank=True)
    values = models.JSONField(default=dict)
    schema = models.JSONField(null=True, blank=True)
    key = models.JSONField(
        null=True, blank=True
    )  # the signed envelope of what secrets are sealed to; believed once verified
    read_at = models.DateTimeField(null=True, blank=True)  # null until the first answer

    def __str__(self) -> str:
        return f"settings read from {self.device_id}"


class RelayLine(models.Model):
    """Which ports stood in ``relay-server-<id>.key`` when it was last handed out: what is on the plain relays by now."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="relay_line")
    ports = models.JSONField(default=list)
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"relay line of {self.project_id}"


class Licence(models.Model):
    """A licence file of a device; the columns beside it are for showing, and the envelope alone is believed."""

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="licences")
    envelope = models.BinaryField()
    valid_until = models.DateTimeField()
    least_agent = models.CharField(max_length=40, blank=True)
    added_at = models.DateTimeField(default=timezone.now)
    added_by_name = models.CharField(max_length=320, blank=True)

    def __str__(self) -> str:
        return f"licence of {self.device_id}"


class JoinToken(models.Model):
    """A one-time token for one device; only its SHA-256 is kept."""

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="join_tokens")
    digest = models.CharField(max_length=64, unique=True)
    made_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"join token of {self.device_id}"


class Enrolment(models.Model):
    """A device's public parts, waiting for the signer to certify them (web writes, signer answers, web reads)."""

    class State(models.TextChoices):
        ASKED = "asked"
        CERTIFIED = "certified"
        REFUSED = "refused"

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="enrolments")
    token = models.OneToOneField(JoinToken, null=True, blank=True, on_delete=models.SET_NULL, related_name="enrolment")
    identity_key = models.CharField(max_length=44)
    tunnel_key = models.TextField()
    door_host_key = models.TextField(blank=True)
    mqtt_csr = models.TextField()
    agent_version = models.CharField(max_length=40, blank=True)
    facts = models.JSONField(default=dict)
    from_address = models.CharField(max_length=64, blank=True)
    asked_at = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=10, choices=State.choices, default=State.ASKED)
    code = models.CharField(max_length=60, blank=True)
    mqtt_chain = models.TextField(blank=True)
    door_host_certificate = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"enrolment of {self.device_id}"

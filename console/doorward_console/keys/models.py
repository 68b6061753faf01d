"""Keys at rest: the public part in the open, the private part wrapped so that one process alone can open it."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from doorward_console.people.models import Project, User


class Key(models.Model):
    """One private key, wrapped with its holder's wrapping key; ``project`` is null for the installation's own."""

    class Kind(models.TextChoices):
        ROOT_CA = "root-ca"  # X.509 P-256, signs project device CAs, the broker's certificate, replicas
        GRANT = "grant"  # Ed25519, signs orders and grants
        RECORD = "record"  # Ed25519, signs receipts and the console's records
        DEVICE_CA = "device-ca"  # X.509 P-256, intermediate under the root
        TUNNEL_CA = "tunnel-ca"  # SSH Ed25519
        HOST_CA = "host-ca"  # SSH Ed25519, doors' host keys
        CONTROL = "control"  # X.509 P-256, the worker's client certificate at relays

    class Holder(models.TextChoices):
        SIGNER = "signer"
        WORKER = "worker"

    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.PROTECT, related_name="keys")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    holder = models.CharField(max_length=8, choices=Holder.choices)
    public = models.TextField()  # base64 raw (grant, record), ssh line (tunnel-ca, host-ca), PEM certificate (X.509)
    wrapped = models.BinaryField()
    made_at = models.DateTimeField(default=timezone.now)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("project", "kind"), condition=Q(retired_at__isnull=True), name="one_live_key_of_a_kind"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} of {self.project_id or 'the installation'}"


class EngineerPair(models.Model):
    """The public part of a ``device-<id>.key``; the private part was shown once and is nowhere."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="engineer_pairs")
    public_key = models.TextField()
    made_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    replaced_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("project",), condition=Q(replaced_at__isnull=True), name="one_live_pair_per_project"
            ),
        )

    def __str__(self) -> str:
        return f"pair of {self.project_id}"

"""Records as they were signed, and the chains that they make. Rows are added and never changed."""

from django.db import models
from django.utils import timezone

from doorward_console.people.models import Project


class Record(models.Model):
    """One signed record. ``envelope`` is the proof; the other columns are read from it, to search by."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="records")
    author = models.CharField(max_length=40)
    epoch = models.PositiveIntegerField(default=0)
    n = models.PositiveBigIntegerField()
    digest = models.CharField(max_length=71)
    verb = models.CharField(max_length=60)
    at = models.DateTimeField(null=True, blank=True)  # by the author's knowledge
    received_at = models.DateTimeField(default=timezone.now)
    session = models.CharField(max_length=18, null=True, blank=True)
    device = models.CharField(max_length=18, null=True, blank=True)
    data = models.JSONField(default=dict)
    envelope = models.BinaryField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("author", "epoch", "n"), name="each_record_once"),)
        indexes = (
            models.Index(fields=("project", "-received_at")),
            models.Index(fields=("project", "device", "-received_at")),
            models.Index(fields=("session",)),
        )

    def __str__(self) -> str:
        return f"{self.author} {self.epoch}/{self.n} {self.verb}"


class Chain(models.Model):
    """How far an author's records stand without a gap, and the key that signs them."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="chains")
    author = models.CharField(max_length=40, unique=True)
    public_key = models.CharField(max_length=44)
    epoch = models.PositiveIntegerField(default=0)
    n = models.PositiveBigIntegerField(default=0)
    digest = models.CharField(max_length=71, null=True, blank=True)
    broken = models.CharField(max_length=200, blank=True)  # why the next record does not fit, or empty
    since = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.author} {self.epoch}/{self.n}"


class Pending(models.Model):
    """A fact that web or signer wrote down, in the order of their ids, waiting for the worker to chain and sign it."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="pending_records")
    verb = models.CharField(max_length=60)
    session = models.CharField(max_length=18, null=True, blank=True)
    device = models.CharField(max_length=18, null=True, blank=True)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.verb

"""Who this device is and whom it obeys: what joining gave it, as one document of public things.

Private keys are files beside it and nobody's business but their edge's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from doorward_protocol import fields
from doorward_protocol.fields import Malformed
from doorward_protocol.ids import DeviceId, ProjectId, is_id

NAME: Final = "identity"


@dataclass(frozen=True, slots=True)
class Identity:
    """What was pinned at joining."""

    device: DeviceId
    project: ProjectId
    name: str
    grant_keys: tuple[str, ...]
    record_keys: tuple[str, ...]
    mqtt_host: str
    mqtt_port: int

    @property
    def author(self) -> str:
        return f"device:{self.device}"


def document_from_identity(identity: Identity) -> dict[str, Any]:
    return {
        "v": 1,
        "device": identity.device,
        "project": identity.project,
        "name": identity.name,
        "grant_keys": list(identity.grant_keys),
        "record_keys": list(identity.record_keys),
        "mqtt": {"host": identity.mqtt_host, "port": identity.mqtt_port},
    }


def identity_from_document(document: Mapping[str, Any]) -> Identity:
    """Read an identity, also out of the console's answer to a join (protocol.md §9); raises Malformed."""
    device = fields.text(document, "device", longest=18)
    project = fields.text(document, "project", longest=18)
    mqtt = fields.mapping(document, "mqtt")
    if not is_id("d", device):
        raise Malformed("device", "a device id")
    if not is_id("p", project):
        raise Malformed("project", "a project id")
    return Identity(
        device=DeviceId(device),
        project=ProjectId(project),
        name=fields.text(document, "name", longest=200),
        grant_keys=fields.texts(document, "grant_keys"),
        record_keys=fields.texts(document, "record_keys"),
        mqtt_host=fields.text(mqtt, "host", longest=253),
        mqtt_port=fields.integer(mqtt, "port", least=1, most=65_535),
    )

"""Addresses of the pages."""

from allauth.account.views import login, logout, password_change
from django.urls import URLPattern, URLResolver, path

from doorward_console.pages.views import (
    batches,
    commands,
    device_settings,
    devices,
    door,
    events,
    forwards,
    history,
    keys,
    members,
    plain_relays,
    project,
    relays,
    tokens,
)

_PROJECT = "projects/<str:project_id>"
_DEVICE = f"{_PROJECT}/devices/<str:device_id>"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", project.home, name="home"),
    path("projects/", project.projects, name="projects"),
    path(f"{_PROJECT}/devices/", devices.devices, name="devices"),
    path(f"{_DEVICE}/", devices.device, name="device"),
    path(f"{_DEVICE}/door/", door.card, name="door"),
    path(f"{_DEVICE}/door/on/", door.on, name="door-on"),
    path(f"{_DEVICE}/door/off/", door.off, name="door-off"),
    path(f"{_DEVICE}/door/extend/", door.extend, name="door-extend"),
    path(f"{_DEVICE}/commands/", commands.card, name="commands"),
    path(f"{_DEVICE}/commands/ask/<str:verb>/", commands.ask, name="command-ask"),
    path(f"{_DEVICE}/commands/<str:command_id>/cancel/", commands.cancel, name="command-cancel"),
    path(f"{_DEVICE}/settings/", device_settings.settings, name="device-settings"),
    path(f"{_DEVICE}/settings/read/", device_settings.read, name="device-settings-read"),
    path(f"{_DEVICE}/forwards/", forwards.card, name="forwards"),
    path(f"{_DEVICE}/forwards/<str:forward>/", forwards.change, name="device-forward"),
    path(f"{_DEVICE}/way/", devices.way, name="device-way"),
    path(f"{_DEVICE}/join/", devices.join, name="device-join"),
    path(f"{_DEVICE}/licence/", devices.licence, name="device-licence"),
    path(f"{_DEVICE}/name/", devices.name, name="device-name"),
    path(f"{_DEVICE}/block/", devices.block, name="device-block"),
    path(f"{_DEVICE}/unblock/", devices.unblock, name="device-unblock"),
    path(f"{_DEVICE}/remove/", devices.remove, name="device-remove"),
    path(f"{_PROJECT}/commands/choose/<str:verb>/", batches.choose, name="batch-choose"),
    path(f"{_PROJECT}/commands/ask/<str:verb>/", batches.ask, name="batch-ask"),
    path(f"{_PROJECT}/commands/<str:batch_id>/", batches.batch, name="batch"),
    path(f"{_PROJECT}/commands/<str:batch_id>/stop/", batches.stop, name="batch-stop"),
    path(f"{_PROJECT}/relays/", relays.relays, name="relays"),
    path(f"{_PROJECT}/relays/plain/", plain_relays.add, name="relays-plain"),
    path(f"{_PROJECT}/relays/<str:relay_id>/", relays.relay, name="relay"),
    path(f"{_PROJECT}/relays/<str:relay_id>/plain/", plain_relays.change, name="relay-plain"),
    path(f"{_PROJECT}/relays/<str:relay_id>/remove/", relays.remove, name="relay-remove"),
    path(f"{_PROJECT}/keys/", keys.keys, name="keys"),
    path(f"{_PROJECT}/keys/relay-file/", keys.relay_file, name="relay-file"),
    path(f"{_PROJECT}/history/", history.history, name="history"),
    path(f"{_PROJECT}/history/export/", history.export, name="history-export"),
    path(f"{_PROJECT}/members/", members.members, name="members"),
    path(f"{_PROJECT}/members/<int:member_id>/", members.change, name="member"),
    path(f"{_PROJECT}/settings/", project.settings, name="settings"),
    path(f"{_PROJECT}/events/", events.events, name="events"),
    path("tokens/", tokens.tokens, name="tokens"),
    path("tokens/<int:token_id>/end/", tokens.end, name="token-end"),
    # Of allauth's own addresses these three and no others: accounts are made by owners, not by passers-by.
    path("sign-in/", login, name="account_login"),
    path("sign-out/", logout, name="account_logout"),
    path("password/", password_change, name="account_change_password"),
]

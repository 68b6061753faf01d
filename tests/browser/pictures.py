"""What the gallery takes pictures of, and what each file is called; documents may show these and no others."""

from typing import Final

PAGES: Final = (
    "sign-in", "first", "first-relay", "projects", "devices", "devices-filtered", "device-shut", "device-open",
    "device-opening", "device-failed", "device-added", "device-licence", "relays", "relay", "keys", "keys-made", "history", "history-all", "history-put-back",
    "members", "device-settings", "device-settings-changes", "device-settings-faults", "device-settings-json", "device-settings-json-fault", "settings", "tokens", "error", "password", "api", "dialog",
    "device-hookless", "dialog-reboot", "dialog-reset", "dialog-remove", "dialog-forward", "bulk-marked", "bulk-choose", "bulk",
)  # fmt: skip
PLACES: Final = {"desk": (1280, 860), "phone": (390, 844)}
THEMES: Final = ("light", "dark")

FILES: Final = frozenset(f"{page}-{place}-{theme}.png" for page in PAGES for place in PLACES for theme in THEMES)

"""The REST API: what the pages can do, for programs, with the same checks and the same sentences.

Mounted at ``/api/v1/``; its own page (OpenAPI) stands at ``/api/v1/docs``. Every error is ``{"code", "message", "next"}``.
"""

from doorward_console.api.application import api

__all__ = ["api"]

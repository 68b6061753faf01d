"""Errors as sentences: what happened, whose move it is, what to do. No stack trace, no shrug."""

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string

_API = "/api/"


def _answer(request: HttpRequest, status: int, title: str, message: str, next_step: str) -> HttpResponse:
    if request.path.startswith(_API):
        return JsonResponse({"code": f"http.{status}", "message": message, "next": next_step}, status=status)
    context = {"title": title, "message": message, "next": next_step}
    return render(request, "pages/error.html", context, status=status)


def _without_database(request: HttpRequest) -> HttpResponse:
    """Answer 503 without asking for anything, not even for who is signed in."""
    title = "The console's database does not work"
    message = "It is full, away or too busy. What you asked for may not have been done; doors that are open still end at their time."
    step = "Ask the administrator to run: doorward-console check. Look at the page again before you repeat what you asked for."
    if request.path.startswith(_API):
        return JsonResponse({"code": "console.no-database", "message": message, "next": step}, status=503)
    context = {"title": title, "message": message, "next": step, "request": request}
    return HttpResponse(render_to_string("pages/error.html", context), status=503)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001  # Django's signature
    """Answer 400."""
    return _answer(
        request, 400, "This request cannot be read", "The browser sent something that the console does not understand.",
        "Go back and try again; if it came from a program, look at what it sends.",
    )  # fmt: skip


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403 with the reason that was given."""
    said = str(exception) or "Your role in this project does not include this."
    return _answer(request, 403, "Not for your role", said, "Ask the project's owner, who can change your role.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404; what is not yours looks like what is not there."""
    said = str(exception.args[0]) if exception.args and isinstance(exception.args[0], str) else ""
    message = said or "There is nothing at this address."
    return _answer(request, 404, "Not found", message, "Check the address, or start from your projects.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500: our fault, written into the log; 503 where it is the database's."""
    if isinstance(sys.exc_info()[1], (OperationalError, InterfaceError)):
        return _without_database(request)
    return _answer(
        request, 500, "The console made a mistake",
        "This is a fault of doorward, not yours. What you asked for may not have been done; the log of the web process has the details.",
        "Look at the page again before you repeat it. If it happens again, tell the administrator the time.",
    )  # fmt: skip


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001  # Django's signature
    """Answer 403 to a form that does not carry this browser's secret."""
    return _answer(
        request, 403, "This form has gone stale",
        "The form was opened before you signed in, or in another browser, or it was sent by another site. Nothing was done.",
        "Open the page again and send the form from there.",
    )  # fmt: skip

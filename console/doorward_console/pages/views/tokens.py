"""A person's own API tokens: made and shown once, ended here."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from doorward_console.pages.access import user_of, who_asks
from doorward_console.people.queries import live_tokens_of
from doorward_console.people.tokens import end_token, make_token


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """Show the tokens, or make one and show it this once."""
    user = user_of(request)
    text = None
    name = " ".join(request.POST.get("name", "").split())[:100]
    if request.method == "POST":
        if not name:
            messages.error(request, "A token has a name, so that you know later which program holds it. Enter one.")
            return redirect("tokens")
        _, text = make_token(who_asks(request, user), name)
    context = {"tokens": live_tokens_of(user), "text": text, "name": name}
    answer = render(request, "pages/tokens.html", context)
    answer["Cache-Control"] = "no-store"
    return answer


@login_required
@require_POST
def end(request: HttpRequest, token_id: int) -> HttpResponse:
    """End one of the person's tokens."""
    if not end_token(who_asks(request, user_of(request)), token_id):
        raise Http404("You have no such token.")
    messages.success(request, "The token was ended; programs that used it are refused from now on.")
    return redirect("tokens")

"""Print: the form, the page of a print, and the list of the prints of a user."""

from __future__ import annotations

from uuid import UUID, uuid4

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from ezeep_async import EzeepError, NotFound, PrintFailed, is_retryable
from printing.forms import PrintForm
from printing.logins import logins
from printing.models import Print
from printing.prints import claim, follow, send
from printing.views import logged_in


@require_http_methods(["GET", "POST"])
def print_document(request: HttpRequest) -> HttpResponse:
    """Show the printers, then a form with the options of one, and print its document."""
    user = logged_in(request)
    with logins.session(user) as ezeep:
        printers = ezeep.printers.list().collect()
        chosen = request.POST.get("printer") or request.GET.get("printer")
        printer = next((each for each in printers if str(each.id) == chosen), None)
        shown = {"printers": printers, "printer": printer, "chosen": chosen}
        if printer is None:
            return render(request, "printing/print.html", shown, status=404 if chosen else 200)
        offered = ezeep.printers.properties(printer), ezeep.printing.supported_types()
        if request.method == "GET":
            shown["form"] = PrintForm(*offered, initial={"key": uuid4(), "printer": printer.id})
            return render(request, "printing/print.html", shown)
        form = shown["form"] = PrintForm(*offered, request.POST.copy(), request.FILES)
        if not form.is_valid():
            return render(request, "printing/print.html", shown, status=400)
        key, document, options = form.cleaned_data["key"], form.cleaned_data["document"], form.options()
        row = claim(key, user, document.name, printer)
        if row is not None:
            try:
                send(row, ezeep, document.file, printer, options)
            except (NotFound, PrintFailed, ValueError) as error:
                form.refuse(error)
                form.data["key"] = str(uuid4())  # nothing was printed: the next try has a key of its own
                return render(request, "printing/print.html", shown, status=400)
    return redirect("print", key)


@require_GET
def print_status(request: HttpRequest, key: UUID) -> HttpResponse:
    """Show the outcome of a print. The page loads itself again until the print has ended."""
    user = logged_in(request)
    row = get_object_or_404(Print, key=key, user=user)
    is_reachable = True
    if row.state == Print.State.ACCEPTED:
        try:
            with logins.session(user) as ezeep:
                follow(row, ezeep)
        except EzeepError as error:
            if not is_retryable(error):
                raise
            is_reachable = False  # asked again with the next load
    return render(request, "printing/print_status.html", {"print": row, "is_reachable": is_reachable})


@require_GET
def prints(request: HttpRequest) -> HttpResponse:
    """List the last prints of the user."""
    return render(
        request, "printing/prints.html", {"prints": Print.objects.filter(user=logged_in(request))[:50]}
    )

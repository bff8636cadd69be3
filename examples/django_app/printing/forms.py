"""The form with the options of a printer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from ezeep_async import PrinterProperties, PrintOptions, UnsupportedFileType, UnsupportedOption


def choice(label: str, choices: Sequence[tuple[str, str]]) -> forms.TypedChoiceField:
    """Return a field that is None for "as the printer is set"."""
    return forms.TypedChoiceField(
        label=label, choices=[("", "as the printer is set"), *choices], required=False, empty_value=None
    )


class OptionsForm(forms.Form):
    """What a printer can do with a document, also with one that the app makes itself."""

    # Browsers keep the fields of a page that is loaded again, except with this attribute.
    key = forms.UUIDField(widget=forms.HiddenInput({"autocomplete": "off"}))
    printer = forms.UUIDField(widget=forms.HiddenInput)
    copies = forms.IntegerField(min_value=1, max_value=100, initial=1)

    def __init__(self, properties: PrinterProperties, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        if papers := [(paper.name, paper.name) for paper in properties.papers if paper.name]:
            self.fields["paper"] = choice("Paper", papers)
        if properties.color:
            self.fields["color"] = choice("Color", [("yes", "color"), ("no", "black and white")])
        if properties.duplex:
            sides = [("off", "one side"), ("long-edge", "both sides"), ("short-edge", "both, short edge")]
            self.fields["duplex"] = choice("Sides", sides)
        if properties.orientations:
            self.fields["orientation"] = choice(
                "Orientation", [(each, each) for each in properties.orientations]
            )

    def options(self) -> PrintOptions:
        """Return the options that were chosen. What is None is as the printer is set."""
        chosen = {name: self.cleaned_data.get(name) for name in ("copies", "paper", "duplex", "orientation")}
        color = {"yes": True, "no": False}.get(self.cleaned_data.get("color"))
        return PrintOptions(**chosen, color=color)

    def refuse(self, error: Exception) -> None:
        """Show an error of ezeep at its field, or above the form."""
        match error:
            case UnsupportedOption() if error.option in self.fields:
                self.add_error(error.option, str(error))
            case UnsupportedFileType() if "document" in self.fields:
                self.add_error("document", str(error))
            case _:
                self.add_error(None, str(error))


class PrintForm(OptionsForm):
    """The same, with a document of the user."""

    document = forms.FileField(max_length=255)
    field_order = ("document",)

    def __init__(
        self, properties: PrinterProperties, types: Collection[str], *args: Any, **fields: Any
    ) -> None:
        super().__init__(properties, *args, **fields)
        self.types = types
        self.fields["document"].widget.attrs["accept"] = ",".join(f".{each}" for each in sorted(types))

    def clean_document(self) -> UploadedFile:
        """Refuse what the service does not print. Django itself refuses an empty file."""
        document = self.cleaned_data["document"]
        if document.size > settings.LARGEST_DOCUMENT:
            raise forms.ValidationError(f"The document has more than {settings.LARGEST_DOCUMENT:,} bytes.")
        if document.name.rpartition(".")[2].lower() not in self.types:
            raise forms.ValidationError(
                f"ezeep prints files of these types: {', '.join(sorted(self.types))}."
            )
        return document

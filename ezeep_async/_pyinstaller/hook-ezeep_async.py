"""What PyInstaller cannot see in the imports: data files, and modules that are imported by their names on first use."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules


# The data of the sandbox and of the demo.
datas = collect_data_files("ezeep_async")


def _is_needed(name: str) -> bool:
    """Leave out this hook and the pytest plugin: programs are frozen without PyInstaller and pytest."""
    return not name.startswith(("ezeep_async._pyinstaller", "ezeep_async.testing.plugin"))


# Commands, resources and token stores. Modules whose extra is not installed are skipped, with a warning.
hiddenimports = collect_submodules("ezeep_async", filter=_is_needed, on_error="ignore")

"""Which scripts a page's script imports, so that a browser asks for all of them at once. Knows files, no pages."""

import re
from pathlib import Path

# Static imports only: what is imported later is not wanted at once. Modules import each other as "./name.js".
_IMPORT = re.compile(r'^(?:import|export)\b[^"\';]*"\./([^"]+)";', re.MULTILINE)


def modules_of(folder: Path, name: str) -> list[str]:
    """The script and all that it imports, from the nearest to the farthest, as names in the folder."""
    found = [name]
    for module in found:
        imported = _IMPORT.findall((folder / module).read_text("utf-8"))
        # Names are relative to who imports; only vendored scripts are in folders, and those import nothing.
        found += [other for other in dict.fromkeys(imported) if other not in found]
    return found

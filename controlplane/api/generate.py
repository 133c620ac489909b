"""`python -m controlplane.api.generate [--check]`: write charts/kfleet and docs/reference, or say what has drifted.

Exit 0 when all is written or nothing differs, 3 when --check finds drift. This is the only module here that does I/O.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from controlplane.api import chart, reference

ROOT = Path(__file__).resolve().parents[2]
CHART_DIR = "charts/kfleet"
REFERENCE_DIR = "docs/reference"
EXIT_DRIFT = 3


def documents() -> dict[str, str]:
    """Path from the project's root -> text, for everything that is generated."""
    return {f"{CHART_DIR}/{name}": chart.to_yaml(items) for name, items in chart.files().items()} | {
        f"{REFERENCE_DIR}/{name}": text for name, text in reference.files().items()
    }


def drift(root: Path, wanted: Mapping[str, str]) -> list[str]:
    """What differs: files that are missing, changed by hand, or no longer generated."""
    found = []
    for path, text in wanted.items():
        file = root / path
        if not file.exists():
            found.append(f"{path} is missing")
        elif file.read_text() != text:
            found.append(f"{path} differs")
    return found + [f"{file.relative_to(root)} is no longer generated" for file in _left_over(root, wanted)]


def write(root: Path, wanted: Mapping[str, str]) -> None:
    """Afterwards `drift` finds nothing. Files that people wrote beside the generated ones are left alone."""
    for file in _left_over(root, wanted):
        file.unlink()
    for path, text in wanted.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def _left_over(root: Path, wanted: Mapping[str, str]) -> list[Path]:
    """Files that say they are generated and are not any more."""
    present = [*(root / CHART_DIR).glob("*.yaml"), *(root / REFERENCE_DIR).glob("*.md")]
    stale = (file for file in present if str(file.relative_to(root)) not in wanted)
    return sorted(file for file in stale if file.read_text().startswith((chart.HEADER, reference.GENERATED)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m controlplane.api.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 3 if a file is not as generated")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's root")
    options = parser.parse_args(arguments)
    wanted = documents()
    if not options.check:
        write(options.root, wanted)
        return 0
    found = drift(options.root, wanted)
    for line in found:
        sys.stderr.write(f"kfleet: {line}; run `make crds`\n")
    return EXIT_DRIFT if found else 0


if __name__ == "__main__":
    sys.exit(main())

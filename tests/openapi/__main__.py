"""
``python -m tests.openapi``: write the JSON that the platform serves, after a change of the YAML.

``python -m tests.openapi DIRECTORY``: compare what the platforms of a test run have responded with
the document.  The run must have had ``OPENAPI_SEEN=DIRECTORY`` in its environment.
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.openapi.document import JSON, Seen, document
from tests.openapi.record import read, undocumented


def compare(directory: str) -> int:
    """:return: the exit status: 1 if a response is not documented."""
    seen: set[Seen] = set()
    for name in os.listdir(directory):
        seen.update(read(os.path.join(directory, name)))
    found = {each._replace(path=document().route(each.path) or each.path) for each in seen}
    documented = set(document().responses())
    never = sorted(documented - found)
    print(f"{len(documented) - len(never)} of {len(documented)} documented responses were seen.")
    print("Never seen:", *(f"  {' '.join(map(str, each))}" for each in never), sep="\n")
    wrong = sorted(undocumented(seen))
    for each in wrong:
        print(f"Not documented: {' '.join(map(str, each))}")
    return 1 if wrong else 0


def main() -> int:
    """:return: the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", nargs="?", help="records of a test run")
    given = parser.parse_args()
    if given.directory is not None:
        return compare(given.directory)
    with open(JSON, "w", encoding="utf-8") as file:
        file.write(document().text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

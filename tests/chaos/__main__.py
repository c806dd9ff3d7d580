"""`python -m tests.chaos`: wounds a real Jeton under streams, and says of each fault what its readers lost.

Exit status 1 where anything was lost, doubled or wrong, or stood still for too long. docs/soak.md explains the lines.
"""

import argparse
import logging
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.answers import CATALOG
from tests.chaos.endurance import endure
from tests.chaos.report import Line
from tests.chaos.site import Site, running_site
from tests.chaos.soak import SCRIPTED_NAMES, STARTER_NAMES, scripted_line, scripts_for, starter_lines

STARTER_MAX_TOKENS = 300


def main() -> int:
    # What the code that is looked into says of torn files is no news here.
    logging.basicConfig(level=logging.ERROR)
    options = _parser().parse_args()
    is_starter = options.model == "starter"
    known = STARTER_NAMES if is_starter else SCRIPTED_NAMES
    names = known if options.fault == "all" else tuple(options.fault.split(","))
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no such fault of this model: {', '.join(unknown)}; there are {', '.join(known)}")
    has_failed = False
    with (
        tempfile.TemporaryDirectory(prefix="jeton-soak-") as folder,
        running_site(Path(folder), models_file=None if is_starter else CATALOG) as site,
    ):
        print(f"seed {options.seed}; the start took {site.start_seconds:.1f} s", flush=True)
        try:
            for line in _lines(site, names, options):
                print(line, *line.reasons(), sep="\n  ", flush=True)
                has_failed = has_failed or not line.is_ok
        finally:
            if options.log:
                Path(options.log).write_text(site.server.output, "utf-8")
    return 1 if has_failed else 0


def _lines(site: Site, names: tuple[str, ...], options: argparse.Namespace) -> Iterator[Line]:
    if options.model == "starter":
        yield from starter_lines(site, names, streams=options.streams, max_tokens=STARTER_MAX_TOKENS, seed=options.seed)
        return
    scripts = scripts_for(options.streams, seed=options.seed)
    given = {"streams": options.streams, "seconds": options.seconds, "seed": options.seed}
    for name in names:
        if name == "random" and options.minutes:
            yield endure(site, scripts, minutes=options.minutes, **given)
        else:
            yield scripted_line(site, scripts, name, **given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--streams", type=int, default=60, help="how many readers at once")
    parser.add_argument("--fault", default="all", help=f"all, or some of {', '.join(SCRIPTED_NAMES)}, with commas")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="draws the texts and the victims")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long a stream of the scripted model is")
    parser.add_argument("--model", choices=("scripted", "starter"), default="scripted")
    parser.add_argument("--minutes", type=float, default=0.0, help="with random: kill for so long, and audit then")
    parser.add_argument("--log", help="a file for what the server said")
    return parser


if __name__ == "__main__":
    sys.exit(main())

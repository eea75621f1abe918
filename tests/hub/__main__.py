"""`python -m tests.hub --folder DIR`: make the twins once, serve them until Ctrl-C, and say how to use them."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tests.hub.server import HubTwin
from tests.hub.store import Repository

DATASETS = ("flickr30k", "mscoco")

ABOUT = """\
A local twin of the Hugging Face Hub, for trying the whole story without the internet. It holds
Flickr30K and MSCOCO as the Hub has them (repositories, columns, splits, file names, ids), with
pictures of four coloured corners. Results on them say nothing about any method.
"""
MORE = """\
example, in two terminals:
  python -m tests.hub --folder /tmp/twin --size whole
  HF_ENDPOINT=... HF_HOME=... REMATCH_REVISIONS=... rematch reproduce hat flickr30k --profile reduced --device cpu

The variables are printed when the twin is up. Remove the folder to make the twins anew.
"""


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hub",
        description=ABOUT,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the twins and the cache are kept")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    parser.add_argument(
        "--size",
        choices=["tiny", "whole"],
        default="tiny",
        help="tiny: every known source, a dozen images each, which is not the published split and so needs "
        "--unverified. whole: the first source of each dataset, all ids, 16x16 pixels, 25 MB (default: tiny)",
    )
    parser.add_argument(
        "--dataset",
        choices=DATASETS,
        action="append",
        help="of the whole ones only this; may be given again (default: all)",
    )
    return parser


def make_repositories(folder: Path, size: str, datasets: Sequence[str]) -> list[Repository]:
    """The twins below `folder`, made unless they are there."""
    from tests.hub.repositories import tiny_repositories, whole_repositories  # takes seconds

    if size == "tiny":
        return tiny_repositories(folder / "tiny")
    return whole_repositories(folder / "whole", datasets)


def instructions(twin: HubTwin, folder: Path, size: str) -> str:
    """What to type to use a twin."""
    from tests.hub.client import environment

    variables = environment(twin.url, (folder / f"cache-{size}").resolve())
    flag = " --unverified" if size == "tiny" else ""
    lines = [f"{len(twin.repositories)} repositories at {twin.url} (Ctrl-C ends):"]
    lines += [f"  {name}" for name in twin.repositories]
    lines += ["", "in another terminal, line by line:"]
    lines += [f"  export {name}={value}" for name, value in variables.items()]
    lines += ["  rematch data verify flickr30k"]
    lines += [f"  rematch reproduce hat flickr30k --profile reduced --device cpu{flag}"]
    return "\n".join(lines)


def serve(repositories: Sequence[Repository], options: argparse.Namespace) -> None:
    """Answer until interrupted, then say what was asked for."""
    with HubTwin(repositories, options.port) as twin:
        print(instructions(twin, options.folder, options.size), flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            sent = sum(item.sent for item in twin.requests)
            print(f"\nended; requests: {len(twin.requests)}, sent: {sent / 1e6:.1f} MB")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the twins, serve them until Ctrl-C."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    # a shell's background commands ignore an interrupt unless told otherwise
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    start = time.perf_counter()
    repositories = make_repositories(options.folder, options.size, options.dataset or DATASETS)
    print(f"twins ready after {time.perf_counter() - start:.1f} s in {options.folder}")
    try:
        serve(repositories, options)
    except OSError as error:
        parser.error(f"port {options.port}: {error.strerror}; choose another, or leave --port out")


if __name__ == "__main__":
    main()

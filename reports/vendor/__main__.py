"""`python -m reports.vendor`: build this folder anew from the npm registry.

Downloads the tarball that lightweight-charts.json names, checks it against npm's own sha512, takes
the script and the licence out of it and replaces the files here in one step each. With
`--version X` it first asks the registry where that version is and what it hashes to.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import tarfile
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from reports.commands import guarded
from reports.files import ReportError, write_whole
from reports.vendor import FOLDER, LICENCE, RECORD, SCRIPT, Vendored, vendored

REGISTRY = "https://registry.npmjs.org"
TIMEOUT_SECS = 60


def rebuild(build: Vendored, folder: Path = FOLDER) -> Vendored:
    """Write the script, its licence and the record of `build` into `folder`."""
    tarball = _fetched(build.tarball)
    check_integrity(tarball, build.integrity)
    script = file_in_tarball(tarball, build.script_in_tarball)
    licence = file_in_tarball(tarball, f"package/{LICENCE}")
    build = replace(build, script_sha256=hashlib.sha256(script).hexdigest())
    write_whole(folder / SCRIPT, script.decode("utf-8"))
    write_whole(folder / LICENCE, licence.decode("utf-8"))
    write_whole(folder / RECORD, json.dumps(asdict(build), indent=2) + "\n")
    return build


def check_integrity(content: bytes, integrity: str) -> None:
    """Compare with a hash as npm writes it; ReportError if it is another, or of another kind."""
    kind, _, wanted = integrity.partition("-")
    if kind != "sha512":
        raise ReportError(f"the registry's hash is {kind}, and sha512 is needed")
    found = base64.b64encode(hashlib.sha512(content).digest()).decode("ascii")
    if found != wanted:
        raise ReportError(f"the tarball's sha512 is {found}, and {wanted} was expected")


def file_in_tarball(tarball: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
        try:
            member = archive.extractfile(name)
        except KeyError:
            member = None
        if member is None:
            raise ReportError(f"the tarball has no file {name}")
        return member.read()


def published(name: str, version: str) -> Vendored:
    """What the registry says of a version."""
    entry = json.loads(_fetched(f"{REGISTRY}/{name}/{version}"))
    return replace(
        vendored(),
        version=entry["version"],
        licence=entry["license"],
        tarball=entry["dist"]["tarball"],
        integrity=entry["dist"]["integrity"],
    )


def _fetched(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECS) as answer:
            content: bytes = answer.read()
            return content
    except OSError as error:
        raise ReportError(f"{address} cannot be fetched: {error}") from error


def _run(version: str | None) -> None:
    build = vendored() if version is None else published(vendored().name, version)
    build = rebuild(build)
    print(f"{build.name} {build.version}: {FOLDER / SCRIPT}, sha256 {build.script_sha256}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports.vendor",
        description="Build the vendored chart library anew from the npm registry.",
    )
    parser.add_argument("--version", metavar="X", help="take another version than the recorded one")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(argv)
    return guarded(lambda: _run(args.version), debug=args.debug)


if __name__ == "__main__":
    raise SystemExit(main())

"""The vendored chart library: which build it is, that it is unchanged, and how it is rebuilt."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import tomllib
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest

from reports.files import ReportError
from reports.pages import chart_scripts, fills_script, render
from reports.vendor import FOLDER, attribution, chart_library, vendored
from reports.vendor import __main__ as rebuilding

ROOT = Path(__file__).resolve().parents[2]
TAR_NAME = "package/dist/lightweight-charts.standalone.production.js"


def test_the_build_is_the_recorded_one_and_unchanged():
    build = vendored()
    script = chart_library()
    assert hashlib.sha256(script.encode()).hexdigest() == build.script_sha256
    assert f"Lightweight Charts™ v{build.version}" in script[:300]
    assert build.licence == "Apache-2.0"
    assert build.integrity.startswith("sha512-")
    assert build.tarball.endswith(f"{build.name}-{build.version}.tgz")


def test_its_licence_and_notice_are_beside_it_and_its_notice_on_pages():
    assert "Apache License" in (FOLDER / "LICENSE").read_text()
    assert attribution().startswith("TradingView Lightweight Charts™ Copyright")
    assert "https://www.tradingview.com/" in attribution()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packaged = project["tool"]["setuptools"]["package-data"]["reports"]
    room = ROOT / "reports"
    files = {path for pattern in packaged for path in room.glob(pattern)}
    kept = {
        path for path in room.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert kept == files
    assert {"reports/vendor/LICENSE", "reports/vendor/NOTICE"} <= set(
        project["project"]["license-files"]
    )


def tarball(content=b"let a;", name=TAR_NAME):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as files:
        for path, text in ((name, content), ("package/LICENSE", b"Apache License")):
            member = tarfile.TarInfo(path)
            member.size = len(text)
            files.addfile(member, io.BytesIO(text))
    return archive.getvalue()


def build_of(content, tmp_path):
    """A record of a tarball that lies on this machine."""
    path = tmp_path / "package.tgz"
    path.write_bytes(content)
    integrity = "sha512-" + b64encode(hashlib.sha512(content).digest()).decode()
    return replace(
        vendored(), tarball=path.as_uri(), integrity=integrity, script_in_tarball=TAR_NAME
    )


def test_a_rebuild_takes_the_script_and_the_licence_and_records_the_hash(tmp_path):
    folder = tmp_path / "vendor"
    build = rebuilding.rebuild(build_of(tarball(), tmp_path), folder)
    assert (folder / "lightweight-charts.js").read_text() == "let a;"
    assert (folder / "LICENSE").read_text() == "Apache License"
    assert json.loads((folder / "lightweight-charts.json").read_text())["script_sha256"] == (
        build.script_sha256
    ) == hashlib.sha256(b"let a;").hexdigest()  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == [
        "LICENSE", "lightweight-charts.js", "lightweight-charts.json"
    ]  # fmt: skip


def test_another_tarball_than_the_recorded_one_changes_nothing(tmp_path):
    build = build_of(tarball(), tmp_path)
    (tmp_path / "package.tgz").write_bytes(tarball(b"let evil;"))
    with pytest.raises(ReportError, match=r"^the tarball's sha512 is .* was expected$"):
        rebuilding.rebuild(build, tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()
    with pytest.raises(ReportError, match=r"^the registry's hash is sha1, and sha512 is needed$"):
        rebuilding.check_integrity(b"", "sha1-abc")


def test_a_tarball_without_the_script_and_an_address_without_a_tarball(tmp_path):
    with pytest.raises(ReportError, match=r"^the tarball has no file package/dist/"):
        rebuilding.rebuild(build_of(tarball(name="other.js"), tmp_path), tmp_path / "vendor")
    build = replace(vendored(), tarball=(tmp_path / "none.tgz").as_uri())
    with pytest.raises(ReportError, match=r"none\.tgz cannot be fetched: "):
        rebuilding.rebuild(build, tmp_path / "vendor")


def test_scripts_of_the_room_are_whole_and_none_could_end_early(tmp_path):
    scripts = [*chart_scripts(), fills_script()]
    for script in scripts:
        assert not re.search(r"</script|<!--|\r", script, re.IGNORECASE)
        assert "eval(" not in script
        assert "http" not in re.sub(r"https?://(www\.(tradingview|w3|apache)|schemas)", "", script)
    with pytest.raises(ReportError, match="a script of this room holds '</script'"):
        render("page.html", ["alert('</script>')"])
    if shutil.which("node"):
        for script in scripts:
            (tmp_path / "script.js").write_text(script)
            subprocess.run(["node", "--check", str(tmp_path / "script.js")], check=True)

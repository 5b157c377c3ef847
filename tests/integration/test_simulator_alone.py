"""The simulator without the product: its command, the control request, and the example of its README."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.simulator_support import IMMUTABLE, letter

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "graph_simulator" / "README.md"


def test_the_command_prints_what_a_client_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "graph_simulator", "--mailbox", "a@example.com", "--mailbox", "b@example.com"]
    with subprocess.Popen(
        [*command, "--folder", str(tmp_path)], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Press"):
            lines.append(process.stdout.readline())
            assert lines[-1], process.communicate()[1]
        values = dict(line.strip().split("=", 1) for line in lines[:7])
        try:
            assert values["MAILBOXES"] == "a@example.com,b@example.com"
            assert values["CA_FILE"] == str(tmp_path / "ca.pem")
            control_url = re.search(r"https://\S+/simulator/mailboxes/a@example\.com", "".join(lines))
            assert control_url is not None
            _deliver_and_read(values, control_url[0])
        finally:
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def _deliver_and_read(values: dict[str, str], control_url: str) -> None:
    trust = ssl.create_default_context(cafile=values["CA_FILE"])
    with httpx.Client(verify=trust, trust_env=False) as client:
        delivered = client.post(control_url, content=letter())
        assert delivered.status_code == 201
        assert client.post(f"{control_url}/Archive/2026", content=letter(2) * 50_000).status_code == 201
        assert client.get(control_url).status_code == 404
        form = {
            "grant_type": "client_credentials",
            "client_id": values["CLIENT_ID"],
            "client_secret": values["CLIENT_SECRET"],
            "scope": f"{values['SIGN_IN_AUTHORITY']}/.default",
        }
        token_url = f"{values['SIGN_IN_AUTHORITY']}/{values['TENANT_ID']}/oauth2/v2.0/token"
        token = client.post(token_url, data=form).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}", **IMMUTABLE}
        user = f"{values['GRAPH_ENDPOINT']}/users/a@example.com"
        content = client.get(f"{user}/messages/{delivered.json()['id']}/$value", headers=headers)
        assert content.content == letter()
        assert client.get(f"{user}/mailFolders/archive", headers=headers).json()["childFolderCount"] == 1
        other = client.get(f"{values['GRAPH_ENDPOINT']}/users/b@example.com/mailFolders/inbox", headers=headers)
        assert other.json()["totalItemCount"] == 0


def test_the_command_reports_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    command = [sys.executable, "-m", "graph_simulator", "--folder", str(file)]
    ran = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: the simulator cannot be started: ")
    assert "--folder" in ran.stderr


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(example, str(README), "exec"), namespace)
    namespace["test_a_message_is_read"](tmp_path)


def test_the_simulator_does_not_import_the_product() -> None:
    code = "import sys, graph_simulator, graph_simulator.__main__; print(*sorted(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, timeout=60, check=True, env=os.environ
    )
    packages = {module.partition(".")[0] for module in ran.stdout.split()}
    assert packages.isdisjoint({"shared", "mailroom_cli", "functions_host", "azure", "msgraph"})

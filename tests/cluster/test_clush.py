# SPDX-License-Identifier: Apache-2.0
"""A plan through ssh: two hosts, which are two daemons on loopback with a directory that they share."""

import getpass
import os
import socket
import subprocess

import pytest

from conftest import MATRIX, call_in, kill_all, measured, processes_of


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Two ssh daemons, east and west; the arguments that let clush find them."""
    folder = tmp_path_factory.mktemp("ssh")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    home = folder / "home"
    home.mkdir()
    # sshd wants this directory, which the package's service would make.
    if os.getuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    daemons = []
    client = (
        f"IdentityFile {folder}/user\nIdentitiesOnly yes\nUser {getpass.getuser()}\nStrictHostKeyChecking accept-new\n"
    )
    client += f"UserKnownHostsFile {folder}/known\nBatchMode yes\nLogLevel ERROR\n"
    for name in ("east", "west"):
        port = free_port()
        (folder / f"{name}.conf").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
            f"StrictModes no\nUsePAM no\nPidFile none\nSubsystem sftp internal-sftp\n"
        )
        with open(folder / f"{name}.log", "ab") as log:
            daemons.append(
                subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", folder / f"{name}.conf"], stdout=log, stderr=log)
            )
        client += f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  HostKeyAlias {name}\n"
    client += "Host gone\n  HostName 127.0.0.1\n  Port 1\n"
    (folder / "client.conf").write_text(client)
    yield home, ["--engine=clush", "--clush=-o", f"--clush=-F {folder}/client.conf", f"--place={home}"]
    for daemon in daemons:
        daemon.terminate()
        daemon.wait(timeout=30)
    kill_all(processes_of(folder))


def test_two_hosts(hosts, tmp_path, eventually):
    home, reach = hosts
    (tmp_path / "matrix").write_text(MATRIX)
    submit = ["submit", "matrix", "--hosts=east,west", *reach, "--out=out"]
    eventually(lambda: call_in(tmp_path, *submit).returncode == 0, "ssh daemons")
    eventually(lambda: sum("done " in p.read_text() for p in home.glob("*/results/*/000/state")) == 2, "the ends")
    assert call_in(tmp_path, "status", "--out=out").stdout == "out (clush): 2 done, 0 running, 0 waiting, 0 failed\n"
    places = sorted(path.name for path in home.iterdir())
    assert len(places) == 2 and places[0].endswith("-east") and places[1].endswith("-west")
    collected = call_in(tmp_path, "collect", "--out=out")
    assert collected.stdout == "out/collected/east: 2 of 4 files\nout/collected/west: 2 of 4 files\n"
    assert (collected.returncode, collected.stderr) == (
        4,
        "cluster: east and west are one machine: its results count once\n",
    )
    rows = measured(tmp_path / "out/collected/east")
    assert rows == measured(tmp_path / "out/collected/west") and len(rows) == 3 * 2 * 6
    again = call_in(tmp_path, *submit)
    assert (again.returncode, again.stdout) == (0, "out: all tasks done; scripts/cluster collect --out=out\n")


def test_a_host_that_is_gone(hosts, tmp_path):
    _, reach = hosts
    (tmp_path / "matrix").write_text(MATRIX)
    done = call_in(tmp_path, "submit", "matrix", "--hosts=east,gone", *reach, "--out=out")
    assert done.returncode == 3 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("cluster: gone: clush to gone: ") and "Connection refused" in done.stderr
    assert not (tmp_path / "out" / "results" / "east").exists()

# SPDX-License-Identifier: Apache-2.0
"""A Slurm of one node on loopback: its own folder, key and ports, started and stopped by the test."""

import getpass
import os
import secrets
import signal
import socket
import subprocess
from pathlib import Path

from conftest import kill_all, processes_of

NODE = "node1"
PARTITION = "quick"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def configuration(folder: Path) -> str:
    host, user = socket.gethostname(), getpass.getuser()
    return f"""ClusterName=hzbench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=2
SlurmdTimeout=6
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={NODE} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN
PartitionName={PARTITION} Nodes={NODE} Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "slurm.conf").write_text(configuration(folder))
        # Nothing here is tracked by groups; to find the version by itself, slurmd wants a mounted /sys/fs/cgroup.
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        folder.chmod(0o755)
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        munge = [
            f"--{w}={folder}/munge.{w.split('-')[0]}"
            for w in ("key-file", "socket", "pid-file", "log-file", "seed-file")
        ]
        self.start("munged", "--foreground", "--force", *munge)
        self.start("slurmctld", "-D", "-c")
        self.start("slurmd", "-D", "-N", NODE)

    def start(self, name: str, *arguments: str) -> None:
        with open(self.folder / f"{name}.log", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                [f"/usr/sbin/{name}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def ask(self, *command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={**os.environ, **self.environment}
        )
        return done.stdout.strip()

    def is_idle(self) -> bool:
        for name, daemon in self.daemons.items():
            said = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-3:]
            assert daemon.poll() is None, f"{name} has ended: {said}"
        return self.ask("sinfo", "-h", "-o", "%t") == "idle"

    def kill_node(self) -> None:
        """The node dies: its daemon and all that runs on it are gone at once."""
        others = {self.daemons[name].pid for name in ("munged", "slurmctld")}
        kill_all(pid for pid in processes_of(self.folder) if pid not in others)
        self.daemons["slurmd"].wait(timeout=60)

    def stop(self) -> None:
        for name in ("slurmd", "slurmctld", "munged"):  # one after the other: each asks the ones behind it to the end
            self.daemons[name].send_signal(signal.SIGTERM)
            try:
                self.daemons[name].wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.daemons[name].kill()
        kill_all(processes_of(self.folder))

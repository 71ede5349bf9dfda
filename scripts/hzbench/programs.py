# SPDX-License-Identifier: Apache-2.0
"""Real programs on each allocator: does each print what it prints on the C library, how long does it take, what does it
hold?

One table of programs serves the test suite (a program a test), the table of docs and the timing. Every program runs
under hzrun, which proves that the allocator took; what a program prints is made free of times, names of temporary files
and the like by the program's own entry here, and must then be equal to the byte.
"""

import ftplib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from . import allocators, cli, stats
from .allocators import SYSTEM as BASELINE
from .allocators import named
from .errors import UNAVAILABLE, InputError

OURS = named(allocators.OURS)
PEERS = named(allocators.PEER)
LOADS = Path(__file__).with_name("loads")
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240  # of one command, on a loaded machine

Argument: TypeAlias = str | Path  # of a command
Times: TypeAlias = list[tuple[float, float]]  # (seconds, peak MiB) of each timed command


class Failure(Exception):
    """A program that did not do its work: one line."""


class Stage:
    """Copies of hzrun and the libraries in a directory that every user can read."""

    def __init__(self, build: str | Path, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.directory.chmod(0o755)
        for name in ["hzrun", "libhzrun.so", *(f"allocators/{a}/lib{a}.so" for a in OURS)]:
            shutil.copy(Path(build) / name, self.directory)

    def command(self, allocator: str, argv: Iterable[Argument], stats_file: Path | None = None) -> list[str]:
        # The path of a library of ours, so that no other copy is found; peers by name.
        which = str(self.directory / f"lib{allocator}.so") if allocator in OURS else allocator
        options = [f"--stats={stats_file}"] if stats_file else []
        return [str(self.directory / "hzrun"), *options, which, "--", *map(str, argv)]


class Run:
    """One run of a program: an allocator, a directory of its own, and the commands that it has started."""

    def __init__(self, stage: Stage, allocator: str, directory: str | Path, times: Times | None = None) -> None:
        self.stage = stage
        self.allocator = allocator
        self.directory = Path(directory)
        self.times = times  # where timed() puts (seconds, peak MiB)

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        keep = ("PATH", "HOME", "TMPDIR", "USER", "LOGNAME")
        return {
            **{k: os.environ[k] for k in keep if k in os.environ},
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            **(extra or {}),
        }

    def plain(self, *argv: Argument, env: dict[str, str] | None = None, input: bytes | None = None) -> bytes:
        """A command on the C library: what prepares the work or looks at it."""
        return self._run([str(a) for a in argv], env, input)

    def __call__(self, *argv: Argument, env: dict[str, str] | None = None, input: bytes | None = None) -> bytes:
        """A command on the allocator; its output."""
        return self._run(self.stage.command(self.allocator, argv), env, input)

    def timed(self, *argv: Argument, env: dict[str, str] | None = None, input: bytes | None = None) -> bytes:
        """The same, and the one whose time and memory are taken when somebody asks."""
        if self.times is None:
            return self(*argv, env=env, input=input)
        file = self.directory / "stats.txt"
        begin = time.monotonic()
        output = self._run(self.stage.command(self.allocator, argv, file), env, input)
        seconds = time.monotonic() - begin
        largest = re.search(r"largest process ([\d.]+) MiB", file.read_text())
        if largest is None:
            raise Failure("hzrun --stats names no largest process")
        self.times.append((seconds, float(largest[1])))
        return output

    def _run(self, argv: list[str], env: dict[str, str] | None, input: bytes | None) -> bytes:
        try:
            done = subprocess.run(
                argv,
                input=input,
                stdin=None if input is not None else subprocess.DEVNULL,
                capture_output=True,
                cwd=self.directory,
                env=self.environment(env),
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{Path(argv[0]).name}: more than {SECONDS} s") from error
        if done.returncode != 0:
            lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or ["no message"]
            raise Failure(f"status {done.returncode}: {lines[-1][:300]}")
        return done.stdout

    def start(
        self, *argv: Argument, env: dict[str, str] | None = None, connection: socket.socket | None = None
    ) -> "Service":
        """A service on the allocator, in a group of processes of its own; `with` stops it. `connection`: its input and
        output."""
        return Service(self.stage.command(self.allocator, argv), self.directory, self.environment(env), connection)


class Service:
    def __init__(
        self, argv: list[str], directory: Path, env: dict[str, str], connection: socket.socket | None = None
    ) -> None:
        self.log = open(Path(directory) / "service.log", "ab")
        self.process = subprocess.Popen(
            argv,
            stdin=connection.fileno() if connection else subprocess.DEVNULL,
            stdout=connection.fileno() if connection else self.log,
            stderr=self.log,
            cwd=directory,
            env=env,
            start_new_session=True,
        )

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(timeout=30)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self.log.close()

    def until(self, ready: Callable[[], bool], what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None or time.monotonic() > end:
                tail = Path(self.log.name).read_text(errors="replace").strip().splitlines()[-1:]
                raise Failure(f"{what}: not ready: {' '.join(tail)[:300]}")
            time.sleep(0.05)


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


# ---- the light ones ------------------------------------------------------------------------------------------------

PYTHON = "/usr/bin/python3"  # Debian's, whose test modules are installed


def python(run: Run) -> bytes:
    # PYTHONMALLOC: every object is the allocator's, not only those above 512 bytes.
    return run(PYTHON, LOADS / "python_modules.py", env={"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1"})


def python_objects(run: Run) -> bytes:
    return run.timed(PYTHON, LOADS / "python_objects.py", env={"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1"})


def perl(run: Run) -> bytes:
    return run.timed("perl", LOADS / "perl.pl", env={"PERL_HASH_SEED": "1", "PERL_PERTURB_KEYS": "0"})


def lua(run: Run) -> bytes:
    return run.timed("lua5.4", LOADS / "lua.lua")


def sqlite(run: Run) -> bytes:
    return run.timed("sqlite3", "work.db", input=(LOADS / "sqlite.sql").read_bytes())


def php(run: Run) -> bytes:
    return run("php", LOADS / "php.php")


def git(run: Run) -> bytes:
    date = {
        "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
        "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
        "HOME": str(run.directory),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    run("git", "init", "-q", "-b", "main", "source", env=date)
    stream = b"".join(
        b"commit refs/heads/main\ncommitter a <a@b> %d +0000\ndata 2\nc\nM 100644 inline f%d\ndata %d\n%s\n"
        % (1767225600 + i, i % 50, len(body := b"line %d\n" % i * (20 + i % 400)), body)
        for i in range(400)
    )
    run("git", "-C", "source", "fast-import", "--quiet", env=date, input=stream)
    run("git", "-C", "source", "reset", "-q", "--hard", env=date)
    run("git", "clone", "-q", "--no-local", "source", "copy", env=date)
    run("git", "-C", "copy", "-c", "pack.threads=4", "gc", "-q", "--aggressive", env=date)
    fsck = run("git", "-C", "copy", "fsck", "--full", "--strict", env=date)
    grep = run("git", "-C", "copy", "grep", "-c", "line 3", env=date)
    log = run("git", "-C", "copy", "log", "--stat", "--format=%H %T", env=date)
    return fsck + grep + digest(log)


def gcc(run: Run) -> bytes:
    output = b""
    for name in ["hz5_malloc", "hz5_run", "hz5_heap", "hz4_cache", "hz3_list"]:
        source = ROOT / "allocators" / name[:3] / f"{name}.c"
        command: Callable[..., bytes] = run
        if name == "hz5_malloc":
            command = run.timed
        command(
            "gcc",
            "-std=gnu11",
            "-D_GNU_SOURCE",
            "-O2",
            "-g",
            '-DHZBENCH_VERSION="x"',
            "-DSIZECLASS_FIRST_SLOT=118u",
            f"-fdebug-prefix-map={run.directory}=.",
            "-c",
            source,
            "-o",
            "out.o",
        )
        output += digest((run.directory / "out.o").read_bytes())
    return output


def ghostscript(run: Run) -> bytes:
    run.timed(
        "gs",
        "-q",
        "-dBATCH",
        "-dNOPAUSE",
        "-dSAFER",
        "-sDEVICE=ppmraw",
        "-r100",
        "-sOutputFile=page%d.ppm",
        LOADS / "page.ps",
    )
    pages = sorted(run.directory.glob("page*.ppm"))
    return b"".join(digest(page.read_bytes()) for page in pages) + b"%d" % len(pages)


# ---- the heavy ones ------------------------------------------------------------------------------------------------


def node(run: Run) -> bytes:
    return run("node", LOADS / "node.js")


def redis(run: Run) -> bytes:
    socket = run.directory / "redis.sock"

    def client(*arguments: str, input: bytes | None = None) -> bytes:
        return run("redis-cli", "-s", socket, *arguments, input=input)

    def serve() -> Service:
        # No port: only this socket.
        service = run.start(
            "redis-server",
            "--port",
            "0",
            "--unixsocket",
            socket,
            "--save",
            "",
            "--dir",
            run.directory,
            "--daemonize",
            "no",
            "--io-threads",
            "2",
        )

        def answers() -> bool:
            try:
                return socket.exists() and run.plain("redis-cli", "-s", socket, "ping") == b"PONG\n"
            except Failure:
                return False

        service.until(answers, "redis-server")
        return service

    load = "".join(
        f"HSET h{i % 700} f{i} {'v' * (1 + i % 300)}\nZADD z{i % 40} {i} m{i}\nAPPEND a{i % 90} {i}\n"
        for i in range(9000)
    )
    with serve():
        client("--pipe", input=load.encode())
        client("bgsave")
        run(
            "redis-benchmark",
            "-s",
            socket,
            "-n",
            "8000",
            "-c",
            "20",
            "-P",
            "8",
            "-q",
            "-t",
            "set,get,incr,lpush,lpop,sadd,hset",
        )
        while b"rdb_bgsave_in_progress:1" in client("info", "persistence"):
            time.sleep(0.05)
        if b"rdb_last_bgsave_status:ok" not in client("info", "persistence"):
            raise Failure("the background save failed")
        client("memory", "purge")
        before = client("dbsize")
        client("save")
    with serve():
        fields = b"\n".join(sorted(client("hgetall", "h77").splitlines()))  # the order is the hash seed's
        return before + client("dbsize") + fields + b"\n" + client("zrange", "z7", "0", "50") + client("strlen", "a3")


def postgres(run: Run) -> bytes:
    """initdb, pgbench and a query, as a user that is not root and on a socket only."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    user = []
    if os.getuid() == 0:
        user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        shutil.chown(run.directory, "nobody", "nogroup")
    env = {
        "HOME": str(run.directory),
        "TMPDIR": str(run.directory),
        "PATH": f"{places[-1]}:{os.environ['PATH']}",
        "PGHOST": str(run.directory),
        "PGUSER": "tester",
        "PGDATABASE": "postgres",
    }

    def on(*argv: Argument, input: bytes | None = None) -> bytes:
        return run._run([*user, *run.stage.command(run.allocator, argv)], env, input)

    data = run.directory / "data"
    on("initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync", "--no-instructions", "--locale=C.UTF-8")
    server = [
        *user,
        *run.stage.command(
            run.allocator,
            [
                "postgres",
                "-D",
                data,
                "-k",
                run.directory,
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "shared_buffers=16MB",
            ],
        ),
    ]
    with Service(server, run.directory, run.environment(env)) as service:
        service.until(
            lambda: subprocess.run(
                [places[-1] / "pg_isready", "-q", "-h", run.directory], env=run.environment()
            ).returncode
            == 0,
            "postgres",
        )
        on("pgbench", "-q", "-i", "-s", "1", "-n")
        on("pgbench", "-n", "-c", "4", "-j", "2", "-t", "60")
        return on(
            "psql",
            "-At",
            input=(
                b"select count(*), sum(aid) from pgbench_accounts; select count(*) from pgbench_history;\n"
                b"select sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts;\n"
                b"select md5(string_agg(x::text, ',' order by x desc)) from generate_series(1, 60000) x;\n"
                b"create table t as select x, md5(x::text) h from generate_series(1, 20000) x; create index on t(h);\n"
                b"select count(*) from t a join t b on a.h = b.h; vacuum full t; select max(h) from t;\n"
            ),
        )


FTP_ERRORS: tuple[type[Exception], ...] = (*ftplib.all_errors, AssertionError)


def vsftpd(run: Run) -> bytes:
    """Started for one connection, as inetd does. Its processes lower RLIMIT_AS, change the user and enter a sandbox."""
    files, empty = run.directory / "files", run.directory / "empty"
    for path in (files / "below", empty):
        path.mkdir(parents=True)
    for i in range(40):
        (files / f"f{i}").write_bytes(b"line %d\n" % i * (700 * i))
    for path in (files, empty):
        path.chmod(0o555)  # it refuses what it could write to
    user = "nopriv_user=nobody" if os.getuid() == 0 else "run_as_launching_user=YES"
    settings = run.directory / "vsftpd.conf"
    settings.write_text(
        "listen=NO\nlisten_ipv6=NO\nanonymous_enable=YES\nlocal_enable=NO\nno_anon_password=YES\n"
        f"xferlog_enable=NO\nanon_root={files}\nsecure_chroot_dir={empty}\n{user}\n"
    )
    client = ftplib.FTP(timeout=60)
    # It wants an address of the Internet's: this machine's own, at a port that the kernel chooses.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client.sock = socket.create_connection(listener.getsockname(), timeout=60)
        connection, _ = listener.accept()
    client.host, client.af, client.file = "127.0.0.1", client.sock.family, client.sock.makefile("r", encoding="utf-8")
    output = []
    with client, connection, run.start("/usr/sbin/vsftpd", settings, connection=connection):
        connection.close()
        try:
            output += [client.getresp(), client.login(), *sorted(client.nlst())]
            for i in range(0, 40, 3):
                parts: list[bytes] = []
                client.retrbinary(f"RETR f{i}", parts.append)
                output.append(f"{client.size(f'f{i}')} {digest(b''.join(parts)).decode()}")
            output += [client.cwd("below"), client.pwd(), *client.nlst()]
        except FTP_ERRORS as error:
            raise Failure(f"vsftpd: {str(error) or type(error).__name__}") from error
    return "\n".join(output).encode()


def chromium(run: Run) -> bytes:
    # It brings a malloc of its own and keeps it: what is tested is that it lives with a preloaded one beside it. Its
    # helper processes and libraries start with the preload, and whatever a library allocates before is freed by the
    # right heap.
    env = {"HOME": str(run.directory)}
    if run.allocator != BASELINE:
        env["LD_PRELOAD"] = str(run.stage.directory / f"lib{run.allocator}.so")
    (run.directory / "page.html").write_bytes((LOADS / "page.html").read_bytes())
    return run.plain(
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={run.directory / 'profile'}",
        "--virtual-time-budget=2000",
        "--dump-dom",
        (run.directory / "page.html").as_uri(),
        env=env,
    )


@dataclass(frozen=True)
class Program:
    name: str
    stage: str  # light or heavy
    what: str
    run: Callable[[Run], bytes]
    needs: tuple[str, ...] = ()
    is_timed: bool = False


PROGRAMS = [
    Program("python", "light", "36 modules of its own tests", python, (PYTHON,)),
    Program("objects", "light", "python: JSON, dictionaries, threads", python_objects, (PYTHON,), True),
    Program("perl", "light", "hashes, sorting, regular expressions, fork", perl, ("perl",), True),
    Program("php", "light", "arrays, strings, seven packaged extensions", php, ("php",)),
    Program("git", "light", "import, clone, gc, fsck, grep, log", git, ("git",)),
    Program("gcc", "light", "five files of this project", gcc, ("gcc",), True),
    Program("sqlite3", "light", "insert, index, join, window, vacuum", sqlite, ("sqlite3",), True),
    Program("lua", "light", "tables, strings, closures", lua, ("lua5.4",), True),
    Program("ghostscript", "light", "pages with text and curves", ghostscript, ("gs",)),
    Program("node", "heavy", "JSON and worker threads", node, ("node",)),
    Program(
        "redis",
        "heavy",
        "pipe, benchmark, background save, restart",
        redis,
        ("redis-server", "redis-cli", "redis-benchmark"),
    ),
    Program("postgres", "heavy", "initdb, pgbench, queries", postgres, ("/usr/lib/postgresql",)),
    Program("vsftpd", "heavy", "a session of an anonymous user", vsftpd, ("/usr/sbin/vsftpd",)),
    Program("chromium", "heavy", "a page; keeps its own malloc", chromium, ("chromium",)),
]


def missing(program: Program) -> list[str]:
    return [need for need in program.needs if not (Path(need).exists() if need.startswith("/") else shutil.which(need))]


def one_run(program: Program, stage: Stage, allocator: str, times: Times | None = None) -> bytes:
    # Short: a socket's path has 107 characters.
    with tempfile.TemporaryDirectory(prefix="hzp-", dir="/tmp", ignore_cleanup_errors=True) as directory:
        os.chmod(directory, 0o755)
        return program.run(Run(stage, allocator, directory, times)).replace(directory.encode(), b"DIRECTORY")


def grid(titles: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    widths = [max(len(str(row[i])) for row in [titles, *rows]) for i in range(len(titles))]
    return "\n".join(
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [titles, *rows]
    )


def first_difference(a: bytes, b: bytes) -> str:
    for left, right in zip(a.splitlines(), b.splitlines()):
        if left != right:
            return f"'{left.decode(errors='replace')[:120]}' became '{right.decode(errors='replace')[:120]}'"
    return f"{len(a)} bytes became {len(b)}"


def check(programs: Sequence[Program], allocators: Sequence[str], stage: Stage) -> int:
    """Prints programs x allocators; the number of cells that are not equal."""
    bad = 0
    rows = []
    for program in programs:
        absent = missing(program)
        if absent:
            print(f"{program.name}: {absent[0]} is not there - scripts/setup test installs it", file=sys.stderr)
            rows.append([program.name, program.what, *("absent" for _ in allocators)])
            bad += len(allocators)
            continue
        wanted, cells = None, []
        try:
            printed = one_run(program, stage, BASELINE)
            if not printed.strip():
                raise Failure("printed nothing")
            wanted = printed
        except Failure as error:
            print(f"{program.name} on the C library: {error}", file=sys.stderr)
        for allocator in allocators:
            try:
                if wanted is None:
                    cells.append("no baseline")
                    continue
                got = one_run(program, stage, allocator)
                cells.append("equal" if got == wanted else "DIFFERS")
                if got != wanted:
                    print(f"{program.name} on {allocator}: {first_difference(wanted, got)}", file=sys.stderr)
            except Failure as error:
                cells.append("FAILED")
                print(f"{program.name} on {allocator}: {error}", file=sys.stderr)
        bad += sum(cell != "equal" for cell in cells)
        rows.append([program.name, program.what, *cells])
    print(grid(["program", "work", *allocators], rows))
    return bad


def measure(programs: Sequence[Program], allocators: Sequence[str], stage: Stage, runs: int) -> int:
    """Wall time and peak RSS of the timed programs, allocators interleaved, ratios to the C library in the same
    round."""
    rows = []
    for program in programs:
        if missing(program):
            continue
        samples: dict[str, Times] = {allocator: [] for allocator in [BASELINE, *allocators]}
        for number in range(runs):
            order = list(samples)
            for allocator in order[number % len(order) :] + order[: number % len(order)]:
                times: Times = []
                one_run(program, stage, allocator, times)
                samples[allocator].append((sum(t for t, _ in times), max(p for _, p in times)))
        base = samples[BASELINE]
        rows.append([program.name, BASELINE, *_middle(base), "1", "", "1"])
        for allocator in allocators:
            time_ratio, peak_ratio = (_ratio(samples[allocator], base, what) for what in (0, 1))
            rows.append(
                [
                    "",
                    allocator,
                    *_middle(samples[allocator]),
                    f"{time_ratio.ratio:.3f}",
                    f"[{time_ratio.low:.3f}, {time_ratio.high:.3f}]",
                    f"{peak_ratio.ratio:.3f}",
                ]
            )
    print(grid(["program", "allocator", "s", "peak RSS MiB", "time ratio", "95 % interval", "peak ratio"], rows))
    print(
        f"\n{runs} rounds, allocators in turn; ratios to the C library in the same round (Hodges-Lehmann, bootstrap)."
    )
    return 0


def _ratio(samples: Times, base: Times, what: int) -> stats.Comparison:
    """Of the times (0) or the peaks (1)."""
    found = stats.compare_paired([s[what] for s in samples], [s[what] for s in base])
    if found is None:
        raise InputError("no round was measured; --runs begins at 1")
    return found


def _middle(samples: Times) -> tuple[str, str]:
    middle = sorted(samples)[len(samples) // 2]
    return f"{middle[0]:.3f}", f"{sorted(p for _, p in samples)[len(samples) // 2]:.1f}"


def main(argv: list[str]) -> int:
    parser = cli.Parser("scripts/programs", description="Real programs on each allocator.")
    parser.add_argument("what", nargs="?", choices=["check", "time"], default="check")
    parser.add_argument("--build", default=os.environ.get("BUILD_DIR", str(ROOT / "build")))
    parser.add_argument("--allocators", default=",".join(OURS), help="comma-separated (time adds the peers by default)")
    parser.add_argument("--programs", help="comma-separated; default: all")
    parser.add_argument("--stage", choices=["light", "heavy"])
    parser.add_argument("--runs", type=int, default=10, help="rounds of `time`")
    arguments = parser.parse_args(argv)
    names = arguments.programs.split(",") if arguments.programs else [p.name for p in PROGRAMS]
    unknown = [name for name in names if name not in {p.name for p in PROGRAMS}]
    if unknown:
        raise InputError(f"unknown program '{unknown[0]}' - there are {', '.join(p.name for p in PROGRAMS)}")
    chosen = [p for p in PROGRAMS if p.name in names and arguments.stage in (None, p.stage)]
    allocators = arguments.allocators.split(",")
    if not (Path(arguments.build) / "hzrun").exists():
        raise InputError(f"{arguments.build}/hzrun not found - build first: ninja -C build", UNAVAILABLE)
    with tempfile.TemporaryDirectory(prefix="hzp-", dir="/tmp") as directory:
        stage = Stage(arguments.build, directory)
        if arguments.what == "time":
            return measure(
                [p for p in chosen if p.is_timed],
                allocators + PEERS if allocators == OURS else allocators,
                stage,
                arguments.runs,
            )
        return 1 if check(chosen, allocators, stage) else 0

"""What `run`, `idle`, `profile`, `tail`, `cache` and `soak` share: an origin, the balancers in front of it, wrk, and what /proc says of them.

Everything listens on 127.0.0.1, on ports found free at start, keeps its files in one temporary directory and is ended
by its process id. Nothing but Python's own library is needed.
"""

import contextlib
import http.client
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WEIR = Path(os.environ.get("WEIR", TARGET / "release/weir"))
BARE = Path(os.environ.get("BARE", TARGET / "release/examples/bare_balancer"))
SIZES = {"1 KiB": ("/1k", 1024), "64 KiB": ("/64k", 64 * 1024)}
CONNECTIONS = 64
TICK = os.sysconf("SC_CLK_TCK")


class Unavailable(Exception):
    """A proxy that cannot be measured here; the text says why."""


def notice(text):
    print(text, file=sys.stderr, flush=True)


def usage(doc):
    """For any argument that is not understood; asked for, it is no failure."""
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(doc.strip())
        sys.exit(0)
    sys.exit(doc.strip())


def number(name, default, least=1):
    """An environment variable that holds a whole number."""
    text = os.environ.get(name, str(default))
    if not text.isdigit() or int(text) < least:
        sys.exit(f"{name} must be a whole number from {least} on, not {text!r}")
    return int(text)


def words(name, default):
    return os.environ.get(name, default).replace(",", " ").split()


def need(*tools):
    missing = [tool for tool in tools if tool_path(tool) is None]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; `make bench` installs what the benchmarks need")


def tool_path(name):
    """Debian keeps servers in sbin, which is not on every user's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def raise_file_limit(wanted):
    """As many descriptors as allowed, at least `wanted`; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, wanted), hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            break
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class Process:
    """A started program with its children: stopped by pid, measured through /proc."""

    def __init__(self, name, command, directory):
        self.name = name
        self.stderr = directory / f"{name}.stderr"
        self.stdout = directory / f"{name}.stdout"
        with open(self.stdout, "ab") as out, open(self.stderr, "ab") as err:
            self.popen = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=directory
            )

    def pids(self):
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    children.setdefault(stat_fields(entry)[1], []).append(int(entry))
        found, queue = [], [self.popen.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue.extend(children.get(str(pid), []))
        return found

    def cpu_seconds(self):
        """User and system time of every thread, ended ones too."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = stat_fields(pid)
                total += int(fields[11]) + int(fields[12])
        return total / TICK

    def rss_bytes(self):
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
                total += int(found[1]) * 1024 if found else 0
        return total

    def complaint(self):
        text = self.stderr.read_text(errors="replace") + self.stdout.read_text(errors="replace")
        return " / ".join(text.strip().splitlines()[-3:])

    def wait_until_it_serves(self, port, expected):
        """`expected`: the length of each path's response."""
        until = time.monotonic() + 15
        while time.monotonic() < until:
            if self.popen.poll() is not None:
                raise Unavailable(f"{self.name} ended with code {self.popen.returncode}: {self.complaint()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                for path, length in expected.items():
                    if fetch(port, path) != (200, length):
                        raise ConnectionError
                return
            time.sleep(0.05)
        raise Unavailable(f"{self.name} did not serve within 15 s: {self.complaint()}")

    def stop(self):
        if self.popen.poll() is not None:
            return
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(5)
        except subprocess.TimeoutExpired:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.popen.wait()


def stat_fields(pid):
    """/proc/PID/stat after the command's name, which may hold spaces: [0] state, [1] parent, [11] utime, [12] stime."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def fetch(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, len(response.read())
    finally:
        connection.close()


NGINX_HEAD = """
{user}
worker_processes {workers};
worker_rlimit_nofile 65536;
daemon off;
pid {directory}/{name}.pid;
error_log {directory}/{name}.error.log error;
events {{ worker_connections {connections}; }}
http {{
    client_body_temp_path {directory}/{name}.body; proxy_temp_path {directory}/{name}.proxy;
    fastcgi_temp_path {directory}/{name}.fastcgi; uwsgi_temp_path {directory}/{name}.uwsgi;
    scgi_temp_path {directory}/{name}.scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    tcp_nodelay on;
    {access_log}
"""

NGINX_ORIGIN = """
    root {directory}/www;
    sendfile on; tcp_nopush on;
    open_file_cache max=16 inactive=1h; open_file_cache_valid 1h;
    server {{ listen 127.0.0.1:{a} backlog=4096; listen 127.0.0.1:{b} backlog=4096; }}
}}
"""

NGINX_BALANCER = """
    upstream web {{
        {balance}
        server 127.0.0.1:{a}; server 127.0.0.1:{b};
        keepalive 64; keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_busy_buffers_size 64k;
        }}
    }}
}}
"""

HAPROXY = """
global
    nbthread 2
    maxconn {connections}
    no strict-limits
    {log}
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 60s
    timeout http-keep-alive 300s
    http-reuse always
    option forwardfor
    {option}
frontend web
    bind 127.0.0.1:{port} backlog 4096
    default_backend web
backend web
    balance {balance}
    server a 127.0.0.1:{a}
    server b 127.0.0.1:{b}
"""

WEIR_YAML = """
server:
  threads: 2
  limits: {{ connections: {connections}, connections_per_address: 1000000, keepalive_requests: 1000000000 }}
listeners: [{{ bind: 127.0.0.1:{port} }}]
admin: {{ bind: 127.0.0.1:{admin} }}
pools: {{ web: {{ balance: {balance}, endpoints: [127.0.0.1:{a}, 127.0.0.1:{b}] }} }}
routes: [{{ pool: web }}]
log: {{ access: {access}, level: warn }}
"""

PROXIES = {
    "weir": "access log (JSON) to a file",
    "weir-nolog": "no access log",
    "nginx": "access log (combined) to a file, one write a request",
    "nginx-buflog": "access log (combined) to a file, 64 KiB buffer",
    "nginx-nolog": "no access log",
    "haproxy": "no log",
    "haproxy-log": "option httplog, to standard output in a file",
    "bare": "Pingora without anything: round robin, no log, no metrics",
}


class Workspace:
    """A temporary directory and what is started in it, all gone at the end. Use it in a `with`."""

    # What every server here must serve before it counts as started: the length of each path's response.
    expected = {path: length for path, length in SIZES.values()}

    def __init__(self, connections=4096):
        self.connections = connections
        self.stack = contextlib.ExitStack()

    def log_of(self, name):
        return self.directory / f"{name}.access.log"

    def empty_logs(self):
        """Between two measurements, so that the logs of a long run do not fill the memory they are kept in."""
        for log in [*self.directory.glob("*.access.log"), *self.directory.glob("*.stdout")]:
            os.truncate(log, 0)

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        raise_file_limit(65536)
        shm = Path("/dev/shm")
        roomy = shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 1 << 30
        self.directory = Path(tempfile.mkdtemp(prefix="weir-bench-", dir=shm if roomy else None))
        self.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        try:
            self.prepare()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *reason):
        return self.stack.__exit__(*reason)

    def prepare(self):
        """What a user of the workspace finds started."""

    def launch(self, name, command):
        process = Process(name, command, self.directory)
        self.stack.callback(process.stop)
        return process

    def start(self, name, command, port):
        process = self.launch(name, command)
        process.port = port
        process.wait_until_it_serves(port, self.expected)
        return process

    def start_nginx(self, name, port, body, workers, access_log, **values):
        values |= {
            "name": name,
            "port": port,
            "directory": self.directory,
            "workers": workers,
            "connections": self.connections,
            "access_log": access_log,
            "user": "user root;" if os.geteuid() == 0 else "",
        }
        conf = self.write(f"{name}.conf", (NGINX_HEAD + body).format(**values))
        command = [tool_path("nginx"), "-e", self.directory / f"{name}.error.log", "-p", self.directory, "-c", conf]
        return self.start(name, command, port)

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return path


class Bench(Workspace):
    """One origin and any number of balancers before it."""

    def __init__(self, balance="least_conn", connections=4096):
        super().__init__(connections)
        self.balance = balance

    def prepare(self):
        need("nginx", "wrk")
        self.start_origin()

    def start_origin(self):
        www = self.directory / "www"
        www.mkdir()
        for path, length in SIZES.values():
            (www / path.lstrip("/")).write_bytes(b"x" * length)
        self.a, self.b = free_ports(2)
        self.origin = self.start_nginx("origin", self.a, NGINX_ORIGIN, 1, "access_log off;", a=self.a, b=self.b)

    def start_proxy(self, name):
        """Starts one of PROXIES; `Unavailable` where it cannot be had."""
        if name not in PROXIES:
            sys.exit(f"no such proxy: {name}; there are {', '.join(PROXIES)}")
        kind, _, variant = name.partition("-")
        return getattr(self, f"start_{kind}_proxy")(name, variant)

    def start_weir_proxy(self, name, variant):
        ensure_weir_runs()
        port, admin = free_ports(2)
        access = "off" if variant == "nolog" else f"{{ path: {self.log_of(name)}, format: json }}"
        values = {"a": self.a, "b": self.b, "balance": self.balance, "connections": self.connections}
        text = WEIR_YAML.format(port=port, admin=admin, access=access, **values)
        return self.start(name, [WEIR, "run", "-c", self.write(f"{name}.yaml", text)], port)

    def start_nginx_proxy(self, name, variant):
        buffered = " buffer=64k flush=1s" if variant == "buflog" else ""
        access_log = "access_log off;" if variant == "nolog" else f"access_log {self.log_of(name)} combined{buffered};"
        balance = "least_conn;" if self.balance == "least_conn" else ""
        (port,) = free_ports(1)
        return self.start_nginx(name, port, NGINX_BALANCER, 2, access_log, a=self.a, b=self.b, balance=balance)

    def start_haproxy_proxy(self, name, variant):
        haproxy = tool_path("haproxy")
        if haproxy is None:
            raise Unavailable("haproxy is not installed")
        (port,) = free_ports(1)
        text = HAPROXY.format(
            port=port,
            a=self.a,
            b=self.b,
            connections=self.connections,
            balance={"least_conn": "leastconn", "round_robin": "roundrobin"}[self.balance],
            log="log stdout format raw local0 info" if variant == "log" else "",
            option="log global\n    option httplog" if variant == "log" else "",
        )
        return self.start(name, [haproxy, "-db", "-f", self.write(f"{name}.cfg", text)], port)

    def start_bare_proxy(self, name, _variant):
        if not BARE.exists():
            raise Unavailable(f"{BARE} is not built (cargo build --release --example bare_balancer)")
        (port,) = free_ports(1)
        return self.start(name, [BARE, f"127.0.0.1:{port}", f"127.0.0.1:{self.a}", f"127.0.0.1:{self.b}"], port)


def ensure_weir_runs():
    if not WEIR.exists():
        raise Unavailable(f"{WEIR} is not built (cargo build --release)")
    probe = subprocess.run([WEIR, "run", "--help"], capture_output=True, text=True, timeout=10)
    if probe.returncode != 0 or "-c" not in probe.stdout:
        raise Unavailable(f"{WEIR} has no `run` command")


UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


def wrk(port, path, seconds, connections=CONNECTIONS, script=None, arguments=()):
    """Requests done, requests a second, p50 and p99 in µs, and what went wrong (empty: nothing)."""
    command = [tool_path("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    command += ["-s", str(script)] if script else []
    command += [f"http://127.0.0.1:{port}{path}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode != 0:
        raise RuntimeError(f"wrk: {done.stderr.strip() or done.stdout.strip()}")
    return read_wrk(done.stdout)


def read_wrk(text):
    def latency(percentile):
        value, unit = re.search(rf"^\s+{percentile}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.M).groups()
        return float(value) * UNITS[unit]

    wrong = re.findall(r"^\s*(Socket errors: .*|Non-2xx.*)$", text, re.M)
    return {
        "requests": int(re.search(r"(\d+) requests in", text)[1]),
        "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        "p50": latency(50),
        "p99": latency(99),
        "wrong": "; ".join(wrong),
    }


def versions():
    def first(command, pattern):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)
            found = re.search(pattern, done.stdout + done.stderr)
            return found[1] if found else "?"
        return "not here"

    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": time.strftime("%Y-%m-%d"),
        "kernel": os.uname().release,
        "cpu": f"{os.cpu_count()} × {model[1].strip() if model else os.uname().machine}",
        "nginx": first([tool_path("nginx") or "nginx", "-v"], r"nginx/(\S+)"),
        "varnish": first([tool_path("varnishd") or "varnishd", "-V"], r"varnish-(\S+)"),
        "haproxy": first([tool_path("haproxy") or "haproxy", "-v"], r"ersion (\d\S+)"),
        "weir": first([str(WEIR), "--version"], r"weir (\S+)"),
        "pingora": re.search(r'name = "pingora-core"\nversion = "(.*)"', (ROOT / "Cargo.lock").read_text())[1],
        "wrk": first([tool_path("wrk") or "wrk", "-v"], r"wrk \S*?(\d+\.\d+\S*)"),
    }

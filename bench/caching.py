"""What `cache` and `soak` share: an origin whose responses may be kept, and the caches in front of it."""

import json
import re
import urllib.request

import harness
from harness import Unavailable, Workspace, ensure_weir_runs, free_ports, need, tool_path

ORIGIN = """
    root {directory}/www;
    sendfile on; tcp_nopush on;
    open_file_cache max=64 inactive=1h; open_file_cache_valid 1h;
    server {{
        listen 127.0.0.1:{port} backlog=16384;
        add_header Cache-Control "max-age=86400";
        location /status {{ stub_status; add_header Cache-Control "no-store"; }}
        # /o/ID/FILE is FILE under as many names as there are IDs; /brief/ID/FILE is fresh for a second.
        location ~ ^/o/[0-9]+/(.+)$ {{ try_files /$1 =404; }}
        location ~ ^/brief/[0-9]+/(.+)$ {{ add_header Cache-Control "max-age=1"; try_files /$1 =404; }}
    }}
}}
"""

NGINX_CACHE = """
    proxy_cache_path {directory}/{name}-cache levels=1:2 keys_zone=kept:64m max_size=1g inactive=24h use_temp_path=off;
    upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 1000000000; }}
    # What was best for it here: with sendfile a hit of 1 KiB takes a third more, and tcp_nopush holds the end of 64 KiB
    # back for 40 ms.
    sendfile off; output_buffers 1 128k;
    open_file_cache max=1000 inactive=1h; open_file_cache_valid 1h;
    server {{
        listen 127.0.0.1:{port} backlog=16384;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache kept;
            proxy_cache_revalidate on;
            proxy_cache_lock on;
        }}
    }}
}}
"""

WEIR = """
server:
  threads: 2
  limits: {{ connections: 100000, connections_per_address: 1000000, keepalive_requests: 1000000000 }}
listeners: [{{ bind: 127.0.0.1:{port} }}]
admin: {{ bind: 127.0.0.1:{admin} }}
cache: {{ memory: {memory}, max_object: 1MiB }}
pools: {{ web: {{ endpoints: [127.0.0.1:{origin}] }} }}
routes: [{{ pool: web, cache: {{ lock_timeout: 1m }} }}]
log: {{ access: {access}, level: warn }}
"""

CACHES = {
    "weir": "access log (JSON) to a file",
    "weir-nolog": "no access log",
    "nginx": "proxy_cache in memory (tmpfs), access log (combined) to a file, one write a request",
    "nginx-buflog": "proxy_cache in memory (tmpfs), access log (combined) to a file, 64 KiB buffer",
    "nginx-nolog": "proxy_cache in memory (tmpfs), no access log",
    "varnish": "malloc storage, its log in shared memory",
    "varnish-strict": "the same without its lifetime and grace for what names none",
}


class Caches(Workspace):
    """One origin and any number of caches before it."""

    def prepare(self):
        need("nginx", "wrk")
        www = self.directory / "www"
        www.mkdir()
        for path, length in self.expected.items():
            (www / path.lstrip("/")).write_bytes(b"x" * length)
        (self.origin_port,) = free_ports(1)
        self.origin = self.start_nginx("origin", self.origin_port, ORIGIN, 1, "access_log off;")

    def start_cache(self, name, memory="2GiB"):
        """Starts one of CACHES; `Unavailable` where it cannot be had."""
        kind, _, variant = name.partition("-")
        return getattr(self, f"start_{kind}_cache")(name, variant, memory)

    def start_weir_cache(self, name, variant, memory):
        ensure_weir_runs()
        port, admin = free_ports(2)
        access = "off" if variant == "nolog" else f"{{ path: {self.log_of(name)}, format: json }}"
        text = WEIR.format(port=port, admin=admin, origin=self.origin_port, memory=memory, access=access)
        process = self.start(name, [harness.WEIR, "run", "-c", self.write(f"{name}.yaml", text)], port)
        process.admin = admin
        return process

    def start_nginx_cache(self, name, variant, _memory):
        buffered = " buffer=64k flush=1s" if variant == "buflog" else ""
        access_log = "access_log off;" if variant == "nolog" else f"access_log {self.log_of(name)} combined{buffered};"
        (port,) = free_ports(1)
        return self.start_nginx(name, port, NGINX_CACHE, 2, access_log, origin=self.origin_port)

    def start_varnish_cache(self, name, variant, memory):
        varnishd = tool_path("varnishd")
        if varnishd is None:
            raise Unavailable("varnishd is not installed")
        (port,) = free_ports(1)
        origin = f"127.0.0.1:{self.origin_port}"
        # Without its jail, which wants users of its own; the default VCL and two pools of threads, as installed.
        place = ["-j", "none", "-n", self.directory / name, "-F", "-a", f"127.0.0.1:{port}", "-b", origin]
        # Its defaults keep for two minutes what names no lifetime, and serve everything stale for ten seconds.
        rules = ["-t", "0", "-p", "default_grace=0", "-p", "default_keep=60"] if variant == "strict" else []
        return self.start(name, [varnishd, *place, *rules, "-s", f"malloc,{memory.removesuffix('iB').lower()}"], port)

    def log_of(self, name):
        return self.directory / f"{name}.access.log"

    def origin_requests(self):
        """What the origin has been asked since it started."""
        url = f"http://127.0.0.1:{self.origin_port}/status"
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        return int(re.search(r"\n\s*\d+\s+\d+\s+(\d+)\s*\n", text)[1])


def stats(weir):
    """What weir says of its cache."""
    url = f"http://127.0.0.1:{weir.admin}/-/cache/stats"
    return json.load(urllib.request.urlopen(url, timeout=30))


def purge(weir, **order):
    """Orders a purge; the number of objects."""
    headers = {"Content-Type": "application/json"}
    url = f"http://127.0.0.1:{weir.admin}/-/cache/purge"
    request = urllib.request.Request(url, json.dumps(order).encode(), headers)
    return json.load(urllib.request.urlopen(request, timeout=30))["purged"]


def series(weir, name):
    """The values of a metric's series, by their labels."""
    url = f"http://127.0.0.1:{weir.admin}/metrics"
    text = urllib.request.urlopen(url, timeout=30).read().decode()
    found = re.findall(rf"^{name}({{[^}}]*}})? (\S+)$", text, re.M)
    return {labels: float(value) for labels, value in found}


def metric(weir, name):
    """The sum of a metric's series."""
    return sum(series(weir, name).values())

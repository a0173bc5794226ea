"""The suite `up` of scripts/bench: Summoner, Docker Compose and the engine's bare API.

Standard library only. Every object made here carries a label with the number of this
process, so that leftovers of a killed run are found by the next one.
"""

import argparse
import copy
import datetime
import http.client
import json
import os
import platform
import queue
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

IMAGE = "summoner-test/tiny:latest"
LABEL = "io.summoner.test"
OWNER = f"bench-{os.getpid()}"
PROJECT = f"t-{OWNER}"
# Four threads are what the engine can use: more make it no faster (docs/benchmarks.md).
THREADS = 4
# One range a contestant, so that none waits for what another leaves behind.
POOLS = {"summoner": "10.197.0.0/18", "compose": "10.197.64", "floor": "10.197.128"}
MIB = 1024.0
# Seconds after which a connection to the engine is made anew.
IDLE = 20


class Invalid(Exception):
    """What was timed did not happen: its time does not count."""


# ---- the engine ---------------------------------------------------------------


class Engine(http.client.HTTPConnection):
    def __init__(self):
        super().__init__("engine", timeout=300)
        self.used = 0.0

    def connect(self):
        host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(host.removeprefix("unix://"))

    def call(self, method, path, body=None, allowed=()):
        data = None if body is None else json.dumps(body)
        if time.monotonic() - self.used > IDLE:
            # The engine may have closed what was idle for long.
            self.close()
        self.used = time.monotonic()
        self.request(method, path, data, {"Content-Type": "application/json"})
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 400 and answer.status not in allowed:
            raise Invalid(f"{method} {path}: {answer.status} {text.decode(errors='replace').strip()}")
        return json.loads(text) if text.strip() else None


ENGINE = Engine()


def labelled(kind, label):
    filters = json.dumps({"label": [label]})
    path = {"containers": "/containers/json?all=1&filters=", "networks": "/networks?filters="}[kind]
    return ENGINE.call("GET", path + urllib.parse.quote(filters))


def running(label):
    """Ids of running containers, and when each was started."""
    found = labelled("containers", label)
    stray = [c["Names"][0] for c in found if c["State"] != "running"]
    if stray:
        raise Invalid(f"not running: {', '.join(stray[:3])}")
    return {c["Id"]: ENGINE.call("GET", f"/containers/{c['Id']}/json")["State"]["StartedAt"] for c in found}


def in_threads(count, items, work):
    """Calls work(engine, item) for each, every thread with a connection of its own."""
    todo, failures = queue.Queue(), []
    for item in items:
        todo.put(item)

    def loop():
        engine = Engine()
        while not failures:
            try:
                item = todo.get_nowait()
            except queue.Empty:
                return
            try:
                work(engine, item)
            except Exception as error:  # reported by the caller's thread
                failures.append(error)

    threads = [threading.Thread(target=loop) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def remove_all(label):
    def container(engine, found):
        engine.call("DELETE", f"/containers/{found['Id']}?force=1&v=1", allowed=(404, 409))

    in_threads(THREADS, labelled("containers", label), container)
    for network in labelled("networks", label):
        ENGINE.call("DELETE", f"/networks/{network['Id']}", allowed=(403, 404))


def sweep():
    """Takes away what this run made, and what a killed one left."""
    mine = {f"{LABEL}={OWNER}", f"io.summoner.project={PROJECT}"}
    for kind in ("containers", "networks"):
        for key in (LABEL, "io.summoner.project"):
            for found in labelled(kind, key):
                value = (found.get("Labels") or {}).get(key, "")
                number = re.fullmatch(r"(?:t-)?bench-(\d+)", value)
                if number and not os.path.isdir(f"/proc/{number[1]}"):
                    mine.add(f"{key}={value}")
    for label in mine:
        remove_all(label)


# ---- programs -----------------------------------------------------------------


class Timed:
    def __init__(self, seconds, rss=None, cpu=None, output=""):
        self.seconds, self.rss, self.cpu, self.output = seconds, rss, cpu, output


def run(argv, cwd=None, codes=(0,)):
    """Runs a program under GNU time; wall seconds, peak RSS in MiB, CPU seconds."""
    with tempfile.NamedTemporaryFile(dir=WORK) as note:
        begun = time.perf_counter()
        done = subprocess.run(
            ["/usr/bin/time", "-f", "%M %U %S", "-o", note.name, *argv],
            cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        seconds = time.perf_counter() - begun
        output = done.stdout.decode(errors="replace")
        if done.returncode not in codes:
            raise Invalid(f"{' '.join(map(str, argv))}: exit code {done.returncode}\n{output[-1500:]}")
        rss, user, system = Path(note.name).read_text().split()[-3:]
    return Timed(seconds, int(rss) / MIB, float(user) + float(system), output)


def bare(argv):
    """Wall seconds of a short program, with nothing between it and the clock."""
    begun = time.perf_counter()
    with open(os.devnull, "wb") as null:
        pid = os.posix_spawn(argv[0], argv, os.environ,
                             file_actions=[(os.POSIX_SPAWN_DUP2, null.fileno(), 1)])
        _, status = os.waitpid(pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        raise Invalid(f"{argv}: status {status}")
    return seconds


# ---- scenarios ----------------------------------------------------------------


class Scenario:
    """`minions` instances of a minion with `services` services each."""

    def __init__(self, minions, services):
        self.minions, self.services = minions, services
        self.count = minions * services
        self.name = f"{minions} minions" if minions > 1 else f"{services} services" if services > 1 else "1 service"
        self.slug = f"{minions}x{services}"
        self.root = WORK / self.slug
        self.reference = None

    def summoner(self, *arguments, codes=(0,)):
        return run([BINARY, "-C", str(self.root / "summoner"), "--color", "never", *arguments], codes=codes)

    def write_project(self):
        """A project as a stranger has it before the first `up`."""
        root = self.root / "summoner"
        shutil.rmtree(root, ignore_errors=True)
        minion = root / "minions" / "bench"
        minion.mkdir(parents=True)
        (minion / "minion.yml").write_text(
            f'name: bench\ntitle: Bench\nsummary: containers to measure with\ncategory: data\n'
            f'website: https://example.org\nversion: "1.0.0"\n'
        )
        services = "".join(f"  s{i}: {{image: '{IMAGE}'}}\n" for i in range(1, self.services + 1))
        (minion / "compose.yml.j2").write_text("services:\n" + services)
        names = "".join(f"  m{i}: {{use: bench}}\n" for i in range(1, self.minions + 1))
        (root / "config.yml").write_text(
            f"summoner: {{name: {PROJECT}, domain: {OWNER}.test, subnets: ['{POOLS['summoner']}']}}\nminions:\n{names}"
        )

    def expect(self, label, what):
        found = running(label)
        if len(found) != self.count:
            raise Invalid(f"{what}: {len(found)} containers run instead of {self.count}")
        return found

    def round(self, figures):
        """One round of all contestants, one after the other."""
        self.round_summoner(figures)
        self.round_compose(figures)
        self.round_floor(figures)

    def round_summoner(self, figures):
        label = f"io.summoner.project={PROJECT}"
        self.write_project()
        cold = self.summoner("up", "--yes")
        before = self.expect(label, "cold up")
        no_op = self.summoner("up", "--yes")
        plan = self.summoner("plan", "--detailed-exitcode")
        if self.expect(label, "no-op up") != before:
            raise Invalid("no-op up: a container was touched")
        figures.add(self, "summoner", cold=cold, no_op=no_op, plan=plan)
        if self.reference is None:
            self.learn(before)
        self.summoner("down", "--yes")
        self.nothing_left(label)

    def learn(self, containers):
        """Takes from what Summoner made what the others shall make: the same containers."""
        self.reference = []
        for index, id in enumerate(sorted(containers)):
            seen = ENGINE.call("GET", f"/containers/{id}/json")
            body = copy.deepcopy(seen["Config"])
            body["HostConfig"] = seen["HostConfig"]
            labels = {k: v for k, v in body["Labels"].items() if not k.startswith("io.summoner.")}
            body["Labels"] = {**labels, LABEL: OWNER}
            networks = {
                name: [a for a in (endpoint["Aliases"] or []) if a != id[:12]]
                for name, endpoint in seen["NetworkSettings"]["Networks"].items()
            }
            self.reference.append((f"{OWNER}-floor-{index}", body, networks))
        self.write_compose()

    def write_compose(self):
        """The files Summoner has rendered, with other names and networks."""
        build = self.root / "summoner" / ".summoner" / "build"
        for index in range(self.minions):
            source = build / f"m{index + 1}" / "compose.yml"
            shown = run([COMPOSE, "-f", str(source), "config", "--format", "json"]).output
            project = json.loads(shown[shown.index("{"):])
            project["name"] = f"{OWNER}-{index}"
            for name, service in project["services"].items():
                service["container_name"] = f"{OWNER}-compose-{index}-{name}"
                service["labels"] = {LABEL: OWNER}
            for network in project["networks"].values():
                network["name"] = f"{OWNER}-compose-{index}"
                network["labels"] = {LABEL: OWNER}
                network["ipam"] = {"config": [{"subnet": subnet("compose", index)}]}
            (self.root / f"compose-{index}.json").write_text(json.dumps(project))

    def compose(self, *arguments, parallel=1):
        """All projects, one after the other or so many at a time; the figures as one."""
        results = []
        commands = [[COMPOSE, "-f", str(self.root / f"compose-{i}.json"), *arguments] for i in range(self.minions)]
        begun = time.perf_counter()
        if parallel == 1:
            results = [run(command) for command in commands]
        else:
            in_threads(parallel, commands, lambda _, command: results.append(run(command)))
        seconds = time.perf_counter() - begun
        return Timed(seconds, max(r.rss for r in results), sum(r.cpu for r in results))

    def round_compose(self, figures):
        label = f"{LABEL}={OWNER}"
        cold = self.compose("up", "-d")
        before = self.expect(label, "compose, cold")
        no_op = self.compose("up", "-d")
        figures.add(self, "compose", cold=cold, no_op=no_op)
        if self.minions > 1:
            figures.add(self, "compose", no_op_by_four=self.compose("up", "-d", parallel=THREADS))
        if self.expect(label, "compose, no-op") != before:
            raise Invalid("compose, no-op: a container was touched")
        self.compose("down", "-t", "0")
        self.nothing_left(label)

    def round_floor(self, figures):
        label = f"{LABEL}={OWNER}"
        wanted = sorted({name for _, _, networks in self.reference for name in networks})
        number = {name: i for i, name in enumerate(wanted)}

        def network(engine, name):
            engine.call("POST", "/networks/create", {
                "Name": f"{OWNER}-floor-{number[name]}", "CheckDuplicate": True, "Labels": {LABEL: OWNER},
                "IPAM": {"Config": [{"Subnet": subnet("floor", number[name])}]},
            })

        def container(engine, item):
            name, body, networks = item
            first, *others = [(f"{OWNER}-floor-{number[n]}", {"Aliases": a}) for n, a in networks.items()]
            body = {**body, "HostConfig": {**body["HostConfig"], "NetworkMode": first[0]},
                    "NetworkingConfig": {"EndpointsConfig": dict([first])}}
            id = engine.call("POST", f"/containers/create?name={name}", body)["Id"]
            for other, endpoint in others:
                engine.call("POST", f"/networks/{other}/connect", {"Container": id, "EndpointConfig": endpoint})
            engine.call("POST", f"/containers/{id}/start")

        begun = time.perf_counter()
        in_threads(THREADS, wanted, network)
        in_threads(THREADS, self.reference, container)
        seconds = time.perf_counter() - begun
        self.expect(label, "bare API")
        figures.add(self, "floor", cold=Timed(seconds))
        remove_all(label)
        self.nothing_left(label)

    def nothing_left(self, label):
        left = labelled("containers", label) + labelled("networks", label)
        if left:
            raise Invalid(f"{len(left)} things of {label} are left after `down`")


def subnet(who, index):
    """The index-th /26 of a range."""
    start, third = POOLS[who].rsplit(".", 1)
    return f"{start}.{int(third) + index // 4}.{index % 4 * 64}/26"


# ---- figures ------------------------------------------------------------------


class Figures:
    def __init__(self):
        self.values = {}

    def add(self, scenario, who, **timed):
        for what, value in timed.items():
            series = self.values.setdefault(scenario.slug, {}).setdefault(who, {}).setdefault(what, [])
            series.append({"seconds": value.seconds, "rss_mib": value.rss, "cpu_seconds": value.cpu})

    def median(self, slug, who, what, field="seconds"):
        series = self.values.get(slug, {}).get(who, {}).get(what)
        return statistics.median(v[field] for v in series) if series else None


def shown(value, digits=3):
    return "-" if value is None else f"{value:.{digits}f}"


def ratio(one, other):
    return None if one is None or not other else one / other


def table(head, rows):
    width = [max(len(str(row[i])) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, ["-" * w for w in width], *rows]:
        first, *rest = [str(cell) for cell in row]
        print("| " + " | ".join([first.ljust(width[0])] + [c.rjust(w) for c, w in zip(rest, width[1:])]) + " |")


def report(figures, scenarios, small, machine):
    print("\n" + "\n".join(f"{key}: {value}" for key, value in machine.items()) + "\n")
    print(f"Medians of {machine['runs']}, seconds.\n")
    rows = []
    for s in scenarios:
        get = lambda who, what, slug=s.slug: figures.median(slug, who, what)
        rows.append([f"cold up, {s.name}", shown(get("summoner", "cold")), shown(get("compose", "cold")), shown(get("floor", "cold")),
                     shown(ratio(get("summoner", "cold"), get("compose", "cold")), 2), shown(ratio(get("summoner", "cold"), get("floor", "cold")), 2)])
        rows.append([f"no-op up, {s.name}", shown(get("summoner", "no_op")), shown(get("compose", "no_op")), "-",
                     shown(ratio(get("summoner", "no_op"), get("compose", "no_op")), 3), "-"])
        if s.minions > 1:
            rows.append([f"  compose, {THREADS} projects at a time", "", shown(get("compose", "no_op_by_four")), "-",
                         shown(ratio(get("summoner", "no_op"), get("compose", "no_op_by_four")), 3), "-"])
        rows.append([f"plan, {s.name}", shown(get("summoner", "plan")), "-", "-", "-", "-"])
    table(["", "summoner", "compose", "bare API", "/ compose", "/ bare API"], rows)
    print("\nPeak memory, MiB.\n")
    rows = []
    for s in scenarios:
        for what, name in (("cold", "cold up"), ("no_op", "no-op up")):
            get = lambda who, slug=s.slug, w=what: shown(figures.median(slug, who, w, "rss_mib"), 1)
            rows.append([f"{name}, {s.name}", get("summoner"), get("compose")])
    table(["", "summoner", "compose"], rows)

    big = scenarios[-1].slug
    peak = max(v["rss_mib"] for by in figures.values.values() for series in by["summoner"].values() for v in series)
    # The worst of the sizes.
    over = [ratio(figures.median(s.slug, "summoner", "cold"), figures.median(s.slug, "floor", "cold")) for s in scenarios]
    checks = [
        (f"no-op of {scenarios[-1].name} / compose over the projects", ratio(figures.median(big, "summoner", "no_op"), figures.median(big, "compose", "no_op")), 0.05, 3),
        ("cold up / bare API, worst", max(over), 1.1, 2),
        ("--help, ms", small["help_seconds"] * 1000, 10, 1),
        ("peak memory, MiB", peak, 40, 1),
        ("stripped binary, MiB", small["binary_bytes"] / MIB / MIB, 20, 1),
    ]
    if scenarios[-1].minions < 30:
        # The expectation is one of many minions: a few do not outweigh the start of a process.
        checks = checks[1:]
    print("\nAgainst what is expected.\n")
    table(["", "measured", "expected", ""],
          [[n, shown(v, d), f"<= {limit}", "ok" if v <= limit else "MISSED"] for n, v, limit, d in checks])
    return [{"what": n, "measured": v, "limit": limit, "ok": v <= limit} for n, v, limit, _ in checks]


def first_line(argv):
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip().splitlines()[:1] or ["?"]


def about_machine(runs):
    version = ENGINE.call("GET", "/version")
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) / MIB / MIB
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    commit = first_line(["git", "rev-parse", "--short", "HEAD"])[0]
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{len(os.sched_getaffinity(0))} cores ({model[1] if model else platform.machine()}), {memory:.0f} GiB, Linux {platform.release()}",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "engine": f"Docker {version['Version']} (API {version['ApiVersion']})",
        "compose": first_line([COMPOSE, "version", "--short"])[0],
        "summoner": f"{first_line([BINARY, '--version'])[0]} ({commit})",
        "runs": runs,
    }


def main():
    global BINARY, COMPOSE, WORK
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--compose", required=True)
    parser.add_argument("--json", default="target/bench/up.json")
    options = parser.parse_args()
    runs = options.runs or (2 if options.quick else 5)
    if runs < 1:
        parser.error("--runs must be at least 1")
    BINARY, COMPOSE = options.binary, options.compose
    # On the disk where projects live: what is written is fsynced, and that has its price.
    Path("target/bench").mkdir(parents=True, exist_ok=True)
    WORK = Path(tempfile.mkdtemp(prefix="work-", dir="target/bench")).resolve()
    # An end by signal goes through `finally`, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sizes = [(1, 1), (3, 1)] if options.quick else [(1, 1), (1, 10), (1, 30), (30, 1)]
    try:
        sweep()
        figures, scenarios = Figures(), [Scenario(m, s) for m, s in sizes]
        machine, loads = about_machine(runs), []
        for scenario in scenarios:
            scenario.root.mkdir()
            # Not counted: it fills the caches, and tells the others what to make.
            scenario.round(Figures())
        for number in range(runs):
            print(f"round {number + 1} of {runs}, load {os.getloadavg()[0]:.1f}", flush=True)
            for scenario in scenarios:
                loads.append(os.getloadavg()[0])
                scenario.round(figures)
        small = {
            "help_seconds": statistics.median(bare([BINARY, "--help"]) for _ in range(max(20, runs))),
            "true_seconds": statistics.median(bare(["/bin/true"]) for _ in range(max(20, runs))),
            "binary_bytes": os.path.getsize(BINARY),
        }
        machine["load during"] = f"{min(loads):.1f} to {max(loads):.1f}"
        checks = report(figures, scenarios, small, machine)
        out = Path(options.json)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"schema_version": 1, "machine": machine, "small": small, "expectations": checks,
                                   "figures": figures.values}, indent=1) + "\n")
        print(f"\n--help {small['help_seconds'] * 1000:.1f} ms (an empty program: {small['true_seconds'] * 1000:.1f} ms); all figures: {out}")
    except Invalid as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
        sweep()
    return 0


if __name__ == "__main__":
    sys.exit(main())

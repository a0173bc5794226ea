"""The suite `backup` of scripts/bench: dumps, cold backups, uploads and restores, beside what people
build by hand: `docker exec pg_dump | zstd`, age, tar, restic, rclone.

Same container, same data, same destination, in turns. Nothing counts before what was written has
been restored with public tools and has the same checksum as the original.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import bench_up as common
from bench_up import Invalid, Timed, ratio, shown, table

NAME = f"t-{common.OWNER}"
SIZES = {"K": 2**10, "M": 2**20, "G": 2**30}


def sh(command, timeout=3600):
    """A pipeline as people type it; an error in any part of it counts."""
    return common.run(["timeout", str(timeout), "bash", "-c", "set -euo pipefail; " + command])


def docker(*arguments, text=None):
    done = subprocess.run(["docker", *arguments], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Invalid(f"docker {' '.join(arguments)[:200]}: {done.stderr.strip()[-500:]}")
    return done.stdout


# ---- databases ------------------------------------------------------------------


class Postgres:
    minion, engine = "pg", "PostgreSQL"
    image = "postgres:17.12"

    def __init__(self, container):
        self.container = container

    def sql(self, statement, db="app"):
        return docker("exec", "-i", self.container, "psql", "-X", "-qtA", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", db,
                      text=statement).strip()

    def fill(self, size):
        """Rows of about 300 bytes of plain SQL, of which half is noise: about what real text compresses to."""
        self.sql(f"""drop table if exists filling;
          create table filling as select i as id, md5(i::text) || md5((i * 7)::text) as noise,
            repeat('Lorem ipsum dolor sit amet ' || i % 97 || ' ', 5) as words, random() as value, now() as at
          from generate_series(1, {max(size // 300, 1)}) as i;
          alter table filling add primary key (id); vacuum analyze filling; checkpoint;""")

    def checksum(self, db="app"):
        return self.sql("select count(*), sum(hashtextextended(f::text, 0)::numeric) from filling f", db)

    def dump_command(self):
        return f"docker exec {self.container} pg_dump -U postgres app"

    def scratch(self):
        self.sql("drop database if exists check_copy;", "postgres")
        self.sql("create database check_copy;", "postgres")

    def restore_command(self, file):
        """Of a file of plain SQL or of pg_dump's own format, decrypted, into the scratch database."""
        inside = f"docker exec -i {self.container}"
        if file.endswith(".dump"):
            return f"{inside} pg_restore -U postgres --exit-on-error -d check_copy"
        return f"{inside} psql -X -q -v ON_ERROR_STOP=1 -U postgres -d check_copy >/dev/null"


class MariaDb:
    minion, engine = "maria", "MariaDB"
    image = "mariadb:11.8.6"
    client = 'MYSQL_PWD="$MARIADB_ROOT_PASSWORD" exec "$@"'

    def __init__(self, container):
        self.container = container

    def inside(self, *argv):
        return ["exec", "-i", self.container, "sh", "-c", self.client, "sh", *argv]

    def sql(self, statement, db="app"):
        return docker(*self.inside("mariadb", "-uroot", "-N", db), text=statement).strip()

    def fill(self, size):
        self.sql(f"""drop table if exists filling;
          create table filling (id bigint primary key, noise text, words text, value double, at datetime) engine=innodb
          select seq as id, concat(md5(seq), md5(seq * 7)) as noise, repeat(concat('Lorem ipsum dolor sit amet ', seq % 97, ' '), 5) as words,
            rand() as value, now() as at from seq_1_to_{max(size // 300, 1)};""")

    def checksum(self, db="app"):
        return self.sql("select count(*), sum(crc32(concat_ws('|', id, noise, words, value, at))) from filling", db)

    def dump_command(self):
        argv = self.inside("mariadb-dump", "-uroot", "--single-transaction", "--routines", "--triggers", "--events", "--hex-blob", "app")
        return shlex.join(["docker", *argv])

    def scratch(self):
        self.sql("drop database if exists check_copy; create database check_copy;")

    def restore_command(self, _file):
        return shlex.join(["docker", *self.inside("mariadb", "-uroot", "check_copy")])


# ---- the project ----------------------------------------------------------------


class Project:
    def __init__(self, s3):
        self.root, self.verbs = common.WORK / "project", {}
        self.root.mkdir()
        key = subprocess.run(["age-keygen", "-o", str(self.root / "identity.txt")], capture_output=True, text=True, check=True)
        (self.root / "recipients.txt").write_text(key.stderr.split()[-1] + "\n")
        bucket = ""
        if s3:
            bucket = (f"  bucket: {{s3: {{bucket: snapshots, endpoint: '{s3.endpoint}', region: us-east-1, path_style: true, "
                      f"access_key_id: {{env: BENCH_S3_KEY}}, secret_access_key: {{env: BENCH_S3_SECRET}}}}}}\n")
            os.environ.update(BENCH_S3_KEY=s3.key, BENCH_S3_SECRET=s3.secret)
        (self.root / "config.yml").write_text(
            f"summoner: {{name: {NAME}, domain: {common.OWNER}.test, vsroot: ./data, dbsroot: ./databases, "
            f"subnets: ['{common.POOLS['summoner']}']}}\n"
            "minions:\n  pg: {use: postgres, resources: {memory: 2g}}\n  maria: {use: mariadb, resources: {memory: 2g}}\n"
            "destinations:\n  plain: {dir: ./plain}\n"
            "  sealed: {dir: ./sealed, encryption: {age_recipients_file: ./recipients.txt, age_identity_file: ./identity.txt}}\n"
            f"{bucket}backup: {{to: [plain]}}\n"
        )

    def run(self, *arguments, codes=(0,)):
        return common.run([common.BINARY, "-C", str(self.root), "--color", "never", *arguments], codes=codes)

    def has(self, verb):
        """To measure an older summoner, too."""
        if verb not in self.verbs:
            self.verbs[verb] = subprocess.run([common.BINARY, verb, "--help"], capture_output=True, check=False).returncode == 0
            if not self.verbs[verb]:
                print(f"{common.BINARY} has no `{verb}`: left out", flush=True)
        return self.verbs[verb]

    def container(self, minion):
        found = common.labelled("containers", f"io.summoner.project={NAME}")
        mine = [c["Id"] for c in found if c["Labels"].get("io.summoner.minion") == minion or
                c["Labels"].get("io.summoner.instance") == minion]
        if len(mine) != 1:
            raise Invalid(f"{len(mine)} containers of {minion}: {[c['Labels'] for c in found][:1]}")
        return mine[0]

    def snapshot(self, destination, minion, kind):
        """Folder and manifest of the only snapshot; what it has must be what it says."""
        folders = sorted((self.root / destination / "v1" / NAME / minion / kind).glob("*/manifest.json"))
        if len(folders) != 1:
            raise Invalid(f"{len(folders)} snapshots of {minion} in {destination} instead of one")
        return folders[0].parent, json.loads(folders[0].read_text())

    def forget(self, destination):
        shutil.rmtree(self.root / destination, ignore_errors=True)


def plain_stream(file):
    """How public tools read one object of a snapshot."""
    command, name = f"cat {shlex.quote(str(file))}", str(file)
    if name.endswith(".age"):
        command, name = f"{command} | age -d -i {common.WORK}/project/identity.txt", name.removesuffix(".age")
    if name.endswith(".zst"):
        command, name = f"{command} | zstd -dcq", name.removesuffix(".zst")
    return command, name


def verified(db, expected, file):
    """Restores a dump by hand; seconds. Nothing counts without it."""
    command, name = plain_stream(file)
    db.scratch()
    done = sh(f"{command} | {db.restore_command(name)}")
    if db.checksum("check_copy") != expected:
        raise Invalid(f"{file}: what was restored differs")
    return done


def object_of(folder, manifest, db="app"):
    files = [f for f in folder.iterdir() if f.name.startswith(f"{db}.")]
    if len(files) != 1 or manifest.get("status") != "complete":
        raise Invalid(f"{folder}: {[f.name for f in folder.iterdir()]}, status {manifest.get('status')}")
    return files[0]


# ---- dumps ----------------------------------------------------------------------


def dumps(project, db, figures, slug, expected):
    """One round: ours and the pipeline, plain and encrypted, one after the other."""
    by_hand = common.WORK / "by-hand"
    shutil.rmtree(by_hand, ignore_errors=True)
    by_hand.mkdir()
    for destination, suffix, seal in (("plain", "", ""), ("sealed", ".age", f" | age -R {project.root}/recipients.txt")):
        what = "dump" if not seal else "dump, encrypted"
        project.forget(destination)
        ours = project.run("dump", db.minion, "--to", destination)
        file = object_of(*project.snapshot(destination, db.minion, "dump"))
        verified(db, expected, file)
        figures.add(slug, what, "summoner", ours, bytes=file.stat().st_size)
        target = by_hand / f"app.sql.zst{suffix}"
        theirs = sh(f"{db.dump_command()} | zstd -q -3{seal} >{target}; sync -f {target}")
        back = verified(db, expected, target)
        figures.add(slug, what, "pipeline", theirs, bytes=target.stat().st_size)
        if not seal:
            figures.add(slug, "restore", "pipeline", back)
    if project.has("restore"):
        ours = project.run("restore", db.minion, "--kind", "dump", "--destination", "plain", "--into", "live",
                           "--yes-overwrite", db.minion, "--no-safety-dump")
        db.container = project.container(db.minion)
        if db.checksum() != expected:
            raise Invalid("summoner restore: what was restored differs")
        figures.add(slug, "restore", "summoner", ours)
    project.forget("plain")
    project.forget("sealed")


# ---- cold -----------------------------------------------------------------------


class Outage(threading.Thread):
    """Asks PostgreSQL for a session every few milliseconds, as an application would; the longest time
    between two that were granted."""

    def __init__(self, container):
        super().__init__(daemon=True)
        networks = json.loads(docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", container))
        self.address = next(iter(networks.values()))["IPAddress"]
        self.stopped, self.good, self.longest = threading.Event(), None, 0.0

    def granted(self):
        wish = b"user\0app\0database\0app\0\0"
        try:
            with socket.create_connection((self.address, 5432), timeout=0.5) as stream:
                stream.sendall(struct.pack(">ii", 8 + len(wish), 196608) + wish)
                return stream.recv(1) == b"R"
        except OSError:
            return False

    def run(self):
        while not self.stopped.is_set():
            if self.granted():
                now = time.perf_counter()
                self.longest = max(self.longest, now - (self.good or now))
                self.good = now
            time.sleep(0.005)

    def __enter__(self):
        wait_granted(self)
        self.start()
        while self.good is None:
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        seen, deadline = time.perf_counter(), time.perf_counter() + 120
        while (self.good or 0) < seen and time.perf_counter() < deadline:
            time.sleep(0.01)
        self.stopped.set()
        self.join()


def wait_granted(outage):
    deadline = time.perf_counter() + 120
    while not outage.granted():
        if time.perf_counter() > deadline:
            raise Invalid("the database does not come back")
        time.sleep(0.01)


def cold_verified(db, expected, folder):
    """Starts a throwaway server on a restored data directory."""
    name = f"{common.OWNER}-cold"
    docker("run", "-d", "--name", name, "--label", f"{common.LABEL}={common.OWNER}", "--network", "none",
           "-v", f"{folder}:/var/lib/postgresql/data", "-e", "POSTGRES_PASSWORD=unused", db.image)
    try:
        copy, deadline = Postgres(name), time.perf_counter() + 120
        while True:
            try:
                if copy.checksum() == expected:
                    return
                raise Invalid(f"{folder}: what was restored differs")
            except Invalid as error:
                if "differs" in str(error) or time.perf_counter() > deadline:
                    raise
                time.sleep(0.2)
    finally:
        docker("rm", "-f", "-v", name)


def cold(project, db, figures, slug, expected):
    data = project.root / "databases" / db.minion / "db"
    work = common.WORK / "cold"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()

    def unpacked(command):
        target = work / "restored"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        sh(command.format(target=target))
        # The nearest one: below `base/` there are more of that name.
        found = min(target.rglob("PG_VERSION"), key=lambda p: len(p.parts), default=None)
        if found is None:
            raise Invalid(f"no data directory in {target}")
        cold_verified(db, expected, found.parent)

    # What stopping and starting costs by itself.
    with Outage(db.container) as outage:
        begun = time.perf_counter()
        docker("stop", "-t", "60", db.container)
        docker("start", db.container)
        wait_granted(outage)
        seconds = time.perf_counter() - begun
    figures.add(slug, "stop and start", "engine", Timed(seconds), outage=outage.longest)

    if project.has("backup"):
        project.forget("plain")
        with Outage(db.container) as outage:
            ours = project.run("backup", db.minion, "--to", "plain")
        folder, manifest = project.snapshot("plain", db.minion, "backup")
        archive = max(folder.glob("*.tar.zst"), key=lambda f: f.stat().st_size)
        unpacked(f"zstd -dcq {archive} | tar -x --numeric-owner -C {{target}}")
        figures.add(slug, "cold backup", "summoner", ours, outage=outage.longest, told=manifest.get("downtime_ms"))
        project.forget("plain")

    archive = work / "data.tar.zst"
    with Outage(db.container) as outage:
        theirs = sh(f"docker stop -t 60 {db.container} >/dev/null; tar -c --numeric-owner -C {data} . | zstd -q -3 >{archive}; "
                    f"docker start {db.container} >/dev/null; sync -f {archive}")
        wait_granted(outage)
    unpacked(f"zstd -dcq {archive} | tar -x --numeric-owner -C {{target}}")
    figures.add(slug, "cold backup", "tar + zstd", theirs, outage=outage.longest)
    archive.unlink()

    repository = work / "restic"
    restic = f"RESTIC_PASSWORD=bench restic -q --no-cache -r {repository}"
    sh(f"{restic} init >/dev/null")
    with Outage(db.container) as outage:
        theirs = sh(f"docker stop -t 60 {db.container} >/dev/null; {restic} backup {data}; docker start {db.container} >/dev/null")
        wait_granted(outage)
    unpacked(f"{restic} restore latest --target {{target}}")
    figures.add(slug, "cold backup", "restic", theirs, outage=outage.longest)
    shutil.rmtree(work)


# ---- uploads --------------------------------------------------------------------


class S3:
    """s3s-fs, or Garage: what the tests talk to."""

    key, secret = "GK5f1d3b2a9c8e7d6f5a4b3c2d", hashlib.sha256(NAME.encode()).hexdigest()

    def __init__(self, kind, program):
        self.folder = common.WORK / kind
        (self.folder / "snapshots").mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [program, "--host", "127.0.0.1", "--port", str(port), "--access-key", self.key, "--secret-key", self.secret, str(self.folder)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # What this machine says of Amazon's is not meant for a server of ours.
        for name in [n for n in os.environ if n.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(
            RCLONE_CONFIG="/dev/null", RCLONE_CONFIG_S3_TYPE="s3", RCLONE_CONFIG_S3_PROVIDER="Other", RCLONE_CONFIG_S3_ENDPOINT=self.endpoint,
            RCLONE_CONFIG_S3_ACCESS_KEY_ID=self.key, RCLONE_CONFIG_S3_SECRET_ACCESS_KEY=self.secret, RCLONE_CONFIG_S3_REGION="us-east-1",
            RCLONE_CONFIG_S3_FORCE_PATH_STYLE="true")

    def close(self):
        self.process.kill()
        self.process.wait()


def uploads(project, db, figures, slug, expected, s3):
    bucket = s3.folder / "snapshots"
    ours = project.run("dump", db.minion, "--to", "bucket")
    folders = list((bucket / "v1" / NAME / db.minion / "dump").glob("*/manifest.json"))
    if len(folders) != 1:
        raise Invalid(f"{len(folders)} snapshots in the bucket")
    verified(db, expected, object_of(folders[0].parent, json.loads(folders[0].read_text())))
    figures.add(slug, "upload", "summoner", ours)
    shutil.rmtree(bucket / "v1")
    theirs = sh(f"{db.dump_command()} | zstd -q -3 | rclone -q rcat s3:snapshots/app.sql.zst")
    verified(db, expected, bucket / "app.sql.zst")
    figures.add(slug, "upload", "rclone rcat", theirs)
    (bucket / "app.sql.zst").unlink()


# ---- figures --------------------------------------------------------------------


class Figures:
    def __init__(self):
        self.values = {}

    def add(self, slug, what, who, timed, **more):
        series = self.values.setdefault(slug, {}).setdefault(what, {}).setdefault(who, [])
        series.append({"seconds": timed.seconds, "rss_mib": timed.rss, **more})
        print(f"  {slug}, {what}, {who}: {timed.seconds:.2f} s{''.join(f', {k} {v}' for k, v in more.items())}", flush=True)

    def median(self, slug, what, who, field="seconds"):
        series = [v[field] for v in self.values.get(slug, {}).get(what, {}).get(who, []) if v.get(field) is not None]
        return statistics.median(series) if series else None

    def most(self, field):
        return max((v[field] for by in self.values.values() for who in by.values() for name, series in who.items() if name == "summoner"
                    for v in series if v.get(field) is not None), default=None)


def report(figures, machine):
    print("\n" + "\n".join(f"{key}: {value}" for key, value in machine.items()))
    print(f"\nMedians of {machine['runs']}; seconds, outage in brackets, peak memory of Summoner in MiB.\n")
    rows, checks = [], []
    for slug, kinds in figures.values.items():
        for what, contestants in kinds.items():
            ours = figures.median(slug, what, "summoner")
            for who in sorted(contestants, key=lambda w: w != "summoner"):
                seconds, outage = figures.median(slug, what, who), figures.median(slug, what, who, "outage")
                rss = figures.median(slug, what, who, "rss_mib") if who == "summoner" else None
                rows.append([f"{slug}, {what}", who, shown(seconds, 2), f"({outage:.2f})" if outage is not None else "",
                             shown(rss, 1) if rss else "", "" if who == "summoner" else shown(ratio(seconds, ours), 2)])
            wanted = {("PostgreSQL", "dump"): 2.0, ("MariaDB", "dump"): 1.5}.get((slug.split()[0], what))
            wanted = {"dump, encrypted": 1.5, "restore": 1.0}.get(what, wanted)
            theirs = figures.median(slug, what, "pipeline")
            if wanted and ours and theirs:
                checks.append((f"{slug}: {what}, times as fast as the pipeline", theirs / ours, wanted, theirs / ours >= wanted, ">="))
        outage, floor = figures.median(slug, "cold backup", "summoner", "outage"), figures.median(slug, "stop and start", "engine", "outage")
        if outage is not None and floor is not None:
            checks.append((f"{slug}: outage of a cold backup, s", outage, floor + 1, outage <= floor + 1, "<="))
    peak = figures.most("rss_mib")
    if peak is not None:
        checks.append(("peak memory of Summoner, MiB", peak, 64, peak <= 64, "<="))
    table(["", "", "seconds", "outage", "memory", "/ summoner"], rows)
    print("\nAgainst what is expected.\n")
    table(["", "measured", "expected", ""],
          [[n, shown(v, 2), f"{sign} {limit:.2f}", "ok" if good else "MISSED"] for n, v, limit, good, sign in checks])
    return [{"what": n, "measured": v, "limit": limit, "ok": good} for n, v, limit, good, _ in checks]


def about_machine(runs):
    machine = {k: v for k, v in common.about_machine(runs).items() if k != "compose"}
    for name, argv in (("restic", ["restic", "version"]), ("rclone", ["rclone", "version"]), ("zstd", ["zstd", "--version"]), ("age", ["age", "--version"])):
        machine[name] = common.first_line(argv)[0]
    return machine


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sizes", default="1G")
    parser.add_argument("--only", default="pg,maria,cold,upload")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--s3")
    parser.add_argument("--json", default="target/bench/backup.json")
    options = parser.parse_args()
    options.sizes = [(text, int(text[:-1]) * SIZES[text[-1].upper()]) for text in options.sizes.split(",")]
    options.only = options.only.split(",")
    return options


def main():
    options = parse()
    common.BINARY, common.COMPOSE = options.binary, "/bin/true"
    Path("target/bench").mkdir(parents=True, exist_ok=True)
    common.WORK = Path(tempfile.mkdtemp(prefix="work-", dir="target/bench")).resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    s3 = None
    try:
        common.sweep()
        if options.s3 and "upload" in options.only:
            s3 = S3("s3s-fs", options.s3)
        project, figures = Project(s3), Figures()
        machine, loads = about_machine(options.runs), []
        project.run("up", "--yes")
        pg, maria = Postgres(project.container("pg")), MariaDb(project.container("maria"))
        for text, size in options.sizes:
            sums = {}
            for db in (pg, maria):
                if db.minion in options.only or db is pg:
                    print(f"filling {db.engine} with {text}", flush=True)
                    db.fill(size)
                    sums[db.minion] = db.checksum()
            for number in range(options.runs):
                loads.append(os.getloadavg()[0])
                print(f"round {number + 1} of {options.runs}, {text}, load {loads[-1]:.1f}", flush=True)
                for db in (pg, maria):
                    if db.minion in options.only and project.has("dump"):
                        dumps(project, db, figures, f"{db.engine} {text}", sums[db.minion])
                if s3 and project.has("dump"):
                    uploads(project, pg, figures, f"PostgreSQL {text}", sums["pg"], s3)
                if "cold" in options.only:
                    pg.sql("drop database if exists check_copy;", "postgres")
                    cold(project, pg, figures, f"PostgreSQL {text}", sums["pg"])
        machine["load during"] = f"{min(loads):.1f} to {max(loads):.1f}"
        checks = report(figures, machine)
        out = Path(options.json)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"schema_version": 1, "machine": machine, "expectations": checks, "figures": figures.values}, indent=1) + "\n")
        print(f"\nall figures: {out}")
    except Invalid as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if s3:
            s3.close()
        common.sweep()
        # Data directories belong to the databases' users.
        shutil.rmtree(common.WORK, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

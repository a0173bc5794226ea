"""Stand-ins for mongodump and mongorestore: archives only, in MongoDB's own archive format, with the
options that backups use. For small data: the checksums are computed in Python.

    tools.py dump|restore OPTION…
"""

import argparse
import fnmatch
import gzip
import os
import re
import struct
import sys

import bson
import pymongo
from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

MAGIC = 0x8199E26D
TERMINATOR = b"\xff\xff\xff\xff"
RAW = CodecOptions(document_class=RawBSONDocument)
VERSION = "100.0.0-standin"


class Failed(Exception):
    pass


def crc_table():
    """CRC-64 of ECMA-182, reflected, as the archive format has it."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0xC96C5795D7870F42 if value & 1 else 0)
        table.append(value)
    return table


TABLE = crc_table()


def crc64(crc, content):
    crc ^= 0xFFFFFFFFFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFFFFFFFFFF


def signed(crc):
    return bson.Int64(crc - (1 << 64) if crc >> 63 else crc)


def options(kind):
    parser = argparse.ArgumentParser(prog=f"mongo{kind}", allow_abbrev=False, add_help=False)
    both = {
        "--uri": {}, "-h": {"dest": "host"}, "--host": {"dest": "host"}, "--port": {"type": int},
        "-u": {"dest": "username"}, "--username": {"dest": "username"},
        "-p": {"dest": "password"}, "--password": {"dest": "password"}, "--config": {},
        "--authenticationDatabase": {}, "--authenticationMechanism": {},
        "-d": {"dest": "db"}, "--db": {"dest": "db"}, "-c": {"dest": "collection"},
        "--collection": {"dest": "collection"}, "-j": {}, "--numParallelCollections": {},
        "--archive": {"nargs": "?", "const": "-"}, "--out": {}, "-o": {"dest": "out"},
        "--readPreference": {}, "--numInsertionWorkersPerCollection": {}, "--batchSize": {},
    }
    for name in ("--excludeCollection", "--nsInclude", "--nsExclude", "--nsFrom", "--nsTo"):
        both[name] = {"action": "append", "default": []}
    for name in (
        "--gzip", "--drop", "--quiet", "--oplog", "--oplogReplay", "--stopOnError", "--dryRun", "--version",
        "--objcheck", "--noIndexRestore", "--noOptionsRestore", "--maintainInsertionOrder", "--preserveUUID",
        "--dumpDbUsersAndRoles", "--restoreDbUsersAndRoles", "-v", "-vv", "--verbose",
    ):
        both[name] = {"action": "store_true"}
    for name, how in both.items():
        parser.add_argument(name, **how)
    return parser.parse_args(sys.argv[2:])


def password_of(given):
    """From the option, from `--config`, or a line of standard input: never from the environment."""
    if given.config:
        with open(given.config, encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "password":
                    value = value.strip()
                    if value[:1] == '"':
                        return json_util.loads(value)
                    return value[1:-1].replace("''", "'") if value[:1] == "'" else value
    if given.password is not None:
        return given.password
    if given.username:
        print("Enter password for mongo user:\n", file=sys.stderr)
        # Byte by byte, as the real ones do: an archive may follow.
        line = b""
        while (byte := os.read(0, 1)) not in (b"", b"\n"):
            line += byte
        return line.decode()
    return None


def connect(given):
    if given.uri:
        client = pymongo.MongoClient(given.uri, serverSelectionTimeoutMS=10000)
    else:
        login = {}
        password = password_of(given)
        if given.username:
            login = {
                "username": given.username, "password": password,
                "authSource": given.authenticationDatabase or given.db or "admin",
            }
        client = pymongo.MongoClient(
            given.host or "localhost", given.port or 27017, serverSelectionTimeoutMS=10000, **login
        )
    try:
        client.admin.command("ping")
        client.list_database_names()
    except (pymongo.errors.PyMongoError, IndexError) as error:
        # pymongo stumbles over an empty password.
        raise Failed(f"can't create session: failed to connect to mongodb: {error}") from error
    return client


def dump(given, client, say):
    if given.archive is None:
        raise Failed("the stand-in writes archives only: --archive")
    if given.oplog:
        raise Failed("error getting oplog start: not a replica set member")
    out = sys.stdout.buffer if given.archive == "-" else open(given.archive, "wb")  # noqa: SIM115
    plain = out
    if given.gzip:
        out = gzip.GzipFile(fileobj=plain, mode="wb", compresslevel=6)
    out.write(struct.pack("<I", MAGIC))
    version = client.server_info()["version"]
    out.write(bson.encode({
        "concurrent_collections": 4, "version": "0.1", "server_version": version, "tool_version": VERSION,
    }))
    spaces = []
    for db in [given.db] if given.db else client.list_database_names():
        if db in ("local", "config"):
            continue
        for found in client[db].list_collections():
            name = found["name"]
            if given.collection not in (None, name) or name in given.excludeCollection:
                continue
            spaces.append((db, name))
            indexes = [dict(index) for index in client[db][name].list_indexes()]
            metadata = {
                "options": found.get("options", {}), "indexes": indexes, "uuid": "",
                "collectionName": name, "type": "collection",
            }
            out.write(bson.encode({
                "db": db, "collection": name, "metadata": json_util.dumps(metadata), "size": 0, "type": "collection",
            }))
    out.write(TERMINATOR)
    for db, name in spaces:
        say(f"writing {db}.{name} to archive on stdout")
        count = crc = 0
        head = {"db": db, "collection": name, "EOF": False, "CRC": bson.Int64(0)}
        out.write(bson.encode(head))
        for document in client[db].get_collection(name, codec_options=RAW).find({}, batch_size=1000):
            out.write(document.raw)
            crc = crc64(crc, document.raw)
            count += 1
        out.write(TERMINATOR)
        out.write(bson.encode({**head, "EOF": True, "CRC": signed(crc)}))
        out.write(TERMINATOR)
        say(f"done dumping {db}.{name} ({count} document{'' if count == 1 else 's'})")
    if given.gzip:
        out.close()
    plain.flush()


class Archive:
    """Reads an archive and believes nothing: whatever ends too soon is an error."""

    def __init__(self, file):
        self.file = file
        magic = file.read(4)
        if len(magic) < 4 or struct.unpack("<I", magic)[0] != MAGIC:
            raise Failed("stream or file does not appear to be a mongodump archive")
        self.header = bson.decode(self.block() or b"")
        self.prelude = {}
        while block := self.block():
            meta = bson.decode(block)
            self.prelude[meta["db"], meta["collection"]] = json_util.loads(meta["metadata"])

    def block(self, may_end=False):
        """The next document; empty at a terminator; None at the end, where that is allowed."""
        size = self.file.read(4)
        if size == b"" and may_end:
            return None
        if size == TERMINATOR:
            return b""
        if len(size) < 4:
            raise Failed("corruption found in archive; unexpected EOF")
        (length,) = struct.unpack("<i", size)
        content = size + self.file.read(max(length - 4, 0))
        if len(content) != length or content[-1:] != b"\0":
            raise Failed("corruption found in archive; unexpected EOF")
        return content

    def documents(self):
        """(namespace, document) of all; (namespace, None) when a namespace is complete."""
        sums, complete = {}, set()
        while (block := self.block(may_end=True)) is not None:
            head = bson.decode(block)
            space = head["db"], head["collection"]
            if head["EOF"]:
                if signed(sums.get(space, 0)) != head["CRC"]:
                    raise Failed(f"corruption found in archive; CRC mismatch in {'.'.join(space)}")
                complete.add(space)
                self.block()
                yield space, None
                continue
            while document := self.block():
                sums[space] = crc64(sums.get(space, 0), document)
                yield space, document
        missing = set(self.prelude) - complete
        if missing:
            raise Failed(f"corruption found in archive; unexpected EOF: {'.'.join(sorted(missing)[0])} is incomplete")


def renamed(given, db, name):
    space = f"{db}.{name}"
    for old, new in zip(given.nsFrom, given.nsTo):
        match = re.fullmatch(re.escape(old).replace(r"\*", "(.*)"), space)
        if match:
            for part in match.groups():
                new = new.replace("*", part, 1)
            return tuple(new.split(".", 1))
    return db, name


def wanted(given, db, name):
    space = f"{db}.{name}"
    if given.db not in (None, db) or given.collection not in (None, name):
        return False
    if any(fnmatch.fnmatchcase(space, pattern) for pattern in given.nsExclude):
        return False
    return not given.nsInclude or any(fnmatch.fnmatchcase(space, pattern) for pattern in given.nsInclude)


def restore(given, client, say):
    if given.archive is None:
        raise Failed("the stand-in reads archives only: --archive")
    if given.oplogReplay:
        raise Failed("no oplog file to replay; make sure you run mongodump with --oplog")
    file = sys.stdin.buffer if given.archive == "-" else open(given.archive, "rb")  # noqa: SIM115
    archive = Archive(gzip.GzipFile(fileobj=file) if given.gzip else file)
    for space in archive.prelude:
        if wanted(given, *space) and not given.dryRun:
            db, name = renamed(given, *space)
            if given.drop:
                client[db].drop_collection(name)
            if name not in client[db].list_collection_names():
                client[db].create_collection(name)
    done = 0
    batch = {}

    def flush(space):
        nonlocal done
        documents = batch.pop(space, [])
        if documents:
            db, name = renamed(given, *space)
            client[db].get_collection(name, codec_options=RAW).insert_many(documents)
            done += len(documents)

    for space, document in archive.documents():
        if not wanted(given, *space) or given.dryRun:
            continue
        if document is None:
            flush(space)
            say(f"finished restoring {'.'.join(renamed(given, *space))}")
            continue
        batch.setdefault(space, []).append(RawBSONDocument(document))
        if len(batch[space]) >= 500:
            flush(space)
    kept = ("unique", "sparse", "expireAfterSeconds", "name", "partialFilterExpression")
    for space, metadata in archive.prelude.items():
        if not wanted(given, *space) or given.dryRun or given.noIndexRestore:
            continue
        db, name = renamed(given, *space)
        for index in metadata.get("indexes", []):
            if index["name"] != "_id_":
                keys = [(k, int(v) if isinstance(v, (int, float)) else v) for k, v in index["key"].items()]
                client[db][name].create_index(keys, **{k: v for k, v in index.items() if k in kept})
    say(f"{done} document(s) restored successfully. 0 document(s) failed to restore.")


def main():
    kind = sys.argv[1]
    given = options(kind)
    if given.version:
        print(f"mongo{kind} version: {VERSION}\n(a stand-in for tests)")
        return 0

    def say(text):
        if not given.quiet:
            print(text, file=sys.stderr)

    try:
        client = connect(given)
        {"dump": dump, "restore": restore}[kind](given, client, say)
    except (Failed, pymongo.errors.PyMongoError, bson.errors.BSONError, OSError) as error:
        print(f"Failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

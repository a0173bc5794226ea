"""A stand-in for mongosh: real JavaScript (QuickJS) with the part of the shell's API that health
checks, init scripts and tests use (mongosh.js). This half has the connection; the two talk in lines
of JSON through a pair of pipes.
"""

import argparse
import json
import os
import subprocess
import sys

import pymongo
from bson import json_util

HERE = os.path.dirname(os.path.abspath(__file__))


def options():
    parser = argparse.ArgumentParser(prog="mongosh", allow_abbrev=False, add_help=False)
    for names in (
        ("--host",), ("--port",), ("-u", "--username"), ("-p", "--password"), ("--authenticationDatabase",),
        ("--authenticationMechanism",),
    ):
        parser.add_argument(*names)
    for name in ("--eval", "-f", "--file"):
        parser.add_argument(name, action="append", default=[], dest="file" if name == "-f" else None)
    for name in ("--quiet", "--norc", "--nodb", "--version"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--json", nargs="?", const="canonical", choices=("canonical", "relaxed"))
    parser.add_argument("rest", nargs="*")
    return parser.parse_intermixed_args()


class Bridge:
    def __init__(self, given):
        rest = list(given.rest)
        where = rest.pop(0) if rest and not rest[0].endswith(".js") else ""
        self.files = given.file + rest
        self.login = {}
        if where.startswith("mongodb://"):
            self.uri = where
            self.db = pymongo.uri_parser.parse_uri(where)["database"] or "test"
        else:
            self.uri = f"mongodb://{given.host or '127.0.0.1'}:{given.port or 27017}/"
            self.db = where or "test"
        if given.username:
            password = given.password if given.password is not None else sys.stdin.readline().rstrip("\n")
            self.login = {
                "username": given.username, "password": password,
                "authSource": given.authenticationDatabase or (self.db if where else "admin"),
            }
        self.client = None

    def connect(self):
        if self.client is None:
            self.client = pymongo.MongoClient(
                self.uri, serverSelectionTimeoutMS=5000, directConnection=True, **self.login
            )
        return self.client

    def authenticate(self, db, user, password):
        self.login = {"username": user, "password": password, "authSource": db}
        self.client = None
        self.connect()[db].command("ping")
        return {"ok": 1}

    def answer(self, message):
        try:
            if "auth" in message:
                return {"result": self.authenticate(*message["auth"])}
            command = json_util.loads(json.dumps(message["command"]))
            result = self.connect()[message["db"]].command(command)
            return {"result": json.loads(json_util.dumps(result, json_options=json_util.CANONICAL_JSON_OPTIONS))}
        except pymongo.errors.OperationFailure as error:
            return {"error": error.details.get("errmsg", str(error)) if error.details else str(error),
                    "code": error.code, "codeName": (error.details or {}).get("codeName", "")}
        except Exception as error:  # noqa: BLE001: whatever it is, the shell has to tell it
            return {"error": f"{type(error).__name__}: {error}", "code": None, "codeName": ""}


def main():
    given = options()
    if given.version:
        print("2.0.0-standin")
        return 0
    bridge = Bridge(given)
    scripts = [{"name": "eval", "text": text} for text in given.eval]
    for name in bridge.files:
        with open(name, encoding="utf-8") as file:
            scripts.append({"name": name, "text": file.read()})
    if not scripts:
        scripts.append({"name": "stdin", "text": sys.stdin.read()})
    start = {
        "db": bridge.db, "scripts": scripts, "print": bool(given.eval) or not bridge.files,
        "json": given.json, "env": dict(os.environ),
    }
    to_shell, from_us = os.pipe()
    from_shell, to_us = os.pipe()
    # The shell's ends are its descriptors 3 and 4.
    shell = subprocess.Popen(
        ["sh", "-c", f'exec qjs --std "$0" 3<&{to_shell} 4>&{to_us}', os.path.join(HERE, "mongosh.js")],
        pass_fds=(to_shell, to_us),
        stdin=subprocess.DEVNULL,
    )
    os.close(to_shell)
    os.close(to_us)
    with os.fdopen(from_us, "w", encoding="utf-8") as out, os.fdopen(from_shell, encoding="utf-8") as inward:
        try:
            out.write(json.dumps(start) + "\n")
            out.flush()
            for line in inward:
                out.write(json.dumps(bridge.answer(json.loads(line))) + "\n")
                out.flush()
        except BrokenPipeError:
            pass
    return shell.wait()


if __name__ == "__main__":
    sys.exit(main())

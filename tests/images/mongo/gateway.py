"""MongoDB's wire protocol (OP_MSG, and OP_QUERY for the handshake, SCRAM-SHA-256) in front of
DocumentDB. One connection to PostgreSQL for each client. For tests only: users and what they may
do are checked here, in a simple way, and nowhere else.
"""

import base64
import datetime
import json
import os
import socketserver
import struct
import time

import bson
import psycopg
from psycopg import sql

VERSION = "8.0.26"
SETTINGS = "-c search_path=documentdb_api_catalog,documentdb_api,documentdb_core,public"
AUTHENTICATION = os.environ["GATEWAY_AUTHENTICATION"] == "yes"
OP_MSG, OP_QUERY, OP_REPLY = 2013, 2004, 1
CHECKSUM, MORE_TO_COME = 1, 2

# What anybody may ask.
OPEN = {
    "hello", "ismaster", "ping", "buildinfo", "saslstart", "saslcontinue", "logout", "endsessions",
    "connectionstatus", "whatsmyuri", "refreshsessions", "killcursors", "getcmdlineopts",
}
READS = {
    "find", "aggregate", "count", "distinct", "listcollections", "listindexes", "getmore", "dbstats",
    "collstats", "listdatabases", "serverstatus", "hostinfo", "getparameter",
}
# On the database admin: they hold for all databases.
EVERYWHERE = {"root", "__system", "restore", "readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterAdmin"}
READS_EVERYWHERE = {"backup", "readAnyDatabase", "clusterMonitor"}
CURSORS = {
    "find": "find_cursor_first_page",
    "aggregate": "aggregate_cursor_first_page",
    "listCollections": "list_collections_cursor_first_page",
    "listIndexes": "list_indexes_cursor_first_page",
}
SEQUENCES = {"insert": "documents", "update": "updates", "delete": "deletes"}


class Refused(Exception):
    def __init__(self, code, name, message):
        super().__init__(message)
        self.code, self.name = code, name


class Client(socketserver.BaseRequestHandler):
    def setup(self):
        self.engine = psycopg.connect(autocommit=True, options=SETTINGS)
        self.cursors, self.user, self.roles, self.scram = {}, None, [], None

    def finish(self):
        self.engine.close()

    # ---- the wire ----------------------------------------------------------

    def receive(self, count):
        content = bytearray()
        while len(content) < count:
            piece = self.request.recv(min(1 << 20, count - len(content)))
            if not piece:
                raise EOFError
            content += piece
        return bytes(content)

    def handle(self):
        try:
            while True:
                length, number, _, kind = struct.unpack("<iiii", self.receive(16))
                body = self.receive(length - 16)
                if kind == OP_MSG:
                    flags, document, sequences = self.message(body)
                    answer = self.answer(document, sequences)
                    if not flags & MORE_TO_COME:
                        self.send(OP_MSG, number, struct.pack("<I", 0) + b"\0" + answer)
                elif kind == OP_QUERY:
                    document = body[body.index(b"\0", 4) + 9 :]
                    answer = self.answer(document, {})
                    self.send(OP_REPLY, number, struct.pack("<iqii", 8, 0, 0, 1) + answer)
                else:
                    return
        except (EOFError, ConnectionError):
            pass

    @staticmethod
    def message(body):
        (flags,) = struct.unpack_from("<I", body)
        end = len(body) - (4 if flags & CHECKSUM else 0)
        at, document, sequences = 4, None, {}
        while at < end:
            (length,) = struct.unpack_from("<i", body, at + 1)
            section = body[at + 1 : at + 1 + length]
            if body[at] == 0:
                document = section
            else:
                name_end = section.index(b"\0", 4)
                sequences[section[4:name_end].decode()] = section[name_end + 1 :]
            at += 1 + length
        return flags, document, sequences

    def send(self, kind, to, body):
        self.request.sendall(struct.pack("<iiii", 16 + len(body), 0, to, kind) + body)

    def answer(self, raw, sequences):
        try:
            command = bson.decode(raw)
            name = next(iter(command))
            self.admit(name, command.get("$db", "admin"))
            result = self.run(name, command, command.get("$db", "admin"), sequences)
            if isinstance(result, bytes):
                return result
            return bson.encode({**result, "ok": 1.0})
        except Refused as error:
            return bson.encode({"ok": 0.0, "errmsg": str(error), "code": error.code, "codeName": error.name})
        except psycopg.Error as error:
            text = error.diag.message_primary or str(error)
            # Codes of the engine: unique and exclusion violations are MongoDB's duplicate key.
            code = 11000 if error.sqlstate in ("23505", "23P01") else 8000
            return bson.encode({"ok": 0.0, "errmsg": text, "code": code, "codeName": "DocumentDB"})

    # ---- who may do what ---------------------------------------------------

    def admit(self, name, db):
        command = name.lower()
        if not AUTHENTICATION or command in OPEN:
            return
        if self.user is None:
            raise Refused(13, "Unauthorized", f"Command {name} requires authentication")
        for role in self.roles:
            everywhere = role["db"] == "admin" and role["role"] in EVERYWHERE
            reads = role["db"] == "admin" and role["role"] in READS_EVERYWHERE or role["db"] == db
            writes = role["db"] == db and role["role"] in {"readWrite", "dbOwner", "dbAdmin"}
            if everywhere or writes or reads and command in READS or command == "listdatabases":
                return
        raise Refused(13, "Unauthorized", f"not authorized on {db} to execute command {name}")

    def visible(self, db):
        if not AUTHENTICATION:
            return True
        wide = EVERYWHERE | READS_EVERYWHERE
        return any(r["db"] == db or r["db"] == "admin" and r["role"] in wide for r in self.roles)

    @staticmethod
    def role_name(db, user):
        return f"{db}.{user}"

    def create_user(self, command, db):
        name, password = command["createUser"], command.get("pwd")
        roles = [{"role": r, "db": db} if isinstance(r, str) else dict(r) for r in command.get("roles", [])]
        if self.row("SELECT 1 FROM stand_in.users WHERE name = %s AND db = %s", name, db):
            raise Refused(51003, "Location51003", f'User "{name}@{db}" already exists')
        role = sql.Identifier(self.role_name(db, name))
        self.engine.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
        self.engine.execute("INSERT INTO stand_in.users VALUES (%s, %s, %s)", (name, db, json.dumps(roles)))
        return {}

    def update_user(self, command, db):
        name = command["updateUser"]
        if not self.row("SELECT 1 FROM stand_in.users WHERE name = %s AND db = %s", name, db):
            raise Refused(11, "UserNotFound", f"User {name}@{db} not found")
        if "pwd" in command:
            role = sql.Identifier(self.role_name(db, name))
            self.engine.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(command["pwd"])))
        if "roles" in command:
            roles = [{"role": r, "db": db} if isinstance(r, str) else dict(r) for r in command["roles"]]
            self.engine.execute("UPDATE stand_in.users SET roles = %s WHERE name = %s AND db = %s", (json.dumps(roles), name, db))
        return {}

    def drop_user(self, name, db):
        if not self.row("DELETE FROM stand_in.users WHERE name = %s AND db = %s RETURNING 1", name, db):
            raise Refused(11, "UserNotFound", f"User '{name}@{db}' not found")
        self.engine.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(self.role_name(db, name))))
        return {}

    def users_info(self, what, db):
        name = what.get("user") if isinstance(what, dict) else what
        rows = self.engine.execute("SELECT name, db, roles FROM stand_in.users ORDER BY db, name").fetchall()
        users = [{"_id": f"{d}.{n}", "user": n, "db": d, "roles": r} for n, d, r in rows]
        if name != 1:
            users = [u for u in users if u["user"] == name and u["db"] == db]
        return {"users": users}

    def sasl_start(self, command, db):
        if command.get("mechanism") != "SCRAM-SHA-256":
            raise Refused(18, "AuthenticationFailed", "the stand-in knows SCRAM-SHA-256 only")
        bare = bytes(command["payload"]).decode().split(",", 2)[2]
        fields = dict(field.split("=", 1) for field in bare.split(","))
        user = fields["n"].replace("=2C", ",").replace("=3D", "=")
        found = self.row(
            "SELECT documentdb_api_internal.scram_sha256_get_salt_and_iterations(%s)::bytea",
            self.role_name(db, user),
        )
        salt = bson.decode(bytes(found[0]))
        if salt.get("ok") != 1:
            raise Refused(18, "AuthenticationFailed", "Authentication failed.")
        nonce = fields["r"] + base64.b64encode(os.urandom(24)).decode()
        first = f"r={nonce},s={salt['salt']},i={salt['iterations']}"
        self.scram = (db, user, bare, first, nonce)
        return {"conversationId": 1, "done": False, "payload": first.encode()}

    def sasl_continue(self, command):
        payload = bytes(command["payload"]).decode()
        if self.scram is None or not payload:
            return {"conversationId": 1, "done": True, "payload": b""}
        fields = dict(field.split("=", 1) for field in payload.split(","))
        db, user, bare, first, nonce = self.scram
        found = self.row(
            "SELECT documentdb_api_internal.authenticate_with_scram_sha256(%s, %s, %s)::bytea",
            self.role_name(db, user),
            f"{bare},{first},c={fields['c']},r={nonce}",
            fields["p"],
        )
        verdict = bson.decode(bytes(found[0]))
        if fields["r"] != nonce or verdict.get("ok") != 1:
            raise Refused(18, "AuthenticationFailed", "Authentication failed.")
        row = self.row("SELECT roles FROM stand_in.users WHERE name = %s AND db = %s", user, db)
        self.user, self.roles = f"{user}@{db}", row[0]
        return {"conversationId": 1, "done": True, "payload": ("v=" + verdict["ServerSignature"]).encode()}

    # ---- commands ----------------------------------------------------------

    def row(self, statement, *values):
        return self.engine.execute(statement, values).fetchone()

    @staticmethod
    def clean(command, *more):
        """What the engine understands: without what belongs to sessions and to the protocol."""
        without = {"lsid", "txnNumber", "apiVersion", "comment", *more}
        return bson.encode({k: v for k, v in command.items() if not k.startswith("$") and k not in without})

    def hello(self, command, db):
        answer = {
            "ismaster": True, "isWritablePrimary": True, "readOnly": False,
            "maxBsonObjectSize": 16777216, "maxMessageSizeBytes": 48000000, "maxWriteBatchSize": 25000,
            "localTime": datetime.datetime.now(datetime.timezone.utc),
            "logicalSessionTimeoutMinutes": 30, "minWireVersion": 0, "maxWireVersion": 21,
        }
        if "saslSupportedMechs" in command:
            answer["saslSupportedMechs"] = ["SCRAM-SHA-256"]
        early = command.get("speculativeAuthenticate")
        if early:
            try:
                answer["speculativeAuthenticate"] = self.sasl_start(early, early.get("db", db))
            except (Refused, psycopg.Error):
                # Then it is asked for again, and told why not.
                pass
        return answer

    def list_databases(self):
        rows = self.engine.execute(
            "SELECT database_name, count(*) FROM documentdb_api_catalog.collections GROUP BY 1 ORDER BY 1"
        ).fetchall()
        databases = [{"name": n, "sizeOnDisk": 8192 * c, "empty": False} for n, c in rows if self.visible(n)]
        return {"databases": databases, "totalSize": sum(d["sizeOnDisk"] for d in databases)}

    def first_page(self, name, command, db):
        page, rest, _, cursor = self.row(
            "SELECT cursorpage::bytea, continuation::bytea, persistconnection, cursorid "
            f"FROM documentdb_api.{CURSORS[name]}(%s, %b::bytea::documentdb_core.bson)",
            db,
            self.clean(command),
        )
        return self.page(page, rest, cursor)

    def next_page(self, command, db):
        cursor = command["getMore"]
        if cursor not in self.cursors:
            raise Refused(43, "CursorNotFound", f"cursor id {cursor} not found")
        page, rest = self.row(
            "SELECT cursorpage::bytea, continuation::bytea FROM documentdb_api.cursor_get_more("
            "%s, %b::bytea::documentdb_core.bson, %b::bytea::documentdb_core.bson)",
            db,
            self.clean(command),
            self.cursors.pop(cursor),
        )
        return self.page(page, rest, cursor)

    def page(self, page, rest, cursor):
        answer = bson.decode(bytes(page))
        answer["cursor"]["id"] = bson.Int64(0)
        if rest is not None:
            self.cursors[cursor] = bytes(rest)
            answer["cursor"]["id"] = bson.Int64(cursor)
        return answer

    def create_indexes(self, command, db):
        for index in command["indexes"]:
            index.pop("ns", None)
        answer, good, queued = self.row(
            "SELECT retval::bytea, ok, requests::bytea "
            "FROM documentdb_api.create_indexes_background(%s, %b::bytea::documentdb_core.bson)",
            db,
            self.clean(command, "commitQuorum"),
        )
        # The engine only queues them, to be built in a while. MongoDB answers when they are there.
        deadline = time.monotonic() + 60
        complete = not bson.decode(bytes(queued)) if queued else True
        while good and not complete:
            if time.monotonic() > deadline:
                raise Refused(50, "MaxTimeMSExpired", "the index is not built yet")
            self.engine.execute("CALL documentdb_api_internal.build_index_concurrently(1)")
            answer, good, complete = self.row(
                "SELECT retval::bytea, ok, complete "
                "FROM documentdb_api_internal.check_build_index_status(%b::bytea::documentdb_core.bson)",
                bytes(queued),
            )
            time.sleep(0 if complete else 0.05)
        if not good:
            told = bson.decode(bytes(answer))
            for shard in told.get("raw", {}).values():
                told = {**told, **shard}
            raise Refused(told.get("code", 67), "CannotCreateIndex", told.get("errmsg", str(told))[:300])
        return {"numIndexesBefore": 1, "numIndexesAfter": 1 + len(command["indexes"])}

    def run(self, name, command, db, sequences):
        small = name.lower()
        if small in ("hello", "ismaster"):
            return self.hello(command, db)
        if small in ("ping", "endsessions", "killcursors", "logout", "refreshsessions"):
            return {}
        if small == "buildinfo":
            return {
                "version": VERSION, "versionArray": [int(n) for n in VERSION.split(".")] + [0],
                "gitVersion": "stand-in", "modules": [], "bits": 64, "maxBsonObjectSize": 16777216,
                "storageEngines": ["documentdb"],
            }
        if small == "getparameter":
            return {"featureCompatibilityVersion": {"version": "8.0"}}
        if small == "connectionstatus":
            users = [dict(zip(("user", "db"), self.user.rsplit("@", 1)))] if self.user else []
            return {"authInfo": {"authenticatedUsers": users, "authenticatedUserRoles": self.roles}}
        if small in ("serverstatus", "hostinfo", "getcmdlineopts", "whatsmyuri"):
            return {"version": VERSION, "process": "mongod", "storageEngine": {"name": "documentdb"}}
        if small == "saslstart":
            return self.sasl_start(command, db)
        if small == "saslcontinue":
            return self.sasl_continue(command)
        if small == "createuser":
            return self.create_user(command, db)
        if small == "updateuser":
            return self.update_user(command, db)
        if small == "dropuser":
            return self.drop_user(command[name], db)
        if small == "usersinfo":
            return self.users_info(command[name], db)
        if small == "listdatabases":
            return self.list_databases()
        if name in CURSORS:
            return self.first_page(name, command, db)
        if small == "getmore":
            return self.next_page(command, db)
        if small in SEQUENCES:
            answer = bson.decode(self.one(
                f"SELECT p_result::bytea FROM documentdb_api.{small}"
                "(%s, %b::bytea::documentdb_core.bson, %b::bytea::documentdb_core.bsonsequence, NULL)",
                db, self.clean(command), sequences.get(SEQUENCES[small]),
            ))
            for error in answer.get("writeErrors", []):
                # The engine has numbers of its own for what drivers look at.
                if error.get("errmsg", "").startswith("Duplicate key"):
                    error["code"] = 11000
            return answer
        if small == "findandmodify":
            return self.one(
                "SELECT p_result::bytea FROM documentdb_api.find_and_modify(%s, %b::bytea::documentdb_core.bson, NULL)",
                db, self.clean(command),
            )
        if small in ("count", "distinct"):
            return self.one(
                f"SELECT document::bytea FROM documentdb_api.{small}_query(%s, %b::bytea::documentdb_core.bson)",
                db, self.clean(command),
            )
        if small == "create":
            return self.one(
                "SELECT documentdb_api.create_collection_view(%s, %b::bytea::documentdb_core.bson)::bytea",
                db, self.clean(command, "idIndex"),
            )
        if small == "createindexes":
            return self.create_indexes(command, db)
        if small == "drop":
            if not self.row("SELECT documentdb_api.drop_collection(%s, %s)", db, command[name])[0]:
                raise Refused(26, "NamespaceNotFound", "ns not found")
            return {"ns": f"{db}.{command[name]}"}
        if small == "dropdatabase":
            self.row("SELECT documentdb_api.drop_database(%s)", db)
            return {"dropped": db}
        if small == "renamecollection":
            db, old = command[name].split(".", 1)
            other, new = command["to"].split(".", 1)
            if other != db:
                raise Refused(59, "CommandNotFound", "the stand-in renames within one database only")
            self.row("SELECT documentdb_api.rename_collection(%s, %s, %s, %s)", db, old, new, bool(command.get("dropTarget")))
            return {}
        if small == "dbstats":
            return self.one("SELECT documentdb_api.db_stats(%s, 1, false)::bytea", db)
        if small == "collstats":
            return self.one("SELECT documentdb_api.coll_stats(%s, %s, 1)::bytea", db, command[name])
        raise Refused(59, "CommandNotFound", f"no such command: '{name}'")

    def one(self, statement, *values):
        return bytes(self.row(statement, *values)[0])


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    where = (os.environ["GATEWAY_ADDRESS"], int(os.environ["GATEWAY_PORT"]))
    with Server(where, Client) as server:
        server.serve_forever()

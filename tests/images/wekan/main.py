"""A stand-in for WeKan: names every setting that a template forgot, needs its database, answers the
sign-in page. Not WeKan."""

import http.server
import os
import sys
import urllib.parse

import pymongo

NAME = "stand-in for WeKan"


def check():
    missing = []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mounts = {line.split()[4] for line in file}
    writable = os.environ.get("WRITABLE_PATH", "")
    if writable not in mounts:
        missing.append("a mount at WRITABLE_PATH: attachments would be lost with the container")
    elif not os.access(writable, os.W_OK):
        missing.append(f"the right to write to {writable}: it must belong to uid 999")
    if not os.environ.get("ROOT_URL", "").startswith("http"):
        missing.append("ROOT_URL: links and websockets would fail")
    if not os.environ.get("MONGO_URL", "").startswith("mongodb://"):
        missing.append("MONGO_URL=mongodb://…")
    if os.environ.get("WEKAN_DB") != "mongodb":
        missing.append("WEKAN_DB=mongodb: the image would start a database of its own")
    mail = os.environ.get("MAIL_URL")
    if mail is not None and urllib.parse.urlsplit(mail).scheme not in ("smtp", "smtps"):
        missing.append("a MAIL_URL that begins with smtp:// or smtps://")
    for what in missing:
        print(f"{NAME}: the template does not give {what}", file=sys.stderr)
    if missing:
        sys.exit(1)


print(f"{NAME}: this is not WeKan, but an imitation for tests")
check()
client = pymongo.MongoClient(os.environ["MONGO_URL"], serverSelectionTimeoutMS=10000)
db = client.get_default_database()
try:
    # What the first start of the real one leaves, as far as asserts look at it.
    if db.settings.count_documents({}) == 0:
        db.settings.insert_one({"disableRegistration": False, "productName": "stand-in"})
    db.boards.create_index("title")
except pymongo.errors.PyMongoError as error:
    sys.exit(f"{NAME}: the database does not let us in: {error}")
for name in ("attachments", "avatars"):
    os.makedirs(os.path.join(os.environ["WRITABLE_PATH"], name), exist_ok=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        try:
            settings = db.settings.find_one({})
        except pymongo.errors.PyMongoError:
            settings = None
        found = path in ("/", "/sign-in", "/sign-up")
        status = 500 if settings is None else 200 if found else 404
        body = b"<!DOCTYPE html><title>Wekan</title><p>stand-in</p>\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()

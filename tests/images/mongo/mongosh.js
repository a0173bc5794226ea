// The part of mongosh's API that health checks, init scripts and tests use. Runs in QuickJS;
// commands go to mongosh.py through descriptors 3 and 4, one line of JSON each.
const inward = std.fdopen(3, "r");
const out = std.fdopen(4, "w");
const start = JSON.parse(inward.getline());

class MongoServerError extends Error {
  constructor(answer) {
    super(answer.error);
    this.name = "MongoServerError";
    this.code = answer.code;
    this.codeName = answer.codeName;
  }
}

// ---- values that JSON has not ----
class Id {
  constructor(hex) {
    this.hex = hex || Array.from({ length: 24 }, () => Math.floor(Math.random() * 16).toString(16)).join("");
  }
  toString() { return this.hex; }
  toHexString() { return this.hex; }
  toJSON() { return { $oid: this.hex }; }
}
// Called with or without `new`, as people do.
function ObjectId(hex) { return new Id(hex); }
class Wrapped {
  constructor(kind, value) { this.kind = kind; this.value = String(value); }
  toString() { return this.value; }
  valueOf() { return Number(this.value); }
  toNumber() { return Number(this.value); }
  toJSON() { return { [this.kind]: this.value }; }
}
const ISODate = (text) => (text === undefined ? new Date() : new Date(text));
const NumberLong = (value) => new Wrapped("$numberLong", value);
const NumberInt = (value) => new Wrapped("$numberInt", value);
const NumberDecimal = (value) => new Wrapped("$numberDecimal", value);
const Long = { fromString: NumberLong, fromNumber: NumberLong };
Date.prototype.toJSON = function () { return { $date: this.toISOString() }; };

function revive(value) {
  if (Array.isArray(value)) return value.map(revive);
  if (value === null || typeof value !== "object") return value;
  if ("$oid" in value) return new Id(value.$oid);
  if ("$date" in value) return new Date(typeof value.$date === "object" ? Number(value.$date.$numberLong) : value.$date);
  if ("$numberLong" in value) {
    return Number.isSafeInteger(Number(value.$numberLong)) ? Number(value.$numberLong) : NumberLong(value.$numberLong);
  }
  if ("$numberInt" in value) return Number(value.$numberInt);
  if ("$numberDouble" in value) return Number(value.$numberDouble);
  if ("$numberDecimal" in value) return NumberDecimal(value.$numberDecimal);
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, revive(v)]));
}
// Numbers are what a driver makes of them: whole ones are integers.
const EJSON = { stringify: (value, ...rest) => JSON.stringify(value, ...rest), parse: (text) => revive(JSON.parse(text)) };

function call(message) {
  out.puts(JSON.stringify(message) + "\n");
  out.flush();
  const line = inward.getline();
  if (line === null) throw new Error("the connection is gone");
  const answer = JSON.parse(line);
  if (answer.error !== undefined) throw new MongoServerError(answer);
  return revive(answer.result);
}

// ---- databases, collections, cursors ----
class Cursor {
  constructor(collection, command, isAggregate) { Object.assign(this, { collection, command, isAggregate, seen: null }); }
  sort(keys) { this.command.sort = keys; return this; }
  limit(count) { this.command.limit = count; return this; }
  skip(count) { this.command.skip = count; return this; }
  projection(fields) { this.command.projection = fields; return this; }
  all() {
    if (this.seen) return this.seen;
    const db = this.collection.db;
    let page = db.runCommand(this.command).cursor;
    this.seen = page.firstBatch;
    while (Number(page.id) !== 0) {
      page = db.runCommand({ getMore: NumberLong(page.id), collection: this.collection.name }).cursor;
      this.seen = this.seen.concat(page.nextBatch);
    }
    return this.seen;
  }
  toArray() { return this.all().slice(); }
  forEach(action) { this.all().forEach(action); }
  map(action) { return this.all().map(action); }
  hasNext() { return this.all().length > 0; }
  next() { return this.all().shift(); }
  count() { return this.all().length; }
  itcount() { return this.all().length; }
  [Symbol.iterator]() { return this.all()[Symbol.iterator](); }
}

class Collection {
  constructor(db, name) { Object.assign(this, { db, name }); }
  getName() { return this.name; }
  getFullName() { return `${this.db.getName()}.${this.name}`; }
  find(filter = {}, projection) {
    const command = { find: this.name, filter };
    if (projection) command.projection = projection;
    return new Cursor(this, command);
  }
  findOne(filter = {}, projection) { return this.find(filter, projection).limit(1).toArray()[0] ?? null; }
  aggregate(pipeline, options = {}) { return new Cursor(this, { aggregate: this.name, pipeline, cursor: {}, ...options }); }
  insertMany(documents) {
    const whole = documents.map((d) => ("_id" in d ? d : { _id: new ObjectId(), ...d }));
    for (let at = 0; at < whole.length; at += 1000) this.write({ insert: this.name, documents: whole.slice(at, at + 1000) });
    return { acknowledged: true, insertedIds: Object.fromEntries(whole.map((d, i) => [i, d._id])) };
  }
  insertOne(document) { return { acknowledged: true, insertedId: this.insertMany([document]).insertedIds[0] }; }
  write(command) {
    const answer = this.db.runCommand(command);
    if (answer.writeErrors?.length) {
      const [first] = answer.writeErrors;
      throw new MongoServerError({ error: first.errmsg, code: first.code, codeName: "" });
    }
    return answer;
  }
  update(filter, change, options, multi) {
    const answer = this.write({ update: this.name, updates: [{ q: filter, u: change, multi, upsert: !!options?.upsert }] });
    return { acknowledged: true, matchedCount: answer.n, modifiedCount: answer.nModified };
  }
  updateOne(filter, change, options) { return this.update(filter, change, options, false); }
  updateMany(filter, change, options) { return this.update(filter, change, options, true); }
  replaceOne(filter, whole, options) { return this.update(filter, whole, options, false); }
  remove(filter, limit) { return { acknowledged: true, deletedCount: this.write({ delete: this.name, deletes: [{ q: filter, limit }] }).n }; }
  deleteOne(filter) { return this.remove(filter, 1); }
  deleteMany(filter) { return this.remove(filter, 0); }
  countDocuments(filter = {}) {
    const found = this.aggregate([{ $match: filter }, { $group: { _id: 1, n: { $sum: 1 } } }]).toArray();
    return found.length ? Number(found[0].n) : 0;
  }
  estimatedDocumentCount() { return Number(this.db.runCommand({ count: this.name }).n); }
  distinct(key, query = {}) { return this.db.runCommand({ distinct: this.name, key, query }).values; }
  createIndex(key, options = {}) {
    const name = options.name || Object.entries(key).flat().join("_");
    this.db.runCommand({ createIndexes: this.name, indexes: [{ key, ...options, name }] });
    return name;
  }
  getIndexes() { return new Cursor(this, { listIndexes: this.name }).toArray(); }
  drop() { return this.db.runCommand({ drop: this.name }).ok === 1; }
  stats() { return this.db.runCommand({ collStats: this.name }); }
  renameCollection(to, dropTarget = false) {
    return db.adminCommand({ renameCollection: this.getFullName(), to: `${this.db.getName()}.${to}`, dropTarget });
  }
}

class Database {
  constructor(name) { this.dbName = name; }
  getName() { return this.dbName; }
  getSiblingDB(name) { return database(name); }
  getCollection(name) { return new Collection(this, name); }
  runCommand(command) { return call({ db: this.dbName, command: typeof command === "string" ? { [command]: 1 } : command }); }
  adminCommand(command) { return call({ db: "admin", command: typeof command === "string" ? { [command]: 1 } : command }); }
  auth(user, password) {
    if (typeof user === "object") return call({ auth: [this.dbName, user.user, user.pwd] });
    return call({ auth: [this.dbName, user, password] });
  }
  createUser(user) { const { user: name, ...rest } = user; return this.runCommand({ createUser: name, ...rest }); }
  updateUser(name, change) { return this.runCommand({ updateUser: name, ...change }); }
  changeUserPassword(name, pwd) { return this.updateUser(name, { pwd }); }
  dropUser(name) { return this.runCommand({ dropUser: name }).ok === 1; }
  getUser(name) { return this.runCommand({ usersInfo: name }).users[0] ?? null; }
  getUsers() { return { users: this.runCommand({ usersInfo: 1 }).users.filter((u) => u.db === this.dbName), ok: 1 }; }
  createCollection(name, options = {}) { return this.runCommand({ create: name, ...options }); }
  dropDatabase() { return this.runCommand({ dropDatabase: 1 }); }
  getCollectionInfos(filter = {}) { return new Cursor(this.getCollection("$cmd.listCollections"), { listCollections: 1, filter }).toArray(); }
  getCollectionNames() { return this.getCollectionInfos().map((c) => c.name).sort(); }
  stats() { return this.runCommand({ dbStats: 1 }); }
  version() { return this.runCommand({ buildInfo: 1 }).version; }
  hello() { return this.runCommand({ hello: 1 }); }
  serverStatus() { return this.adminCommand({ serverStatus: 1 }); }
  getMongo() { return { getDBNames: () => this.adminCommand({ listDatabases: 1 }).databases.map((d) => d.name), getDB: database }; }
}
function database(name) {
  const plain = new Database(name);
  const whole = new Proxy(plain, {
    get: (target, key) => (key in target || typeof key === "symbol" ? target[key] : new Collection(whole, key)),
  });
  return whole;
}

// ---- globals ----
const show = (value) => {
  if (value instanceof Cursor) value = value.toArray();
  if (value instanceof Wrapped) return value.toString();
  return typeof value === "object" && value !== null ? JSON.stringify(value, null, 2) : String(value);
};
const print = (...values) => { std.out.puts(values.map(show).join(" ") + "\n"); std.out.flush(); };
const leave = (code = 0) => { std.out.flush(); out.close(); std.exit(Number(code)); };
Object.assign(globalThis, {
  db: database(start.db), print, printjson: print, quit: leave, exit: leave, EJSON, ObjectId, ISODate, NumberLong, NumberInt,
  NumberDecimal, Long, MongoServerError,
  process: { env: start.env, exit: leave, argv: [] },
  console: { log: print, error: (...values) => { std.err.puts(values.map(show).join(" ") + "\n"); } },
  sleep: (milliseconds) => os.sleep(milliseconds),
  use: (name) => { globalThis.db = database(name); return `switched to db ${name}`; },
  rs: { status: () => db.adminCommand({ replSetGetStatus: 1 }) },
});

try {
  for (const { text } of start.scripts) {
    const value = std.evalScript(text);
    if (start.print && value !== undefined) print(start.json ? EJSON.stringify(value instanceof Cursor ? value.toArray() : value) : value);
  }
  leave(0);
} catch (error) {
  std.err.puts(`${error.name}: ${error.message}\n`);
  leave(1);
}

// Runs once, when the data directory is new: a user for the application, who may use its database and nothing else.
// The password comes from the environment, so that no argument list ever shows it.
db.getSiblingDB(process.env.APP_DATABASE).createUser({
  user: process.env.APP_USER,
  pwd: process.env.APP_PASSWORD,
  roles: [{ role: "readWrite", db: process.env.APP_DATABASE }],
});

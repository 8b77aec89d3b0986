// Workers and the REST front of Redis on one machine without containers: `npm run pack:worker`, then
// `pm2 start deploy/pm2.config.cjs` in an environment with the variables of docs/operations.md, "Configuration".
const { join } = require("node:path");

const cwd = join(__dirname, "../dist/image/programs");
const program = {
  cwd,
  interpreter: process.execPath,
  node_args: ["--enable-source-maps", "--max-semi-space-size=16", "--disable-warning=ExperimentalWarning"],
  exec_mode: "fork",
  max_memory_restart: "1G",
  // A program that cannot start is started again, at intervals that grow to 15 s.
  exp_backoff_restart_delay: 100,
};

module.exports = {
  apps: [
    {
      ...program,
      name: "worker",
      script: "worker.mjs",
      instances: 4,
      // Each instance has the next port.
      increment_var: "WORKER_HEALTH_PORT",
      env: { NODE_ENV: "production", WORKER_HEALTH_PORT: 9000, WORKER_DRAIN_SECONDS: 30 },
      kill_timeout: 40_000, // longer than WORKER_DRAIN_SECONDS
    },
    {
      ...program,
      name: "redis-rest",
      script: "redis-rest.mjs",
      instances: 1,
      env: { NODE_ENV: "production", REDIS_REST_PORT: 8079 },
      kill_timeout: 10_000,
    },
  ],
};

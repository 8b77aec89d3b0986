# One image for the worker, the REST front of Redis and the self-hosted edge: the command chooses. Its files are those of
# `npm run pack:worker`, which the tests run; its commands were run without Docker, the image itself has not been built here.
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /source
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm run pack:worker -- --out /image

FROM node:24.21.0-bookworm-slim
COPY --from=build /image /app
# A volume that is mounted here belongs to the user of the image.
RUN mkdir /data && chown node:node /data
USER node
ENV NODE_ENV=production
WORKDIR /app/programs
# worker.mjs, redis-rest.mjs, edge.mjs; migrate.mjs, create-key.mjs, revoke-key.mjs. V8's young generation is that of a worker: local/processes/programs.ts
ENTRYPOINT ["node", "--enable-source-maps", "--max-semi-space-size=16", "--disable-warning=ExperimentalWarning"]
CMD ["worker.mjs"]
EXPOSE 9000 8079 8123
# The worker's. compose.yaml has those of the others; without Compose they are given with `docker run --health-cmd`.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "healthcheck.mjs", "http://127.0.0.1:9000/readyz"]

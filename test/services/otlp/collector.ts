/** A collector of traces in the test's process: OTLP over HTTP in JSON, as edges send it, and over gRPC, as workers do. */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Metadata, Server, ServerCredentials, status } from "@grpc/grpc-js";
import { until } from "../waiting.ts";
import { spansOfJson, spansOfProtobuf } from "./received-span.ts";
import type { ReceivedSpan } from "./received-span.ts";

const GRPC_PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

export type Collector = Awaited<ReturnType<typeof startCollector>>;

export async function startCollector() {
  const spans: ReceivedSpan[] = [];
  /** All requests as they were received, to search them for texts that they must not have. */
  const bodies: string[] = [];
  /** The headers of each request: of HTTP, or the metadata of gRPC. */
  const headers: Record<string, unknown>[] = [];
  /** How many more requests the collector refuses, how many it has refused, and its Retry-After. */
  const busy = { times: 0, refused: 0, retryAfter: "0" };
  const isBusy = (): boolean => {
    if (busy.times === 0) return false;
    busy.times -= 1;
    busy.refused += 1;
    return true;
  };

  const http = createServer((request, response) => {
    void read(request).then((text) => answer(text, request, response));
  });
  const answer = (text: string, request: IncomingMessage, response: ServerResponse): void => {
    if (isBusy()) {
      response.writeHead(503, { "retry-after": busy.retryAfter }).end();
      return;
    }
    bodies.push(text);
    headers.push(request.headers);
    spans.push(...spansOfJson(text));
    response
      .writeHead(request.url === "/v1/traces" ? 200 : 404, { "content-type": "application/json" })
      .end("{}");
  };
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));

  const grpc = new Server();
  const serialization = {
    requestSerialize: (bytes: Buffer) => bytes,
    requestDeserialize: (bytes: Buffer) => bytes,
    responseSerialize: (bytes: Buffer) => bytes,
    responseDeserialize: (bytes: Buffer) => bytes,
  };
  const method = { path: GRPC_PATH, requestStream: false, responseStream: false, ...serialization };
  grpc.addService(
    { Export: method },
    {
      Export(
        call: { request: Buffer; metadata: Metadata },
        reply: (error: object | null, bytes?: Buffer) => void,
      ) {
        if (isBusy()) {
          reply({ code: status.UNAVAILABLE, details: "busy", metadata: new Metadata() });
          return;
        }
        bodies.push(call.request.toString("utf8"));
        headers.push(call.metadata.getMap());
        spans.push(...spansOfProtobuf(call.request));
        reply(null, Buffer.alloc(0));
      },
    },
  );
  const grpcPort = await new Promise<number>((resolve, reject) => {
    grpc.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });

  return {
    httpUrl: `http://127.0.0.1:${portOf(http.address())}`,
    grpcUrl: `http://127.0.0.1:${grpcPort}`,
    spans,
    bodies,
    headers,
    busy,
    /** Waits for a span that `matches`. */
    async span(what: string, matches: (span: ReceivedSpan) => boolean): Promise<ReceivedSpan> {
      let found: ReceivedSpan | undefined;
      const isThere = () => {
        found = spans.find(matches);
        return Promise.resolve(found !== undefined);
      };
      await until(
        `the collector has ${what}`,
        isThere,
        undefined,
        () => `: ${spans.map(({ name }) => name).join(", ")}`,
      );
      if (!found) throw new Error(`the collector does not have ${what}`);
      return found;
    },
    stop(): void {
      http.closeAllConnections();
      http.close();
      grpc.forceShutdown();
    },
  };
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString("utf8");
}

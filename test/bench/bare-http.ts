/** The floor of Node's HTTP server on this machine: it reads a body and responds with a few bytes of JSON. */
import { createServer } from "node:http";

const server = createServer((req, res) => {
  req.resume().on("end", () => {
    const body = '{"result":"value"}';
    res.writeHead(200, { "content-type": "application/json", "content-length": body.length }).end(body);
  });
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  console.log(
    JSON.stringify({ event: "bare.listening", port: typeof address === "object" ? address?.port : 0 }),
  );
});

import { parseJson } from "../../engine/parse-json.ts";
import { keepDigits } from "./kept-digits.ts";

/** The types of the two forms that an answer has by the protocol. */
const KNOWN_TYPES = /^(?:application\/json|text\/event-stream)(?=\s*(?:;|$))/i;

/**
 * The response to a POST as the library can read it: see `keepDigits`. It refuses JSON under any other content type, such as text/plain
 * or PHP's text/html, or under none. What is no JSON keeps its type: it is a page, or the text of an error.
 */
export async function readableResponse(response: Response): Promise<Response> {
  const type = response.headers.get("content-type") ?? "";
  if (!response.ok || response.body === null || KNOWN_TYPES.test(type)) return keepDigits(response);
  const text = await response.text();
  const { status, statusText } = response;
  const headers = new Headers(response.headers);
  const json = parseJson(text);
  if (typeof json === "object" && json !== null) headers.set("content-type", "application/json");
  return keepDigits(new Response(text, { status, statusText, headers }));
}

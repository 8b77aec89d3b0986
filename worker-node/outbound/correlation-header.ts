/**
 * The header in which a request of a tool names the correlation id of its run; none without an id. A header is printable ASCII, so
 * other characters of the id are percent-encoded.
 */
export function correlationHeader(correlationId: string | undefined): Record<string, string> {
  if (correlationId === undefined) return {};
  const value = correlationId.replaceAll(/[^\u0020-\u007e]/gu, (character) => encodeURIComponent(character));
  return { "x-correlation-id": value };
}

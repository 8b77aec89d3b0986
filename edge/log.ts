/** One line of JSON an event: a constant name, past tense, what varies in fields. Never a secret, never a payload. */
function write(level: "info" | "error", event: string, fields: Record<string, unknown>): void {
  const line = JSON.stringify({ level, event, ts: new Date().toISOString(), ...fields });
  if (level === "error") console.error(line);
  else console.log(line);
}

export const log = {
  info: (event: string, fields: Record<string, unknown> = {}) => write("info", event, fields),
  error: (event: string, fields: Record<string, unknown> = {}) => write("error", event, fields),
};

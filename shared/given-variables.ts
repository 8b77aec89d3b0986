/**
 * The variables of an environment that have a value, without the white space around it: a secret that was read from a file often ends with a
 * line break, which is no part of it. An empty variable counts as not set, because .env files list variables without a value. So does
 * the address of a Service: Kubernetes gives each pod `EDGE_PORT=tcp://…` for a Service named `edge`.
 */
export function givenVariables(env: Record<string, string | undefined>): Record<string, string> {
  const given: Record<string, string> = {};
  for (const [name, text = ""] of Object.entries(env)) {
    const value = text.trim();
    if (value !== "" && !isServiceAddress(name, value)) given[name] = value;
  }
  return given;
}

function isServiceAddress(name: string, value: string): boolean {
  return name.endsWith("_PORT") && /^(tcp|udp|sctp):\/\//.test(value);
}

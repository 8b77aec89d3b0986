/**
 * The two commands through which scripts are run: the whole of what the queue asks of a Redis client, so that the
 * edge's REST client and the workers' TCP client serve it alike.
 */
export type RedisCommands = {
  evalsha(sha: string, keys: string[], args: string[]): Promise<unknown>;
  eval(script: string, keys: string[], args: string[]): Promise<unknown>;
};

export type Script = { source: string; sha: Promise<string> };

/** A script out of the functions all verbs share and the verb itself. */
export function defineScript(common: string, verb: string): Script {
  // `allow-oom`: a full Redis lets nobody new in (`admit`), and must know all the same of whoever is in: `renew` and
  // `finish` keep or shrink it, and a committed run that `enqueue` could not show would wait for as long as it is full.
  const source = `#!lua flags=allow-oom\n${common}\n${verb}`;
  return { source, sha: sha1(source) };
}

/** One that a full Redis refuses. */
export function defineGrowingScript(common: string, verb: string): Script {
  const source = `#!lua\n${common}\n${verb}`;
  return { source, sha: sha1(source) };
}

/** Runs a script by its digest, or by its text when this Redis has not seen it yet. */
export async function run(
  redis: RedisCommands,
  script: Script,
  keys: string[],
  args: string[],
): Promise<unknown> {
  try {
    return await redis.evalsha(await script.sha, keys, args);
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes("NOSCRIPT")) throw error;
    return await redis.eval(script.source, keys, args);
  }
}

async function sha1(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-1", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

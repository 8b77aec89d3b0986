/**
 * The two commands that run scripts. The queue needs nothing else of a Redis client, so the edge's REST client and the
 * workers' TCP client both serve it.
 */
export type RedisCommands = {
  evalsha(sha: string, keys: string[], args: string[]): Promise<unknown>;
  eval(script: string, keys: string[], args: string[]): Promise<unknown>;
};

export type Script = { source: string; sha: Promise<string> };

/**
 * A script that runs also when Redis is full (`allow-oom`): the functions that all verbs share, followed by the verb.
 *
 * A full Redis must refuse new runs (`admit`) and still serve those that exist: `renew` and `finish` keep or shrink its
 * size, and a committed run that could not be enqueued would wait for as long as Redis is full.
 */
export function defineScript(common: string, verb: string): Script {
  return scriptOf(`#!lua flags=allow-oom\n${common}\n${verb}`);
}

/** A script that a full Redis refuses. */
export function defineGrowingScript(common: string, verb: string): Script {
  return scriptOf(`#!lua\n${common}\n${verb}`);
}

function scriptOf(source: string): Script {
  return { source, sha: sha1(source) };
}

/** Runs a script by its digest, or by its text when this Redis does not know it yet. */
export async function runScript(
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

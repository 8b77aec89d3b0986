import { z } from "zod";

// The key of an object is `tenant/run/<place of the value>`. The place has slashes, and an artifact's name in URLs has `~`
// in place of them: an encoded slash in a path is decoded, or refused, by some proxies.

/** The name of an artifact of a run. */
export const ArtifactName = z
  .string()
  .max(1_000)
  .regex(/^[A-Za-z0-9._~%!'()*-]+$/)
  .refine((name) => name.split("~").every((part) => part !== "" && part !== "." && part !== ".."));

/** A value in the object store, as the API lists it. */
export const Artifact = z
  .object({ name: z.string(), size: z.number().int(), content_type: z.string(), url: z.string() })
  .meta({ id: "Artifact" });

/** What the keys of a run's objects begin with. */
export function artifactPrefix(tenant: string, run: string): string {
  return `${tenant}/${run}/`;
}

export function artifactKey(tenant: string, run: string, name: string): string {
  return artifactPrefix(tenant, run) + name.replaceAll("~", "/");
}

/** The name of the object with this key. */
export function artifactName(key: string): string {
  return key.split("/").slice(2).join("~");
}

/** The path of the API that opens the object with this key, for a key that may read its run. */
export function artifactUrl(key: string): string {
  const [, run = ""] = key.split("/");
  return `/api/v2/orchestrations/runs/${run}/artifacts/${encodeURIComponent(artifactName(key))}`;
}

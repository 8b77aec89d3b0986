/**
 * What the read-only token may run: Redis' own category `@read`, without `@dangerous` commands (KEYS, SORT_RO) and SCAN,
 * which read the whole database. Upstash restricts its token in the same way. Scripts and subscriptions are in
 * other categories, and are refused with the writes.
 *
 * Redis itself reports the categories, so commands of modules and of later versions are in the right one.
 */
import { Command, type Cluster, type Redis } from "ioredis";
import { z } from "zod";
import { checkCommand, type RestCommand } from "./command-policy.ts";
import { RestError, toRestError } from "./rest-error.ts";

/** `COMMAND INFO`: name, arity, flags, three positions, categories, tips, key specifications, subcommands. */
const Info = z
  .tuple([z.string(), z.unknown(), z.unknown(), z.unknown(), z.unknown(), z.unknown(), z.array(z.string())])
  .rest(z.unknown());
const Infos = z.array(Info.nullable());

/** The categories of a command, and those of its subcommands by their name in upper case. */
type Categories = { own: string[]; subcommands: Map<string, string[]> };

/** Commands that are always allowed: they reveal nothing of the data. */
const ALWAYS = new Set(["PING", "ECHO"]);

/** Decides whether a command only reads, by what Redis reports about it. Asks Redis once for each command. */
export class ReadOnlyPolicy {
  readonly #redis: Redis | Cluster;
  readonly #known = new Map<string, Categories>();

  constructor(redis: Redis | Cluster) {
    this.#redis = redis;
  }

  /**
   * @returns the check of these commands, which throws RestError 400 `NOPERM` for a command that does not only read
   * @throws RestError 503 when Redis is unreachable
   */
  async checkOf(names: readonly string[]): Promise<(command: RestCommand) => void> {
    const unknown = [...new Set(names)].filter((name) => name !== "" && !this.#known.has(name));
    if (unknown.length > 0) await this.#load(unknown);
    return (command) => {
      checkCommand(command);
      if (!this.#mayRun(command)) throw noPermission(command.name);
    };
  }

  async #load(names: readonly string[]): Promise<void> {
    try {
      const asking = new Command("COMMAND", ["INFO", ...names], { replyEncoding: "utf8" });
      for (const info of Infos.parse(await this.#redis.sendCommand(asking))) {
        if (info !== null) this.#known.set(info[0].toUpperCase(), categoriesOf(info));
      }
    } catch (error) {
      throw toRestError(error);
    }
  }

  #mayRun({ name, args: [first] }: RestCommand): boolean {
    if (ALWAYS.has(name)) return true;
    const known = this.#known.get(name);
    const categories = known?.subcommands.get(first?.toString().toUpperCase() ?? "") ?? known?.own ?? [];
    return categories.includes("@read") && !categories.includes("@dangerous") && name !== "SCAN";
  }
}

/** The text is Upstash's: clients know it. */
export const noPermission = (name: string) =>
  new RestError(
    400,
    `NOPERM this user has no permissions to run the '${name.toLowerCase()}' command or its subcommand`,
  );

function categoriesOf(info: z.infer<typeof Info>): Categories {
  const subcommands = z.array(Info).catch([]).parse(info[9]);
  return {
    own: info[6],
    // Their names are `object|encoding`.
    subcommands: new Map(
      subcommands.map((sub) => [sub[0].split("|").at(-1)?.toUpperCase() ?? "", sub[6]] as const),
    ),
  };
}

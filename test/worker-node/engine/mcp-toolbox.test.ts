import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { RetryableError } from "../../../worker-node/engine/step-errors.ts";
import { fakeContext, run, step } from "./context.ts";

const fields = {
  type: "agent",
  agent_id: "agent_1",
  prompt_template: "Find it.",
  output_key: "out",
  max_turns: 3,
};

const mcp = (name: string): JsonObject => ({
  tool_type: "mcp",
  name,
  tool: name.slice(4),
  description: `does ${name}`,
  inputSchema: { type: "object", properties: {} },
  server: { name: "gh", owner: "acme" },
});

/** A context with the MCP server `gh`, whose tools these are. */
function withServer(
  tools: string[],
  offered: string[],
  options: Partial<Parameters<typeof fakeContext>[0]> = {},
) {
  const agents = { agent_1: { id: "agent_1", name: "A", tools } };
  const fake = fakeContext({
    agents,
    tools: Object.fromEntries(offered.map((name) => [name, () => "done"])),
    answers: ["ok"],
    ...options,
  });
  let reads = 0;
  const context = {
    ...fake.context,
    tool: async () => null,
    mcpServer: async (name: string) => (name === "gh" ? { name, owner: "acme" } : null),
    tools: {
      ...fake.context.tools,
      toolsOf: async () => {
        reads += 1;
        return offered.map(mcp);
      },
    },
  };
  return { ...fake, context, reads: () => reads };
}

describe("an agent with tools of an MCP server", () => {
  test("is offered the named ones, or all with server__*, each once, and the server's tools are read once", async () => {
    const fake = withServer(["gh__read", "gh__*", "gh__search"], ["gh__search", "gh__read", "gh__write"]);
    await run(step(fields), fake.context);
    expect(fake.modelCalls[0]?.tools).toEqual(["gh__read", "gh__search", "gh__write"]);
    expect(fake.reads()).toBe(1);
  });

  test.each([
    [["gh__*"], ["gh__read"], ["gh__read"]],
    [["gh__read", "gh__write"], ["gh__*"], ["gh__read", "gh__write"]],
    [["gh__read"], ["gh__write"], []],
  ])("of %j has, in a step that allows %j, %j", async (tools, allowed_tools, offered) => {
    const fake = withServer(tools, ["gh__search", "gh__read", "gh__write"]);
    await run(step({ ...fields, allowed_tools }), fake.context);
    expect(fake.modelCalls[0]?.tools).toEqual(offered);
  });

  test("fails with the name of the tool or the server that does not exist", async () => {
    await expect(run(step(fields), withServer(["gh__none"], ["gh__read"]).context)).rejects.toMatchObject({
      code: "unknown_tool",
      // A tool that the server has may have been left out of its listing.
      message: expect.stringMatching(/"gh__none": GET .*mcp-servers\/gh .*left_out/),
    });
    await expect(run(step(fields), withServer(["hub__read"], []).context)).rejects.toMatchObject({
      code: "unknown_tool",
      message: expect.stringContaining("hub"),
    });
  });

  test("fails when it has more tools than a provider takes", async () => {
    const many = Array.from({ length: 129 }, (_, i) => `gh__t${i}`);
    await expect(run(step(fields), withServer(["gh__*"], many).context)).rejects.toMatchObject({
      code: "too_many_tools",
    });
  });

  test("gets the reason when the server cannot be reached, and goes on", async () => {
    const unreachable = (): never => {
      throw new RetryableError("mcp_unreachable", "the MCP server gh cannot be reached");
    };
    const answers = [{ calls: [{ name: "gh__read", args: {} }] }, "without it"];
    const fake = withServer(["gh__*"], ["gh__read"], { tools: { gh__read: unreachable }, answers });
    expect(await run(step(fields), fake.context)).toMatchObject({ set: { out: "without it" } });
    expect(fake.modelCalls[1]?.messages.at(-1)).toMatchObject({
      role: "tool",
      content: expect.stringContaining("cannot be reached"),
    });
  });
});

export type { Agent } from "./agent.ts";
export type { Orchestration } from "./orchestration.ts";
export { parseAgent, parseOrchestration, parseTool } from "./parse.ts";
export type { Parsed } from "./parse.ts";
export type { Retry, Step, StepOf, StepType } from "./step.ts";
export { placeholdersOf } from "./template.ts";
export type { Placeholder } from "./template.ts";
export type { Tool } from "./tool.ts";

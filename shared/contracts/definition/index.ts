export { DELEGATE_TOOL } from "./agent.ts";
export type { Agent, ConversationalAgent, Orchestrator } from "./agent.ts";
export { builtInTools, isBuiltIn } from "./built-in-tools.ts";
export { codeWarnings } from "./code-warnings.ts";
export { doubtfulWarnings } from "./doubtful.ts";
export { uncheckedFields } from "./forms.ts";
export { McpListing, McpTool } from "./mcp-server.ts";
export type { ListedTool, McpServer } from "./mcp-server.ts";
export type { Orchestration } from "./orchestration.ts";
export { ANSWER_TOOL, answerArguments } from "./output-schema.ts";
export {
  parseAgent,
  parseMcpServer,
  parseNewAgent,
  parseNewMcpServer,
  parseNewOrchestration,
  parseNewTool,
  parseOrchestration,
  parseTool,
  parseToolOnce,
} from "./parse.ts";
export type { Parsed } from "./parse.ts";
export { missingReferences, namedByAgent, referencesOf, unfitAgents } from "./references.ts";
export { agentToolWarnings, stepToolWarnings } from "./too-many-tools.ts";
export type { Known, Reference } from "./references.ts";
export { unreadWarnings } from "./unread-values.ts";
export { unsetInputs, unsetReads } from "./state-reads.ts";
export { branchOfSteps, outermostOf } from "./branches.ts";
export { layOut } from "./lay-out.ts";
export { listedKeys, mergedKeys, writersOf } from "./merged-keys.ts";
export { isFork, pathInState, readsItem } from "./step.ts";
export type { ForkStep, LeafStep, Retry, Step, StepOf } from "./step.ts";
export { placeholdersOf } from "./template.ts";
export type { Placeholder } from "./template.ts";
export { isAllOfServer, MAX_OFFERED_TOOLS, serverIn, toolsInBoth } from "./tool-names.ts";
export { JSON_TYPES, targetOf } from "./tool-schema.ts";
export { argumentsOfUrl, EFFECT_KEY, toolWarnings, URL_PLACEHOLDER } from "./tool-request.ts";
export { sqlArguments } from "./sql-tool.ts";
export type { HttpTool, Tool } from "./tool.ts";
export { agentUnfilledWarnings, unfilledWarnings } from "./unfilled-warnings.ts";
export { laterFields, unknownFields, unreadTurns } from "./unknown-fields.ts";
export type { DefinitionKind } from "./unknown-fields.ts";
export { modelErrorText } from "./models.ts";
export type { MoneyRules } from "./models.ts";

#!/usr/bin/env bash
# One bigint in the state makes LangGraph's checkpointer store a sentence in place of the whole checkpoint, and the run succeeds.
#
# Versions: @langchain/langgraph 1.7.3, @langchain/langgraph-checkpoint 1.2.2, @langchain/core 1.4.0.
# Input: a graph of one node that returns an order's id, once the number 5 and once the bigint 5n, as drivers return an `int8` of Postgres.
# Seen: invoke() resolves with the whole state for both. What is stored for 5n is the text "[unable to serialize, circular reference is too
# complex to analyze]", although nothing is circular: the thread's state is gone, with all its other fields, and getState() rejects
# with a TypeError of its own. JSON.stringify would have thrown when the step ended.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @langchain/langgraph@1.7.3 @langchain/langgraph-checkpoint@1.2.2 @langchain/core@1.4.0 >/dev/null
cat > probe.mjs <<'JS'
import { Annotation, MemorySaver, StateGraph } from "@langchain/langgraph";
const State = Annotation.Root({ customer: Annotation(), orderId: Annotation() });
const run = async (orderId) => {
  const checkpointer = new MemorySaver();
  const graph = new StateGraph(State)
    .addNode("load", () => ({ orderId }))
    .addEdge("__start__", "load")
    .addEdge("load", "__end__")
    .compile({ checkpointer });
  const config = { configurable: { thread_id: "1" } };
  const result = await graph.invoke({ customer: "Ada" }, config);
  const { checkpoint } = await checkpointer.getTuple(config);
  const stored = typeof checkpoint === "string" ? checkpoint : `an object with customer ${checkpoint.channel_values.customer}`;
  console.log(`${typeof orderId}: invoke gives ${result.customer}, stored is ${stored}`);
  const state = await graph.getState(config).catch((error) => error);
  console.log(`${typeof orderId}: getState ${state instanceof Error ? `rejects, ${state.name}` : `gives ${state.values.customer}`}`);
};
await run(5);
await run(5n);
JS
node probe.mjs | tee seen
grep -qx 'number: invoke gives Ada, stored is an object with customer Ada' seen
grep -qx 'number: getState gives Ada' seen
grep -qxF 'bigint: invoke gives Ada, stored is [unable to serialize, circular reference is too complex to analyze]' seen
grep -qx 'bigint: getState rejects, TypeError' seen
echo "as described"

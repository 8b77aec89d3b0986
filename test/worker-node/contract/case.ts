import { z } from "zod";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";

/** One answer of a model: its text, its calls of tools, or a failure that no retry can change. */
export type Answer = string | { calls: { name: string; args: JsonObject }[] } | { fails: string };

/**
 * One promise of a step type: how a run begins, and what it has at its end. A run of the case is executed as a worker executes
 * it; only models, tools, persons and child runs are scripted, each by the path of the step that asks.
 */
export type Case = {
  that: string;
  /** The run begins with the step `a`. */
  steps: JsonObject[];
  /** The request's message and state. */
  message?: string;
  state?: JsonObject;
  /**
   * The answers by the path of the step, in the order of its calls; those of a second visit are below `step#2`, those of an agent
   * that works on a task are below the call that delegated the task: `a/tool.1.1`.
   */
  model?: { [visit: string]: Answer[] };
  agents?: { [id: string]: JsonObject };
  /** What each tool answers; `refuses`: with HTTP 400 and this reason. */
  tools?: { [name: string]: Json | { refuses: string } };
  /** The tools whose calls may be made at the same time. */
  parallel?: string[];
  /** What a person answers to the question of a step; `silent`: nothing, until its time has passed. */
  persons?: { [path: string]: Json | { silent: true } };
  /** The response of the child that a step starts; `fails`: the child fails with this code. The only orchestration is `child`. */
  children?: { [path: string]: Json | { fails: string } };
  gives: {
    /** The final state without the request's own keys: what the steps have written. */
    state: JsonObject;
    /** The events of the steps, without the deltas of texts. */
    events?: string[];
    /** The calls to the outside, by their names inside of the run. */
    calls?: string[];
    /** The prompts of calls of models, by the names of the calls. */
    prompts?: { [call: string]: string };
    /** How many results and turns are committed, the end of the run included. */
    checkpoints?: number;
    error?: { code: string; message: string };
  };
};

/** A child that fails, and its code. */
export const Failed = z.object({ fails: z.string() });

/** What a step type is for, in a paragraph of the document, and its promises. */
export type StepContract = { does: string; cases: Case[] };

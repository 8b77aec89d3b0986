/**
 * The sentences by which servers say that a request is too long for a model. Few of them have a code for it. Not among them:
 * "Too many tokens, please wait", by which Bedrock limits a rate.
 */
const SENTENCES: readonly RegExp[] = [
  /(?:prompt|input) (?:is )?too (?:long|large)/, // Anthropic, Bedrock, Fireworks, llama.cpp, Ollama
  /(?:maximum|max) context (?:length|window)/, // OpenAI, vLLM, OpenRouter, LiteLLM, Mistral, DeepSeek
  /exceeds? (?:the |this model's |its )?(?:available |maximum |max )?context/, // OpenAI, Anthropic, llama.cpp
  /context window (?:exceeds|limit)/, // MiniMax, Cloudflare
  /input token count .{0,40}exceeds/, // Google
  /input tokens exceed/, // OpenAI
  /no user query found in messages/, // Ollama, which leaves out the beginning of a conversation
  /prompt token count of \d+ exceeds/, // GitHub
  /maximum prompt length is \d/, // xAI
  /maximum allowed input length/, // Poolside
  /reduce the length of the/, // Groq, vLLM
  /longer than the (?:model's context|maximum model) length/, // Together, SGLang, vLLM
  /greater than the context length/, // LM Studio
  /exceeded model token limit/, // Kimi
  /max_tokens must be at least 1\b/, // vLLM, where the prompt leaves no room
  /inputs` (?:must have less than|tokens \+ `max_new_tokens` must be)/, // TGI
  /range of input length/, // DashScope
  /prompt exceeds max/, // Zhipu
  /too many tokens:/, // Cohere
  /max sequence length is \d/, // SambaNova
  // One request that exceeds a rate limit of tokens by itself never succeeds, however long the step waits: OpenAI, Groq.
  /request too large|tokens must be reduced|reduce your message size/,
];

export const TOO_LONG = new RegExp(SENTENCES.map(({ source }) => source).join("|"), "i");

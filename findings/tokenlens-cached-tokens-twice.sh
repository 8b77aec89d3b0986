#!/usr/bin/env bash
# tokenlens charges cached tokens of OpenAI's usage twice: a prompt that is mostly in the cache costs more than one that is not.
#
# Versions: tokenlens 1.3.1, @pydantic/genai-prices 0.1.8.
# Input: a usage of gpt-4o as OpenAI reports it, 1,000,000 prompt tokens of which 900,000 are `cached_tokens` (a part of the prompt's),
# and the same usage without a cache.
# Seen: tokenlens adds the cache's price to the price of the whole prompt: 3.625 dollars instead of 1.375, and more than the 2.5
# without a cache. genai-prices, from the same prices, gives 1.375. In the form of Anthropic, which counts cached tokens apart, tokenlens
# is right.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund tokenlens@1.3.1 @pydantic/genai-prices@0.1.8 >/dev/null
cat > probe.mjs <<'JS'
import { calcPrice } from "@pydantic/genai-prices";
import { estimateCost } from "tokenlens";
const prompt = { prompt_tokens: 1_000_000, completion_tokens: 0, total_tokens: 1_000_000 };
const cost = (modelId, usage) => estimateCost({ modelId, usage }).totalUSD.toFixed(3);
const other = (cache_read_tokens) =>
  calcPrice({ input_tokens: 1_000_000, output_tokens: 0, cache_read_tokens }, "gpt-4o").total_price.toFixed(3);
console.log(`no cache: tokenlens ${cost("openai:gpt-4o", prompt)}, genai-prices ${other(0)}`);
const cached = { ...prompt, prompt_tokens_details: { cached_tokens: 900_000 } };
console.log(`900,000 cached: tokenlens ${cost("openai:gpt-4o", cached)}, genai-prices ${other(900_000)}`);
const anthropic = { input_tokens: 100_000, cache_read_input_tokens: 900_000, output_tokens: 0 };
console.log(`Anthropic's form: tokenlens ${cost("anthropic:claude-3-5-sonnet-20241022", anthropic)}`);
JS
node probe.mjs | tee seen
grep -qx 'no cache: tokenlens 2.500, genai-prices 2.500' seen
grep -qx '900,000 cached: tokenlens 3.625, genai-prices 1.375' seen
grep -qx "Anthropic's form: tokenlens 0.570" seen
echo "as described"

-- The prices of calls with long prompts, as `long_prompt` of PUT /scale/model-prices: docs/protocol.md 5.10. Null: no others.
alter table model_prices add column long_prompt jsonb;

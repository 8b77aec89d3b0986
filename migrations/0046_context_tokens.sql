-- The tokens that a model takes in one request, as the operator knows them (docs/protocol.md 5.25). Null: estimated by its name.

alter table provider_limits add column context_tokens integer
  constraint context_tokens_are_positive check (context_tokens > 0);

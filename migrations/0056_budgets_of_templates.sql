-- Budgets of end users by the budget that they were made from, so that retention finds those of deleted ones: docs/protocol.md 7.18.
-- squawk-ignore require-concurrent-index-creation
create index budgets_of_templates on budgets (tenant_id, template_id) where template_id is not null;

-- The run at the top of the family of the run that a delivery reports: of a child's question. The delivery to the webhook of that run is
-- signed with its secret, which is sealed for it: docs/protocol.md 7.7. Null: the delivery is about the run at the top itself.
alter table webhook_deliveries add column root_run_id text;
